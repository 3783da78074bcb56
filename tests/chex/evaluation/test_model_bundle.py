"""A folder that was handed on: what it says of itself, and what is wrong with one that does not fit."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from chex.__main__ import main
from chex.data.data_config import ImageConfig
from chex.data.normalization import Normalization
from chex.errors import InputError
from chex.evaluation.model_bundle import ABOUT, RULES, WEIGHTS, BundleMetadata, Threshold, load_bundle, preprocessing
from chex.models.checkpoint import save_weights
from chex.models.classifier import build_model
from chex.models.heads import HeadLayout
from chex.models.model_config import ModelConfig
from chex.models.timm_export import to_timm

NAMES = ("Edema", "Fracture")


def cut(threshold: float | None) -> Threshold:
    return Threshold(threshold=threshold, recall=None, precision=None, positives=0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A network that nobody trained: Edema is called from almost anything, Fracture at no threshold."""
    home = tmp_path / "handed on"
    home.mkdir()
    model = build_model(ModelConfig(backbone="test_resnet"), 2, seed=1)
    layout = to_timm(model, HeadLayout(2), "test_resnet")
    save_file(layout.arrays, home / WEIGHTS)
    about = BundleMetadata(
        backbone="test_resnet",
        last_layer=layout.last_layer,
        observations=NAMES,
        multiclass=(),
        preprocessing=preprocessing(ImageConfig(size=32, resize="stretch"), Normalization(0.449, 0.226)),
        scoring="image",
        thresholds={
            "Edema": dict(zip(RULES, map(cut, (0.5, 1e-6, 1.0)), strict=True)),
            "Fracture": dict(zip(RULES, map(cut, (0.5, None, None)), strict=True)),
        },
        labels="0123",
        seed=3,
        versions={"torch": "1"},
    )
    (home / ABOUT).write_text(json.dumps(about.model_dump(mode="json")))
    return home


@pytest.fixture
def image(tmp_path: Path) -> Path:
    Image.effect_noise((40, 48), 60).save(tmp_path / "image.png")
    return tmp_path / "image.png"


def test_the_network_comes_back_with_its_films_and_thresholds(folder: Path) -> None:
    trained = load_bundle(folder)
    expected = build_model(ModelConfig(backbone="test_resnet"), 2, seed=1).eval()
    images = torch.randn(3, 1, 32, 32)
    assert torch.allclose(trained.model(images), expected(images), atol=1e-6)
    assert not trained.model.training
    assert (trained.observations, trained.image.size, trained.image.resize) == (NAMES, 32, "stretch")
    assert trained.thresholds["Edema"] == {".5": 0.5, "youden": 1e-6, "recall": 1.0}


def test_gray_levels_are_normalised_as_the_folder_says(folder: Path) -> None:
    change(folder, lambda about: about["preprocessing"].update(mean=0.5, std=0.25))
    assert load_bundle(folder).model.normalization == Normalization(0.5, 0.25)


def test_a_file_of_weights_is_read_as_before(tmp_path: Path) -> None:
    about = {"backbone": "test_resnet", "observations": "Edema", "multiclass": "", "image_size": "32"}
    about |= {"mean": "0.449", "std": "0.226"}
    save_weights(tmp_path, build_model(ModelConfig(backbone="test_resnet"), 1, seed=1).state_dict(), about)
    trained = load_bundle(tmp_path / "best.safetensors")
    assert (trained.observations, trained.thresholds) == (("Edema",), {})


def test_predict_says_what_is_called_only_where_it_is_asked(
    folder: Path, image: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["predict", str(folder), str(image)]) == 0
    assert capsys.readouterr().out.splitlines()[0] == "path,Edema,Fracture"
    called = {}
    for rule in RULES:
        assert main(["predict", str(folder), str(image), "--threshold", rule]) == 0
        header, row = capsys.readouterr().out.splitlines()
        assert header == "path,Edema,Fracture,Edema called,Fracture called"
        called[rule] = row.split(",")[3:]
    assert called["youden"] == ["yes", ""]
    assert called["recall"] == ["no", ""]
    assert called[".5"][1] in ("yes", "no")


