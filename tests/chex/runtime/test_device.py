from pathlib import Path

import pytest
import torch

from chex.config import load_run
from chex.errors import InputError
from chex.runtime.device import autocast, pick_device
from chex.runtime.device_config import DeviceConfig


def test_the_configured_device_and_number_of_threads_are_used() -> None:
    before = torch.get_num_threads()
    assert pick_device(DeviceConfig(kind="cpu", threads=1)).type == "cpu"
    assert torch.get_num_threads() == 1
    torch.set_num_threads(before)


def test_a_missing_gpu_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pick_device(DeviceConfig(kind="auto")).type == "cpu"
    with pytest.raises(
        InputError, match=r"device.kind: 'cuda' is asked for and torch sees no GPU here; use device.kind"
    ):
        pick_device(DeviceConfig(kind="cuda"))


def test_a_cpu_computes_in_float32_by_default() -> None:
    ones = torch.ones(2, 2)
    for config, dtype in ((DeviceConfig(), torch.float32), (DeviceConfig(amp="bf16"), torch.bfloat16)):
        with autocast(config, torch.device("cpu")):
            assert (ones @ ones).dtype == dtype


def test_fp16_on_a_cpu_is_refused() -> None:
    message = r"device.amp: 'fp16' needs a GPU and this run computes on the CPU; use device.amp=off or bf16"
    with pytest.raises(InputError, match=message):
        pick_device(DeviceConfig(kind="cpu", amp="fp16"))


def test_off_may_be_written_without_quotes_although_yaml_reads_it_as_false() -> None:
    assert load_run(Path("configs/run/densenet121.yaml"), ["device.amp=off"]).device.amp == "off"
