"""What `chex forest` prints, writes and refuses, on tables without images."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from chex.__main__ import main
from chex.data.tables import METADATA_COLUMNS
from chex.forest.forest_report import chosen_targets
from chex.runtime.output_folder import MARK
from chex.schema.labels import FIVE, OBSERVATIONS

Arguments = Callable[..., int]
FILES = {"report.txt", "folds.csv", "roc.png", "importances.png"}


@pytest.fixture(autouse=True)
def small_forests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chex.forest.metadata_forest.TREES", 3)


def write_table(csv: Path, split: str, patients: range) -> pd.DataFrame:
    """Two images a patient; labels at random, and every fifth patient's Cardiomegaly and Edema uncertain."""
    rng = np.random.default_rng(0)
    rows = []
    for patient in patients:
        cells = dict(zip(OBSERVATIONS, rng.choice(["1.0", "0.0", ""], size=14), strict=True)) | {"Fracture": ""}
        if patient % 5 == 0:
            cells |= {"Cardiomegaly": "-1.0", "Edema": "-1.0"}
        for view in (1, 2):
            path = f"CheXpert-v1.0-small/{split}/patient{patient:05d}/study1/view{view}_frontal.jpg"
            described = {"Path": path, "Sex": "Male", "Age": 20 + patient % 60, "Frontal/Lateral": "Frontal"}
            rows.append(described | {"AP/PA": "AP"} | cells)
    table = pd.DataFrame(rows, columns=[*METADATA_COLUMNS, *OBSERVATIONS])
    table.to_csv(csv, index=False)
    return table


@pytest.fixture
def tables(tmp_path: Path) -> Path:
    root = tmp_path / "tables"
    root.mkdir()
    write_table(root / "train.csv", "train", range(1, 61))
    write_table(root / "valid.csv", "valid", range(101, 105))
    return root


@pytest.fixture
def forest(tables: Path) -> Arguments:
    """Runs `chex forest` on the tables with two folds; what it writes lies in tables.parent / "out"."""

    def run(*more: str) -> int:
        return main(["forest", str(tables), "--folds", "2", "--out", str(tables.parent / "out"), *more])

    return run


