"""Weights that a backbone starts from: all of them, or a sentence."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch

from chex.errors import InputError
from chex.models.pretrained import _without_prefix, from_file, published

Arrays = dict[str, torch.Tensor]
BACKBONE = "test_resnet"


@pytest.fixture(scope="module")
def colour() -> Arrays:
    """The weights of a network for colour images of 10 classes."""
    torch.manual_seed(3)
    return timm.create_model(BACKBONE, num_classes=10).state_dict()


def backbone_of(arrays: Arrays) -> Arrays:
    return {name: array for name, array in arrays.items() if not name.startswith("fc.")}


WRAPPERS: dict[str, Callable[[Arrays], dict[str, Any]]] = {
    "plain": lambda arrays: arrays,
    "in a checkpoint": lambda arrays: {"model": arrays, "epoch": 3},
    "of a data parallel network": lambda arrays: {"state_dict": {f"module.{name}": a for name, a in arrays.items()}},
    "of a network kept in another": lambda arrays: {f"module.net.encoder.{name}": a for name, a in arrays.items()},
    "without its counters": lambda arrays: {n: a for n, a in arrays.items() if not n.endswith("num_batches_tracked")},
}


@pytest.mark.parametrize("case", WRAPPERS)
def test_every_tensor_of_a_file_arrives_and_is_counted(
    colour: Arrays, tmp_path: Path, capfd: pytest.CaptureFixture[str], case: str
) -> None:
    torch.save(WRAPPERS[case](colour), tmp_path / "w.pth")
    model, origin = from_file(BACKBONE, tmp_path / "w.pth")
    for name, array in model.state_dict().items():
        wanted = colour[name].sum(1, keepdim=True) if name == "conv1.0.weight" else colour[name]
        assert name.endswith("num_batches_tracked") or torch.allclose(array, wanted, atol=1e-6), name
    count = sum(not name.endswith("num_batches_tracked") for name in backbone_of(colour))
    assert origin.describe() == f"loaded {count} of {count} backbone tensors from {tmp_path / 'w.pth'}"
    assert len(origin.sha256) == 64
    assert capfd.readouterr() == ("", "")


def test_a_first_layer_for_gray_is_taken_as_it_is_without_a_warning(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    gray = timm.create_model(BACKBONE, in_chans=1, num_classes=18)
    torch.save(gray.state_dict(), tmp_path / "w.pth")
    model, _ = from_file(BACKBONE, tmp_path / "w.pth")
    assert torch.equal(model.state_dict()["conv1.0.weight"], gray.state_dict()["conv1.0.weight"])
    assert capfd.readouterr() == ("", "")


def test_what_the_backbone_has_no_place_for_is_said(colour: Arrays, tmp_path: Path) -> None:
    torch.save(colour | {"decoder.weight": torch.zeros(2), "mask": torch.zeros(1)}, tmp_path / "w.pth")
    assert (
        from_file(BACKBONE, tmp_path / "w.pth")[1].describe().endswith("w.pth; left out 2 more, first decoder.weight")
    )


def cut(arrays: Arrays) -> Arrays:
    return dict(list(arrays.items())[:20])


REFUSED: dict[str, tuple[Callable[[Arrays], Any], str]] = {
    "cut off": (cut, r"does not have all of test_resnet: 17 of 75 backbone tensors are there; first missing: layer"),
    "of another layout": (
        lambda arrays: {f"{name.replace('.', '_')}.x": array for name, array in arrays.items()},
        r": 0 of 75 backbone tensors are there; first missing: conv1.0.weight; its names are like conv1_0_weight.x",
    ),
    "of another width": (
        lambda arrays: arrays | {"bn1.weight": torch.ones(7)},
        r": 74 of 75 backbone tensors are there; first of another shape: bn1.weight, which is 7 and should be 32; give",
    ),
    "of a deeper network": (
        lambda arrays: arrays | {"layer4.7.conv1.weight": torch.ones(1)},
        r"is of a network with more layers than test_resnet: it has 1 tensors that .*, first layer4.7.conv1.weight;",
    ),
    "without tensors": (lambda arrays: {"epoch": 3}, r"has no tensors; give a file of weights of this backbone"),
    "a whole network": (lambda arrays: timm.create_model(BACKBONE), r"cannot be read as weights \("),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_file_that_does_not_hold_the_whole_backbone_is_refused(colour: Arrays, tmp_path: Path, case: str) -> None:
    spoil, told = REFUSED[case]
    torch.save(spoil(colour), tmp_path / "w.pth")
    with pytest.raises(InputError, match=told) as refused:
        from_file(BACKBONE, tmp_path / "w.pth")
    assert str(refused.value).startswith(f"model.pretrained_file: {tmp_path / 'w.pth'} ")
    assert str(refused.value).endswith("or start from random weights with model.pretrained=false")


def test_published_weights_are_whole_or_refused_too(colour: Arrays, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", lambda *_, **__: dict(colour))
    name = "timm's published weights of test_resnet.r160_in1k"
    assert published(BACKBONE)[1].describe() == f"loaded 75 of 75 backbone tensors from {name}"
    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", lambda *_, **__: cut(colour))
    with pytest.raises(
        InputError, match=re.escape(f"model.pretrained: {name} does not have all of test_resnet: 17 of 75 backbone")
    ):
        published(BACKBONE)


def test_a_name_that_the_backbone_has_itself_is_no_prefix(colour: Arrays) -> None:
    part = {name: array for name, array in colour.items() if name.startswith("layer1.")}
    assert _without_prefix(part, BACKBONE) == part
    assert list(_without_prefix({f"net.{name}": array for name, array in part.items()}, BACKBONE)) == list(part)
