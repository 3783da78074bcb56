"""What `chex predict` prints, writes and refuses."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from chex.__main__ import main
from chex.data.batches import load_batch
from chex.data.image_cache import decode
from chex.evaluation.load_model import load_model
from chex.evaluation.predict import image_files, overlay_names
from chex.models.checkpoint import save_weights
from chex.models.classifier import build_model
from chex.models.model_config import ModelConfig
from chex.runtime.output_folder import MARK
from chex.runtime.run_folder import WEIGHTS

ABOUT = {"backbone": "test_resnet", "observations": "Cardiomegaly,Pleural Effusion", "multiclass": "Cardiomegaly"}


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    model = build_model(ModelConfig(backbone="test_resnet"), 4, seed=0)
    save_weights(tmp_path, model.state_dict(), ABOUT | {"image_size": "96", "mean": "0.5", "std": "0.5"})
    return tmp_path / WEIGHTS


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder with an 8 bit JPEG, a 16 bit PNG and a colour PNG of one drawing, and a text."""
    folder = tmp_path / "images"
    (folder / "deep").mkdir(parents=True)
    gray = np.random.default_rng(0).integers(0, 256, size=(12, 9)).repeat(16, axis=0).repeat(16, axis=1)
    Image.fromarray(gray.astype(np.uint8)).save(folder / "a.JPG", quality=98)
    Image.fromarray((gray * 257).astype(np.uint16)).save(folder / "b.png")
    Image.fromarray(np.stack([gray] * 3, axis=-1).astype(np.uint8)).save(folder / "deep" / "c.png")
    (folder / "notes.txt").write_text("no image")
    return folder


def predict(*arguments: object) -> int:
    return main(["predict", *map(str, arguments)])