def test_a_report_stands_beside_the_published_figures_with_pictures_folds_and_probabilities(
    forest: Arguments, tables: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert forest("--target", "Cardiomegaly") == 0
    message, out = capsys.readouterr().out, tables.parent / "out"
    assert {path.name for path in out.iterdir()} == FILES | {"probabilities.csv", MARK}
    assert message.startswith((out / "report.txt").read_text(encoding="utf-8").rstrip())
    assert "96 certain rows of 48 patients" in message
    assert "24 uncertain rows left out; 2 folds, seed 0" in message
    for figures in (".743 .363 .109", ".848 .727 .880", ".896 .776 .886"):
        assert any(" ".join(line.split()[3::3]) == figures for line in message.splitlines()), figures
    assert "This is optimistic: copies" in message
    assert "so that remembering pays" in message
    assert message.endswith("the plain forest's probability of positive for 24 uncertain cells of 24 images\n")
    for name in ("roc.png", "importances.png"):
        with Image.open(out / name) as picture:
            assert picture.width > 225


def test_the_same_seed_gives_the_same_folds_a_row_per_protocol_and_variant(forest: Arguments, tables: Path) -> None:
    forest("--target", "Cardiomegaly", "--seed", "3")
    written = (tables.parent / "out" / "folds.csv").read_bytes()
    forest("--target", "Cardiomegaly", "--seed", "3")
    assert (tables.parent / "out" / "folds.csv").read_bytes() == written
    folds = pd.read_csv(tables.parent / "out" / "folds.csv")
    assert len(folds) == len(folds[["protocol", "variant", "fold"]].drop_duplicates()) == 2 * 4 * 2
    assert folds.columns.tolist() == [
        *("protocol", "variant", "fold", "train_rows", "test_rows", "test_positives"),
        *("ROC-AUC", "precision", "recall"),
    ]
    honest = folds[folds["protocol"].str.startswith("resampled inside")]
    assert (honest.groupby("variant")["test_rows"].sum() == 96).all()


def test_probabilities_list_images_with_an_uncertain_target(forest: Arguments, tables: Path) -> None:
    table = pd.read_csv(tables / "train.csv")
    table.loc[table.index[8], "Edema"] = 1  # the first uncertain patient's first image
    table.to_csv(tables / "train.csv", index=False)
    assert forest("--target", "Edema", "Cardiomegaly") == 0
    message = pd.read_csv(tables.parent / "out" / "probabilities.csv")
    assert message.columns.tolist() == ["Path", "Edema", "Cardiomegaly"]
    uncertain = table["Path"][table["Cardiomegaly"] == -1].str.split("/", n=1).str[1]
    assert message["Path"].tolist() == uncertain.tolist()
    assert message["Edema"].isna().tolist() == [True] + [False] * 23
    assert message["Cardiomegaly"].between(0, 1).all()
    for name in ("Edema", "Cardiomegaly"):
        assert {path.name for path in (tables.parent / "out" / name).iterdir()} == FILES


def test_published_figures_are_shown_for_their_target_only_and_an_empty_table_is_said(
    forest: Arguments, tables: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert forest("--target", "Pleural Effusion") == 0
    message = capsys.readouterr().out
    assert "source  " not in message
    assert ".743" not in message
    assert message.endswith("probabilities.csv: empty, because no label is uncertain\n")
    assert (tables.parent / "out" / "probabilities.csv").read_text() == "Path,Pleural Effusion\n"


def test_missing_ages_are_told(forest: Arguments, tables: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = pd.read_csv(tables / "train.csv")
    table.loc[:2, "Age"] = np.nan
    table.to_csv(tables / "train.csv", index=False)
    assert forest("--target", "Cardiomegaly") == 0
    assert "3 missing ages count as the median age of the rows that a forest learns from." in capsys.readouterr().out


def test_folds_without_a_positive_call_are_told(
    forest: Arguments, tables: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = pd.read_csv(tables / "train.csv")
    table["Cardiomegaly"] = np.where(np.arange(len(table)) < 14, 1, 0)
    table.to_csv(tables / "train.csv", index=False)
    assert forest("--target", "Cardiomegaly") == 0
    message = "precision is averaged over the others."
    assert message in capsys.readouterr().out


def test_a_column_that_repeats_the_target_is_pointed_at(
    forest: Arguments, tables: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = pd.read_csv(tables / "train.csv")
    table["Cardiomegaly"] = np.where(np.arange(len(table)) % 4 < 2, 1, 0)
    for name in ("Edema", "Pneumonia", "Lung Opacity"):
        table[name] = table["Cardiomegaly"]
    table.to_csv(tables / "train.csv", index=False)
    assert forest("--target", "Cardiomegaly") == 0
    assert "check whether one of these repeats the target" in capsys.readouterr().out


REFUSED = {
    "--target Fracture": "--target Fracture: train.csv has positives of 0 patients and 2 folds by patient need 2 at "
    "least; choose another target",
    "--target Cardiomegalie": "--target Cardiomegalie: not an observation; did you mean 'Cardiomegaly'? choices: No F",
    "--target five Edema": "--target five: not an observation; ",
    "--target Edema Edema": "--target Edema Edema: names an observation twice; name each once",
    "--target Edema --folds 1": "--folds 1: a forest is tested on patients left out, for which 2 folds are the least; "
    "give --folds 2 or more",
    "--target Edema --seed -1": "--seed -1: a seed is a whole number from 0 to 4294967295; give one of these",
    "--target Cardiomegaly --folds 30": "--target Cardiomegaly: train.csv has positives of ",
}


@pytest.mark.parametrize("options", REFUSED)
def test_wrong_options_are_refused_before_anything_is_written(
    forest: Arguments, tables: Path, capsys: pytest.CaptureFixture[str], options: str
) -> None:
    assert forest(*options.split()) == 2
    assert capsys.readouterr().err.startswith(f"chex forest: {REFUSED[options]}")
    assert not (tables.parent / "out").exists()


def test_a_folder_that_is_a_file_is_refused(
    forest: Arguments, tables: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tables.parent / "out").write_text("")
    assert forest("--target", "Edema") == 2
    message = f"chex forest: --out {tables.parent / 'out'}: is a file; give a new or empty folder\n"
    assert capsys.readouterr().err == message


def test_five_names_the_scored_observations() -> None:
    assert chosen_targets(["five"]) == FIVE
    assert chosen_targets(["Pleural Effusion", "Edema"]) == ("Pleural Effusion", "Edema")


def test_a_folder_above_the_tree_is_answered_with_the_tree(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["forest", str(tree.parent), "--target", "Cardiomegaly"]) == 2
    assert f"TREE: {tree.parent} has no train.csv; did you mean {tree}?" in capsys.readouterr().err
