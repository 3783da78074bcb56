"""`chex explore` on whole trees: the page, its files, and what the command prints and refuses."""

import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from chex.__main__ import main as chex
from chex.data.tables import read_table
from chex.explore import exploration
from chex.explore.image_stats import contact_sheet, extremes, identical, measure_images
from chex.reporting.html_report import Page
from chex.runtime.output_folder import MARK

BAD = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def explored(plain_tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an exploration of a tree with images, uncertain labels, a hostile cell and a missing image."""
    folder = tmp_path_factory.mktemp("explored")
    tree = Path(shutil.copytree(plain_tree, folder / plain_tree.name))
    table = pd.read_csv(tree / "train.csv", dtype=str)
    table.loc[0, "Sex"] = BAD
    table.loc[1, "AP/PA"] = BAD
    table.loc[range(4, 12), ["Edema", "Consolidation"]] = "-1"
    table.to_csv(tree / "train.csv", index=False)
    (tree / "train/patient00003/study1/view1_frontal.jpg").unlink()
    assert chex(["explore", str(tree), "--out", str(folder / "out"), "--images", "30"]) == 0
    return folder / "out"


def page_of(folder: Path) -> str:
    return (folder / "index.html").read_text(encoding="utf-8")


def test_the_page_needs_no_network_and_no_other_file(explored: Path) -> None:
    html = page_of(explored)
    assert "http:" not in html
    assert "https:" not in html
    assert "<link" not in html
    assert "@import" not in html
    assert all(source.startswith("data:image/png;base64,") for source in re.findall(r'src="([^"]*)"', html))
    targets = re.findall(r'href="([^"]*)"', html)
    assert targets
    assert all(target.startswith("#") and f'id="{target[1:]}"' in html for target in targets)


def test_every_picture_has_a_reading_and_an_alternative_text(explored: Path) -> None:
    html = page_of(explored)
    pictures = re.findall(r'<img [^>]*alt="([^"]*)"', html)
    assert len(pictures) == len(list(explored.glob("*.png"))) == 11
    assert all(pictures)
    readings = re.findall(r"<figcaption>(.*?)</figcaption>", html, flags=re.DOTALL)
    assert len(readings) == len(pictures)
    assert all(reading.endswith(".") and "nan" not in reading for reading in readings)


def test_cells_of_the_csv_stay_text(explored: Path) -> None:
    html = page_of(explored)
    assert "<script" not in html
    assert html.count("&lt;script&gt;alert(1)&lt;/script&gt;") == 3  # the finding, the table of sexes, that of views


def test_pictures_and_tables_lie_beside_the_page(explored: Path) -> None:
    names = {path.name for path in explored.iterdir()}
    assert {"balance.png", "balance.csv", "labels-train.csv", "contact-sheet.png", "images.csv", "ages.png"} <= names
    assert not [name for name in names if name.startswith(".") and name != MARK]
    assert len(pd.read_csv(explored / "images.csv")) == 30
    assert list(pd.read_csv(explored / "sizes.csv")["rows"]) == [24, 24]
    with Image.open(explored / "balance.png") as picture:
        assert picture.width > 200


def test_a_tree_without_images_has_a_page_of_its_tables(
    plain_tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tree = tmp_path / "bare"
    tree.mkdir()
    for split in ("train", "valid"):
        shutil.copy(plain_tree / f"{split}.csv", tree)
    assert chex(["explore", str(tree), "--out", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed == [
        "refused  None of the 48 images exists: this page covers only the two tables.",
        str(tmp_path / "out" / "index.html"),
    ]
    html = page_of(tmp_path / "out")
    assert "<title>bare: what the tree contains</title>" in html
    assert "this page covers only the two tables" in html
    assert "Contact sheet" not in html
    assert not (tmp_path / "out" / "images.csv").exists()


def test_a_tree_with_almost_no_labels_has_a_page_too(
    plain_tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tree = tmp_path / "mute"
    tree.mkdir()
    for split in ("train", "valid"):
        table = pd.read_csv(plain_tree / f"{split}.csv", dtype=str).head(1)
        table.iloc[:, 5:] = ""
        table[["Sex", "Age", "AP/PA"]] = ""
        table.to_csv(tree / f"{split}.csv", index=False)
    assert chex(["explore", str(tree), "--out", str(tmp_path / "out")]) == 0
    assert "In train.csv 1 row has no number as Age." in capsys.readouterr().out
    assert "no row has an age." in page_of(tmp_path / "out")
    assert "Fewer than two observations are ever positive in train.csv." in page_of(tmp_path / "out")


def test_the_page_is_written_under_results_by_default(
    plain_tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    written: list[Page] = []

    def write_page(page: Page, out: Path, advance: object) -> Path:
        written.append(page)
        return out / "index.html"

    monkeypatch.setattr(exploration, "write_page", write_page)
    assert chex(["explore", str(plain_tree), "--images", "2"]) == 0
    assert capsys.readouterr().out == f"results/explore-{plain_tree.name}/index.html\n"
    assert written[0].sections[0].parts == ["The checks have no findings."]


def test_impossible_arguments_are_refused_with_a_sentence(
    plain_tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.docx").write_text("x")
    tree, out = str(plain_tree), str(tmp_path / "out")
    refusals = {
        (
            tree,
            "--out",
            out,
            "--images",
            "0",
        ): "--images: 0 is refused, it should be 1 or more; leave it out to look at 500",
        (
            f"{tree}x",
            "--out",
            out,
        ): "CheXpert-v1.0-smallx is not a folder; give the folder that holds train.csv and valid",
        (str(plain_tree.parent), "--out", out): f"has no train.csv; did you mean {tree}?",
        (tree, "--out", str(plain_tree / "here")): "overlaps the data tree",
        (tree, "--out", str(tmp_path / "file")): "file: is a file; give a new or empty folder",
        (tree, "--out", str(tmp_path / "full")): "full: holds files that this program did not write",
    }
    for arguments, text in refusals.items():
        assert chex(["explore", *arguments]) == 2
        printed = capsys.readouterr().err
        assert text in printed
        assert "--data" not in printed
    assert not (tmp_path / "out").exists()
    assert not (plain_tree / "here").exists()


def test_image_stats_are_sizes_and_grays_as_stored(tmp_path: Path) -> None:
    for name, width, gray in (("a", 30, 10), ("b", 50, 200), ("c", 50, 200)):
        Image.new("L", (width, 40), gray).save(tmp_path / f"{name}.png")
    (tmp_path / "d.png").write_bytes(b"no image")
    paths = np.array(["d.png", "c.png", "b.png", "a.png", "a.png"])
    progress_calls: list[tuple[int, int]] = []
    stats = measure_images(
        tmp_path, paths, 10, np.random.default_rng(0), lambda done, total: progress_calls.append((done, total))
    )
    assert list(stats.paths) == ["a.png", "b.png", "c.png"]
    assert list(stats.widths) == [30, 50, 50]
    assert list(stats.means) == [10, 200, 200]
    assert (stats.damaged, stats.opened) == (("d.png",), 4)
    assert identical(stats) == [("b.png", "c.png")]
    assert [(sample.group, sample.path) for sample in extremes(tmp_path, stats)] == [
        ("darkest", "a.png"),
        ("brightest", "c.png"),
    ]
    assert progress_calls[-1] == (4, 4)


def test_the_same_seed_draws_the_same_images(plain_tree: Path) -> None:
    paths = read_table(plain_tree / "train.csv").paths

    def sample(seed: int) -> list[str]:
        return list(measure_images(plain_tree, paths, 5, np.random.default_rng(seed), lambda done, total: None).paths)

    assert sample(1) == sample(1) != sample(2)


def test_the_contact_sheet_shows_each_label_and_says_where_there_is_no_image(plain_tree: Path) -> None:
    train = read_table(plain_tree / "train.csv")
    samples = contact_sheet(plain_tree, train, np.ones(len(train), dtype=bool), np.random.default_rng(0))
    assert len(samples) == 25
    first = samples[:5]
    assert [sample.group for sample in first] == ["Atelectasis"] * 5
    assert [sample.caption.split("\n")[0] for sample in first] == [
        "positive",
        "positive",
        "uncertain",
        "uncertain",
        "negative",
    ]
    assert [bool(sample.path) for sample in first] == [True, True, False, False, True]
    rows = [list(train.paths).index(sample.path) for sample in first if sample.path]
    assert [row % 2 for row in rows] == [0, 0, 1]  # even rows are positive
    shown = [sample.path for sample in samples if sample.path]
    assert len(shown) == len(set(shown))
