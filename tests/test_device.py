from pathlib import Path

import pytest
import torch

from chex.config import load_run
from chex.device import DeviceConfig, autocast, pick_device
from chex.errors import InputError


def test_a_named_device_is_taken_and_threads_are_set() -> None:
    before = torch.get_num_threads()
    assert pick_device(DeviceConfig(kind="cpu", threads=1)).type == "cpu"
    assert torch.get_num_threads() == 1
    torch.set_num_threads(before)


def test_a_gpu_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pick_device(DeviceConfig(kind="auto")).type == "cpu"
    with pytest.raises(
        InputError, match=r"device.kind: 'cuda' is asked for and torch sees no GPU here; use device.kind"
    ):
        pick_device(DeviceConfig(kind="cuda"))


def test_a_cpu_computes_in_full_precision_unless_told_otherwise() -> None:
    films = torch.ones(2, 2)
    for config, dtype in ((DeviceConfig(), torch.float32), (DeviceConfig(amp="bf16"), torch.bfloat16)):
        with autocast(config, torch.device("cpu")):
            assert (films @ films).dtype == dtype


def test_fp16_on_a_cpu_is_refused() -> None:
    told = r"device.amp: 'fp16' needs a GPU and this run computes on the CPU; use device.amp=off or bf16"
    with pytest.raises(InputError, match=told):
        pick_device(DeviceConfig(kind="cpu", amp="fp16"))


def test_off_may_be_written_without_quotes_although_yaml_reads_it_as_false() -> None:
    assert load_run(Path("configs/run/densenet121.yaml"), ["device.amp=off"]).device.amp == "off"
