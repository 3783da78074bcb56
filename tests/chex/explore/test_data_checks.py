"""Each finding appears when its problem is planted, and none on a clean tree."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from chex.data.tables import read_table
from chex.explore.data_checks import ImageChecks, check_data
from chex.explore.image_stats import check_files_exist, measure_images
from chex.schema.labels import OBSERVATIONS

Plant = Callable[[Path], object]


@pytest.fixture
def copy(plain_tree: Path, tmp_path: Path) -> Path:
    """A copy of the clean tree."""
    return Path(shutil.copytree(plain_tree, tmp_path / plain_tree.name))


def edit_table(split: str, change: Callable[[pd.DataFrame], pd.DataFrame]) -> Plant:
    def plant(tree: Path) -> None:
        csv = tree / f"{split}.csv"
        change(pd.read_csv(csv, dtype=str, keep_default_na=False)).to_csv(csv, index=False)

    return plant


def set_cells(split: str, rows: list[int], columns: list[str], value: str) -> Plant:
    def change(table: pd.DataFrame) -> pd.DataFrame:
        table.loc[rows, columns] = value
        return table

    return edit_table(split, change)


def findings_of(tree: Path) -> list[tuple[str, str]]:
    train, valid = read_table(tree / "train.csv"), read_table(tree / "valid.csv")
    paths = np.concatenate([train.paths, valid.paths])
    exists = check_files_exist(tree, paths, lambda done, total: None)
    rng = np.random.default_rng(0)
    stats = measure_images(tree, paths[exists], 500, rng, lambda done, total: None) if exists.any() else None
    return [(each.severity, each.text) for each in check_data(train, valid, ImageChecks(exists, stats))]


IMAGE = "train/patient00003/study1/view1_frontal.jpg"
OTHER_IMAGE = "train/patient00005/study1/view1_frontal.jpg"
ALL_OBSERVATIONS = list(OBSERVATIONS)
ALL_ROWS = list(range(24))
PLANTS: dict[str, tuple[Plant, str, str]] = {
    "a missing image": (
        lambda tree: (tree / IMAGE).unlink(),
        "refused",
        f"1 of 48 images (2.1 %) are missing, first {IMAGE}.",
    ),
    "no images at all": (
        lambda tree: [shutil.rmtree(tree / split) for split in ("train", "valid")],
        "refused",
        "None of the 48 images exists: this page covers only the two tables.",
    ),
    "a damaged image": (
        lambda tree: (tree / IMAGE).write_bytes(b"no image"),
        "refused",
        f"1 of 48 sampled images (2.1 %) cannot be decoded, first {IMAGE}.",
    ),
    "identical images": (
        lambda tree: shutil.copy(tree / IMAGE, tree / OTHER_IMAGE),
        "warning",
        f"2 of 48 sampled images (4.2 %) have the same pixels as another of them, first {IMAGE} and {OTHER_IMAGE}.",
    ),
    "an image of one gray": (
        lambda tree: Image.new("L", (40, 40), 128).save(tree / IMAGE),
        "warning",
        f"1 of 48 sampled images (2.1 %) are empty (a single gray value), first {IMAGE}.",
    ),
    "a repeated path": (
        edit_table("train", lambda table: pd.concat([table, table.loc[[2]]])),
        "refused",
        f"In train.csv 1 row repeats a Path of an earlier row, first {IMAGE}.",
    ),
    "a patient in both splits": (
        set_cells("valid", [0], ["Path"], "CheXpert-v1.0-small/valid/patient00003/study1/view1_frontal.jpg"),
        "refused",
        "1 patient is in both train.csv and valid.csv, first patient00003.",
    ),
    "nothing to learn": (
        set_cells("train", ALL_ROWS, ["Fracture"], "0"),
        "warning",
        "Fracture has no positive and no uncertain label in train.csv's 24 rows: it cannot be learnt.",
    ),
    "no positive in valid": (
        set_cells("valid", ALL_ROWS, ["Fracture"], "0"),
        "warning",
        "Fracture has 0 positive labels among valid.csv's 24 certain ones: its AUROC is undefined there.",
    ),
    "no negative in valid": (
        set_cells("valid", ALL_ROWS, ["Edema"], "1"),
        "warning",
        "Edema has 0 negative labels among valid.csv's 24 certain ones: its AUROC is undefined there.",
    ),
    "few positives in valid": (
        set_cells("valid", ALL_ROWS[:20], ["Lung Lesion"], ""),
        "warning",
        "Fewer than 10 of one class in valid.csv, which makes AUROC unreliable: Lung Lesion (2 positive, 22 negative).",
    ),
    "hardly a negative in train": (
        set_cells("train", ALL_ROWS[1::2], ["Atelectasis"], ""),
        "warning",
        "Rarely labelled negative in train.csv, so that negatives are mostly blanks: "
        "Atelectasis (0 negative, 12 positive).",
    ),
    "No Finding beside a finding": (
        set_cells("train", [0, 2], ["No Finding"], "1"),
        "warning",
        "In train.csv 2 rows have both No Finding and a finding positive, "
        "first train/patient00001/study1/view1_frontal.jpg.",
    ),
    "labels that differ within a study": (
        set_cells("train", [3], ["Path"], "CheXpert-v1.0-small/train/patient00003/study1/view2_frontal.jpg"),
        "warning",
        "Labels differ within 1 of 23 studies (4.3 %) of train.csv, first train/patient00003/study1.",
    ),
    "a patient of two sexes": (
        set_cells("train", [4], ["Path"], "CheXpert-v1.0-small/train/patient00003/study2/view1_frontal.jpg"),
        "warning",
        "In train.csv 1 patient changes sex between rows, first patient00003.",
    ),
    "blanks in valid": (
        set_cells("valid", [0], ALL_OBSERVATIONS[1:3], ""),
        "note",
        "2 of 336 labels (0.6 %) of valid.csv are blank and count as negative.",
    ),
    "uncertain labels in valid": (
        set_cells("valid", [1], ["Edema"], "-1"),
        "warning",
        "1 of 336 labels (0.3 %) of valid.csv are uncertain and are not scored.",
    ),
    "a child": (
        set_cells("train", [2], ["Age"], "0"),
        "warning",
        f"In train.csv 1 row is of a patient under 18 (age 0), first {IMAGE}.",
    ),
    "an age that is no number": (
        set_cells("valid", [2, 3], ["Age"], "?"),
        "warning",
        "In valid.csv 2 rows have no number as Age.",
    ),
    "an unknown sex": (
        set_cells("train", [2], ["Sex"], "Unknown"),
        "warning",
        "In train.csv 1 row has a Sex other than Female and Male (Unknown), first patient00003.",
    ),
    "ages at the cap": (
        set_cells("train", [2, 3], ["Age"], "90"),
        "note",
        "2 of 24 rows (8.3 %) of train.csv are at 90 years, where CheXpert caps ages.",
    ),
    "an age above the cap": (
        set_cells("train", [2], ["Age"], "97"),
        "warning",
        "In train.csv 1 row is above 90 years, up to 97.",
    ),
    "a row without labels": (
        set_cells("train", [2], ALL_OBSERVATIONS, ""),
        "note",
        f"1 of 24 rows (4.2 %) of train.csv have no label at all, first {IMAGE}.",
    ),
    "uncertain labels": (
        set_cells("train", [2, 4], ["Edema", "Fracture"], "-1"),
        "note",
        "4 labels of train.csv are uncertain, in 2 rows (8.3 %); "
        "2 of them are labels of the five scored observations, in 2 rows (8.3 %).",
    ),
    "the most uncertain observation": (
        set_cells("train", [2], ["Edema"], "-1"),
        "note",
        "Edema is uncertain most often: in 1 row (4.2 %) of train.csv.",
    ),
}


def test_a_clean_tree_has_no_finding(plain_tree: Path) -> None:
    assert findings_of(plain_tree) == []


@pytest.mark.parametrize("case", PLANTS)
def test_a_planted_problem_is_found(copy: Path, case: str) -> None:
    plant, severity, text = PLANTS[case]
    plant(copy)
    assert (severity, text) in findings_of(copy)


def test_the_most_severe_findings_come_first(copy: Path) -> None:
    set_cells("train", [2, 3], ["Age"], "90")(copy)
    shutil.copy(copy / IMAGE, copy / OTHER_IMAGE)
    edit_table("valid", lambda table: pd.concat([table, table.loc[[2]]]))(copy)
    assert [severity for severity, _ in findings_of(copy)] == ["refused", "warning", "note"]
