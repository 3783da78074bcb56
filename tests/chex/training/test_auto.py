from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from chex.config import RunConfig, to_yaml
from chex.runtime.device import autocast_dtype, gradient_scaler
from chex.runtime.device_config import DeviceConfig
from chex.training import auto as settling
from chex.training.auto import largest_batch, resolve_auto
from chex.training.train import with_resolved_auto

Make = Callable[..., RunConfig]
GIB = 2**30


@pytest.mark.parametrize(
    ("memory", "image_size", "images"),
    [
        (8200 * 2**20, 320, 32),
        (8199 * 2**20, 320, 16),
        (4 * GIB, 320, 8),
        (80 * GIB, 320, 256),
        (20 * GIB, 320, 64),
        (4 * GIB, 64, 256),
        (1 * GIB, 1024, 4),
    ],
)
def test_a_batch_grows_with_memory_and_shrinks_with_the_area_of_a_film(
    memory: int, image_size: int, images: int
) -> None:
    assert largest_batch(memory, image_size) == images


@pytest.mark.parametrize(("has", "pays", "amp"), [(True, True, "bf16"), (True, False, "off"), (False, True, "off")])
def test_a_cpu_takes_bf16_where_it_has_it_and_a_trial_shows_that_it_pays(
    make_run: Make, monkeypatch: pytest.MonkeyPatch, has: bool, pays: bool, amp: str
) -> None:
    monkeypatch.setattr(settling, "_has_bf16", lambda: has)
    monkeypatch.setattr(settling, "bf16_is_faster", lambda config: pays)
    assert resolve_auto(make_run()).device.amp == amp
    assert resolve_auto(make_run({"device.amp": "bf16"})).device.amp == "bf16"


def test_the_trial_of_bf16_takes_real_steps(make_run: Make) -> None:
    assert settling.bf16_is_faster(make_run()) in (True, False)


def test_what_an_interrupted_run_settled_stays(make_run: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settling, "_has_bf16", lambda: False)
    first = with_resolved_auto(make_run({"batches.size": "auto"}), tmp_path / "run.yaml")
    assert (first.device.amp, first.batches.size) == ("off", 32)
    earlier = first.model_copy(update={"device": first.device.model_copy(update={"amp": "bf16"})})
    (tmp_path / "run.yaml").write_text(to_yaml(earlier))
    assert with_resolved_auto(make_run({"batches.size": "auto"}), tmp_path / "run.yaml") == earlier
    moved = make_run({"batches.size": "auto", "data.root": "/of/another/machine", "image.cache_dir": "/scratch"})
    there = with_resolved_auto(moved, tmp_path / "run.yaml")
    assert (there.device.amp, there.data, there.image) == ("bf16", moved.data, moved.image)
    assert with_resolved_auto(make_run({"device.amp": "off"}), tmp_path / "run.yaml").device.amp == "off"
    assert with_resolved_auto(make_run({"seed": 5}), tmp_path / "run.yaml").device.amp == "off"


@pytest.mark.parametrize(("has_bf16", "dtype"), [(True, torch.bfloat16), (False, torch.float16)])
def test_a_gpu_takes_bf16_where_it_has_it_and_scaled_fp16_elsewhere(
    monkeypatch: pytest.MonkeyPatch, has_bf16: bool, dtype: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: has_bf16)
    assert autocast_dtype(DeviceConfig(), torch.device("cuda")) == dtype
    assert autocast_dtype(DeviceConfig(amp="off"), torch.device("cuda")) is None
    assert autocast_dtype(DeviceConfig(), torch.device("cpu")) is None
    assert not gradient_scaler(DeviceConfig(amp="bf16"), torch.device("cpu")).is_enabled()
