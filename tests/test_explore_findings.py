"""Each finding appears when it is planted, and none on a tree that has nothing to tell."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from chex.explore.films import look, present
from chex.explore.findings import Films, findings
from chex.labels import OBSERVATIONS
from chex.records import read_records

Plant = Callable[[Path], object]


@pytest.fixture
def copy(plain_tree: Path, tmp_path: Path) -> Path:
    """A copy of the tree that has nothing to tell."""
    return Path(shutil.copytree(plain_tree, tmp_path / plain_tree.name))


def edit(split: str, change: Callable[[pd.DataFrame], pd.DataFrame]) -> Plant:
    def plant(tree: Path) -> None:
        csv = tree / f"{split}.csv"
        change(pd.read_csv(csv, dtype=str, keep_default_na=False)).to_csv(csv, index=False)

    return plant


def put(split: str, rows: list[int], columns: list[str], value: str) -> Plant:
    def change(table: pd.DataFrame) -> pd.DataFrame:
        table.loc[rows, columns] = value
        return table

    return edit(split, change)


def told(tree: Path) -> list[tuple[str, str]]:
    train, valid = read_records(tree / "train.csv"), read_records(tree / "valid.csv")
    paths = np.concatenate([train.paths, valid.paths])
    there = present(tree, paths, lambda done, total: None)
    rng = np.random.default_rng(0)
    looked = look(tree, paths[there], 500, rng, lambda done, total: None) if there.any() else None
    return [(each.weight, each.text) for each in findings(train, valid, Films(there, looked))]


FILM = "train/patient00003/study1/view1_frontal.jpg"
OTHER = "train/patient00005/study1/view1_frontal.jpg"
ALL = list(OBSERVATIONS)
WHOLE = list(range(24))
PLANTS: dict[str, tuple[Plant, str, str]] = {
    "a missing film": (
        lambda tree: (tree / FILM).unlink(),
        "refused",
        f"1 of 48 films (2.1 %) are missing, first {FILM}.",
    ),
    "no films at all": (
        lambda tree: [shutil.rmtree(tree / split) for split in ("train", "valid")],
        "refused",
        "None of the 48 films is there: this page is of the two tables alone.",
    ),
    "a damaged film": (
        lambda tree: (tree / FILM).write_bytes(b"no film"),
        "refused",
        f"1 of 48 films looked at (2.1 %) cannot be decoded, first {FILM}.",
    ),
    "identical films": (
        lambda tree: shutil.copy(tree / FILM, tree / OTHER),
        "mind",
        f"2 of 48 films looked at (4.2 %) have the same pixels as another of them, first {FILM} and {OTHER}.",
    ),
    "a film of one gray": (
        lambda tree: Image.new("L", (40, 40), 128).save(tree / FILM),
        "mind",
        f"1 of 48 films looked at (2.1 %) show nothing (one gray throughout), first {FILM}.",
    ),
    "a repeated path": (
        edit("train", lambda table: pd.concat([table, table.loc[[2]]])),
        "refused",
        f"In train.csv 1 row repeats a Path of an earlier row, first {FILM}.",
    ),
    "a patient in both splits": (
        put("valid", [0], ["Path"], "CheXpert-v1.0-small/valid/patient00003/study1/view1_frontal.jpg"),
        "refused",
        "1 patient is in both train.csv and valid.csv, first patient00003.",
    ),
    "nothing to learn": (
        put("train", WHOLE, ["Fracture"], "0"),
        "mind",
        "Fracture has no positive and no uncertain label in train.csv's 24 rows: nothing can be learnt there.",
    ),
    "no positive in valid": (
        put("valid", WHOLE, ["Fracture"], "0"),
        "mind",
        "Fracture has 0 positive labels among valid.csv's 24 certain ones: its AUROC is undefined there.",
    ),
    "no negative in valid": (
        put("valid", WHOLE, ["Edema"], "1"),
        "mind",
        "Edema has 0 negative labels among valid.csv's 24 certain ones: its AUROC is undefined there.",
    ),
    "few positives in valid": (
        put("valid", WHOLE[:20], ["Lung Lesion"], ""),
        "mind",
        "Fewer than 10 of one class in valid.csv, where AUROC says little: Lung Lesion (2 positive, 22 negative).",
    ),
    "hardly a negative in train": (
        put("train", WHOLE[1::2], ["Atelectasis"], ""),
        "mind",
        "Hardly ever called negative in train.csv, so that blanks must serve: Atelectasis (0 negative, 12 positive).",
    ),
    "No Finding beside a finding": (
        put("train", [0, 2], ["No Finding"], "1"),
        "mind",
        "In train.csv 2 rows have both No Finding and a finding positive, "
        "first train/patient00001/study1/view1_frontal.jpg.",
    ),
    "labels that differ within a study": (
        put("train", [3], ["Path"], "CheXpert-v1.0-small/train/patient00003/study1/view2_frontal.jpg"),
        "mind",
        "Labels differ within 1 of 23 studies (4.3 %) of train.csv, first train/patient00003/study1.",
    ),
    "a patient of two sexes": (
        put("train", [4], ["Path"], "CheXpert-v1.0-small/train/patient00003/study2/view1_frontal.jpg"),
        "mind",
        "In train.csv 1 patient changes sex between rows, first patient00003.",
    ),
    "blanks in valid": (
        put("valid", [0], ALL[1:3], ""),
        "fact",
        "2 of 336 labels (0.6 %) of valid.csv are blank and count as negative.",
    ),
    "uncertain labels in valid": (
        put("valid", [1], ["Edema"], "-1"),
        "mind",
        "1 of 336 labels (0.3 %) of valid.csv are uncertain: not scored.",
    ),
    "a child": (
        put("train", [2], ["Age"], "0"),
        "mind",
        f"In train.csv 1 row is of a patient under 18 (age 0), first {FILM}.",
    ),
    "an age that is no number": (
        put("valid", [2, 3], ["Age"], "?"),
        "mind",
        "In valid.csv 2 rows have no number as Age.",
    ),
    "an unknown sex": (
        put("train", [2], ["Sex"], "Unknown"),
        "mind",
        "In train.csv 1 row has a Sex other than Female and Male (Unknown), first patient00003.",
    ),
    "ages at the cap": (
        put("train", [2, 3], ["Age"], "90"),
        "fact",
        "2 of 24 rows (8.3 %) of train.csv are at 90 years, where CheXpert caps ages.",
    ),
    "an age above the cap": (
        put("train", [2], ["Age"], "97"),
        "mind",
        "In train.csv 1 row is above 90 years, up to 97.",
    ),
    "a row without labels": (
        put("train", [2], ALL, ""),
        "fact",
        f"1 of 24 rows (4.2 %) of train.csv have no label at all, first {FILM}.",
    ),
    "uncertain labels": (
        put("train", [2, 4], ["Edema", "Fracture"], "-1"),
        "fact",
        "4 labels of train.csv are uncertain, in 2 rows (8.3 %); "
        "2 of them lie among the five scored observations, in 2 rows (8.3 %).",
    ),
    "the most uncertain observation": (
        put("train", [2], ["Edema"], "-1"),
        "fact",
        "Most often uncertain is Edema: 1 row (4.2 %) of train.csv.",
    ),
}


def test_a_tree_with_nothing_to_tell_has_no_finding(plain_tree: Path) -> None:
    assert told(plain_tree) == []


@pytest.mark.parametrize("case", PLANTS)
def test_what_is_planted_is_found(copy: Path, case: str) -> None:
    plant, weight, text = PLANTS[case]
    plant(copy)
    assert (weight, text) in told(copy)


def test_the_gravest_come_first(copy: Path) -> None:
    put("train", [2, 3], ["Age"], "90")(copy)
    shutil.copy(copy / FILM, copy / OTHER)
    edit("valid", lambda table: pd.concat([table, table.loc[[2]]]))(copy)
    assert [weight for weight, _ in told(copy)] == ["refused", "mind", "fact"]