def test_a_table_of_probabilities_goes_to_stdout_and_the_warning_does_not(
    weights: Path, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert predict(weights, images) == 0
    message = capsys.readouterr()
    lines = message.out.splitlines()
    assert lines[0] == "path,Cardiomegaly,Pleural Effusion"
    assert [line.split(",")[0] for line in lines[1:]] == [
        str(images / name) for name in ("a.JPG", "b.png", "deep/c.png")
    ]
    assert message.err == "These are research results and no basis for a diagnosis.\n"


def test_probabilities_are_those_of_the_network_on_films_as_training_decodes_them(
    weights: Path, images: Path, tmp_path: Path
) -> None:
    assert predict(weights, images / "a.JPG", images, "--out", tmp_path / "new" / "p.csv", "--batch", 2) == 0
    table = pd.read_csv(tmp_path / "new" / "p.csv")
    assert list(table["path"]) == [str(images / name) for name in ("a.JPG", "b.png", "deep/c.png")]
    trained = load_model(weights)
    batch = np.stack([decode(Path(path), 96) for path in table["path"]])
    with torch.no_grad():
        raw = trained.model(load_batch(batch, np.arange(3), trained.model.normalization, torch.device("cpu")))
    three = raw[:, [0, 2]].softmax(dim=1)[:, 0]  # positive against negative, uncertain left out
    np.testing.assert_allclose(table["Cardiomegaly"], three, atol=1e-6)
    np.testing.assert_allclose(table["Pleural Effusion"], raw[:, 1].sigmoid(), atol=1e-6)


def test_gray_sixteen_bit_and_colour_films_of_one_drawing_are_alike(images: Path) -> None:
    eight, sixteen, colour = (decode(images / name, 96).astype(int) for name in ("a.JPG", "b.png", "deep/c.png"))
    np.testing.assert_array_equal(sixteen, colour)
    assert np.abs(eight - sixteen).mean() < 2


def test_overlays_are_written_for_each_film_and_observation_asked_for(
    weights: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "cam"
    assert predict(weights, images, "--grad-cam", out, "--observation", "Pleural Effusion") == 0
    names = {"a Pleural Effusion.png", "b Pleural Effusion.png", "deep_c Pleural Effusion.png"}
    assert {path.name for path in out.iterdir()} == names | {MARK}
    with Image.open(out / "a Pleural Effusion.png") as overlay:
        assert (overlay.mode, overlay.width) == ("RGB", 512)
    assert (
        f"{out}: 3 overlays; the heat of an image is a map of 12 x 12 cells of layer2 (the last"
        in capsys.readouterr().err
    )


def test_without_a_choice_every_observation_is_drawn(weights: Path, images: Path, tmp_path: Path) -> None:
    assert predict(weights, images / "b.png", "--grad-cam", tmp_path / "cam") == 0
    names = {"b Cardiomegaly.png", "b Pleural Effusion.png"}
    assert {path.name for path in (tmp_path / "cam").iterdir()} == names | {MARK}


def test_names_of_overlays_are_unique_and_say_where_a_film_lies() -> None:
    paths = [Path(path) for path in ("x/p1/view1.jpg", "x/p2/view1.jpg", "x/p2/view1.png", "x/p2_view1.jpg")]
    assert overlay_names(paths) == ["p1_view1", "p2_view1", "p2_view1-2", "p2_view1-3"]
    assert overlay_names([Path("x/y/image.jpg")]) == ["image"]


def test_a_file_given_twice_counts_once_where_it_stood_first(images: Path) -> None:
    found = image_files([images / "b.png", images, images / "deep" / ".." / "a.JPG"])
    assert found == [images / "b.png", images / "a.JPG", images / "deep" / "c.png"]


def damaged(images: Path) -> None:
    (images / "d.png").write_bytes(b"\x89PNG")
    (images / "e.jpg").write_text("no image")


Damage = Callable[[Path], object]
REFUSED: dict[str, tuple[tuple[str, ...], Damage, str]] = {
    "nothing there": (
        ("IMAGES/none.jpg",),
        str,
        "IMAGES/none.jpg: no such file or folder; give image files, or folders",
    ),
    "no images": (
        ("IMAGES/empty",),
        lambda images: (images / "empty").mkdir(),
        "IMAGES/empty: no images found; a folder is searched for files that end in .jpg, .jpeg, .png: give another, or",
    ),
    "damaged images": (
        ("IMAGES",),
        damaged,
        "2 of 5 images cannot be decoded: IMAGES/d.png, IMAGES/e.jpg; replace the files or leave them out",
    ),
    "a text": (("IMAGES/notes.txt",), str, "1 of 1 images cannot be decoded: IMAGES/notes.txt; replace"),
    "a batch of none": (
        ("IMAGES", "--batch", "0"),
        str,
        "--batch 0: images are scored 1 or more at a time; give --batch",
    ),
    "a folder as CSV": (
        ("IMAGES", "--out", "IMAGES"),
        str,
        "--out IMAGES: is a folder and the CSV needs a file; give for example --out IMAGES/predicted.csv",
    ),
    "a file as folder": (
        ("IMAGES", "--grad-cam", "IMAGES/a.JPG"),
        str,
        "--grad-cam IMAGES/a.JPG: is a file; give a new or empty folder",
    ),
    "a file of somebody else as CSV": (
        ("IMAGES", "--out", "IMAGES/notes.txt"),
        str,
        "--out IMAGES/notes.txt: is a file that chex predict did not write, so it is not overwritten; give another",
    ),
    "a folder of images for overlays": (
        ("IMAGES", "--grad-cam", "IMAGES"),
        str,
        "--grad-cam IMAGES: holds files that this program did not write (there is no .chexpert-search.json in it)",
    ),
    "a choice of nothing": (
        ("IMAGES", "--observation", "Edema"),
        str,
        "--observation Edema: chooses what --grad-cam draws, which is not asked for; add --grad-cam FOLDER or leave it",
    ),
    "another observation": (
        ("IMAGES", "--grad-cam", "IMAGES/cam", "--observation", "Pleural Efusion"),
        str,
        "--observation: the weights were not trained on 'Pleural Efusion'; did you mean 'Pleural Effusion'? ch",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_work_is_refused_and_nothing_written(
    weights: Path, images: Path, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    arguments, damage, message = REFUSED[case]
    damage(images)
    before = sorted(images.rglob("*"))
    assert predict(weights, *(text.replace("IMAGES", str(images)) for text in arguments)) == 2
    said = capsys.readouterr()
    assert f"chex predict: {message}".replace("IMAGES", str(images)) in said.err
    assert said.out == ""
    assert sorted(images.rglob("*")) == before


def test_weights_that_are_none_are_refused(tmp_path: Path, images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert predict(images / "notes.txt", images) == 2
    assert re.search(r"notes.txt cannot be read as safetensors \(.*\); give a best", capsys.readouterr().err)