CALLS = {
    "no such rule": ("0.5", "--threshold 0.5: no such threshold; did you mean '.5'? choices: .5, youden, recall"),
    "no thresholds": (
        "recall",
        "--threshold recall: {} has no thresholds; give a folder that chex-search export",
    ),
}


@pytest.mark.parametrize("case", CALLS)
def test_a_call_that_cannot_be_made_is_refused(
    folder: Path, image: Path, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    rule, message = CALLS[case]
    change(folder, lambda about: about.update(thresholds={}))
    assert main(["predict", str(folder), str(image), "--threshold", rule]) == 2
    said = capsys.readouterr()
    assert f"chex predict: {message.format(folder)}" in said.err
    assert said.out == ""


def change(folder: Path, how: Callable[[dict[str, Any]], object]) -> None:
    about = json.loads((folder / ABOUT).read_text())
    how(about)
    (folder / ABOUT).write_text(json.dumps(about))


def set_size(size: int) -> Callable[[Path], object]:
    return lambda folder: change(folder, lambda about: about["preprocessing"].update(size=size))


Damage = Callable[[Path], object]
REFUSED: dict[str, tuple[Damage, str]] = {
    "nothing there": (
        lambda folder: folder.rename(folder.with_name("elsewhere")),
        "{0}: no such file or folder; give a best.safetensors, or a folder of chex-search export",
    ),
    "another folder": (
        lambda folder: (folder / ABOUT).unlink(),
        "{0} has no about.json; give a folder that chex-search export wrote",
    ),
    "the folder of a run": (
        lambda folder: (folder / ABOUT).rename(folder / "best.safetensors"),
        "{0} has no about.json; give a folder that chex-search export wrote, or {0}/best.safetensors",
    ),
    "no weights": (
        lambda folder: (folder / WEIGHTS).unlink(),
        "{0}/model.safetensors is missing; give the folder as chex-search export wrote it",
    ),
    "no JSON": (lambda folder: (folder / ABOUT).write_text("{"), "{0}/about.json is not JSON (Expecting"),
    "a list": (lambda folder: (folder / ABOUT).write_text("[]"), "{0}/about.json is not a JSON object; give"),
    "a foreign JSON": (
        lambda folder: change(folder, lambda about: about.update(made_by="me")),
        "{0}/about.json: made_by: 'me' is not allowed; choices: chex-search export",
    ),
    "a foreign threshold": (
        lambda folder: change(folder, lambda about: about["thresholds"].update(Edma={})),
        "{0}/about.json: thresholds: 'Edma' is not one of its observations; did you mean 'Edema'?",
    ),
    "a foreign observation": (
        lambda folder: change(folder, lambda about: about.update(observations=["Edma"])),
        "{0}/about.json: observations: 'Edma' is not an observation; did you mean 'Edema'?",
    ),
    "a small size": (set_size(4), "{0}/about.json: preprocessing: size: 4 is refused, it should be greater than"),
    "another white": (
        lambda folder: change(folder, lambda about: about["preprocessing"].update(white=4095)),
        "{0}/about.json: its preprocessing is not what this version of chex does to images; give",
    ),
    "no mean": (
        lambda folder: change(folder, lambda about: about["preprocessing"].pop("mean")),
        "{0}/about.json: preprocessing.mean: missing; add it",
    ),
    "a strange std": (
        lambda folder: change(folder, lambda about: about["preprocessing"].update(std=0)),
        "{0}/about.json: preprocessing.std: 0 is refused, it should be greater than 0; change the value",
    ),
    "an unknown backbone": (
        lambda folder: change(folder, lambda about: about.update(backbone="test_resnt")),
        "{0}/about.json: model.backbone: 'test_resnt' is not a timm model; did you mean",
    ),
    "another backbone": (
        lambda folder: change(folder, lambda about: about.update(backbone="test_efficientnet")),
        "{0}/model.safetensors does not fit the test_efficientnet for Edema,Fracture that it describes: ",
    ),
    "no safetensors": (
        lambda folder: (folder / WEIGHTS).write_text("no weights"),
        "{0}/model.safetensors cannot be read as safetensors (",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_folder_that_is_not_as_it_was_written_is_refused(folder: Path, case: str) -> None:
    damage, message = REFUSED[case]
    damage(folder)
    with pytest.raises(InputError, match=re.escape(message.format(folder))):
        load_bundle(folder)
