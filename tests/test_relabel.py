from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from chex.config import RunConfig
from chex.errors import InputError
from chex.labels import UNCERTAIN, columns
from chex.prepare import select
from chex.records import load_tree
from chex.relabel import write_probabilities
from chex.uncertainty import TABLE_POLICIES

Make = Callable[..., RunConfig]
CARDIOMEGALY = columns(["Cardiomegaly"])[0]
EVERY_TABLE = pytest.mark.parametrize("policy", TABLE_POLICIES)


@pytest.fixture
def table(tree: Path, tmp_path: Path) -> Path:
    """A table of the tree's four uncertain films: .1, .2, .3 and .4."""
    train = load_tree(tree).train
    probabilities = np.full((24, 1), np.nan, dtype=np.float32)
    probabilities[train.labels[:, CARDIOMEGALY] == UNCERTAIN, 0] = [0.1, 0.2, 0.3, 0.4]
    write_probabilities(tmp_path / "table.csv", train.paths, ("Cardiomegaly",), probabilities)
    return tmp_path / "table.csv"


def use(policy: str, table: Path | None, **values: object) -> dict[str, object]:
    return {"policy.default": policy, f"relabel.{policy}": str(table) if table else None} | values


def edit(table: Path, row: int, column: str, value: object) -> None:
    content = pd.read_csv(table, dtype=object)
    content.loc[row, column] = value
    content.to_csv(table, index=False)


def test_a_table_lists_the_images_that_have_a_figure(table: Path) -> None:
    content = pd.read_csv(table)
    assert list(content) == ["Path", "Cardiomegaly"]
    assert content["Path"].iloc[0] == "train/patient00005/study1/view1_frontal.jpg"
    assert content["Cardiomegaly"].tolist() == [0.1, 0.2, 0.3, 0.4]


@EVERY_TABLE
def test_the_figures_of_a_table_become_targets_of_uncertain_cells(make_run: Make, table: Path, policy: str) -> None:
    given = select(make_run(use(policy, table)))
    uncertain = given.tree.train.labels[:, CARDIOMEGALY] == UNCERTAIN
    assert given.targets.values[uncertain, 0].tolist() == pytest.approx([0.1, 0.2, 0.3, 0.4])
    assert set(given.targets.values[~uncertain, 0]) == {0.0, 1.0}


@EVERY_TABLE
def test_the_order_of_a_table_does_not_matter(make_run: Make, table: Path, policy: str) -> None:
    first = select(make_run(use(policy, table))).digest
    pd.read_csv(table, dtype=object).iloc[::-1].to_csv(table, index=False)
    assert select(make_run(use(policy, table))).digest == first


@EVERY_TABLE
def test_a_run_with_another_table_is_another_run(make_run: Make, table: Path, policy: str) -> None:
    first = select(make_run(use(policy, table)))
    edit(table, 0, "Cardiomegaly", 0.9)
    second = select(make_run(use(policy, table)))
    assert first.digest != second.digest
    assert first.valid_digest == second.valid_digest


def test_a_table_is_not_read_by_a_policy_that_needs_none(make_run: Make, tmp_path: Path) -> None:
    select(make_run({"relabel.forest": str(tmp_path / "nowhere.csv")}))


@EVERY_TABLE
def test_a_policy_without_its_table_says_how_to_make_one(make_run: Make, policy: str) -> None:
    what = "teacher" if policy == "self_trained" else "forest"
    told = (
        rf"relabel.{policy}: not set, and the policy '{policy}' of Cardiomegaly reads a probability table; make one "
        rf"with `chex relabel {what} RUN.yaml --data TREE` and give it with --set relabel.{policy}=FILE"
    )
    with pytest.raises(InputError, match=told):
        select(make_run(use(policy, None)))


def test_a_table_that_is_not_there_is_named(make_run: Make, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"relabel.forest: .*gone.csv is not a file; make one with `chex relabel for"):
        select(make_run(use("forest", tmp_path / "gone.csv")))


@pytest.mark.parametrize(
    ("row", "column", "value", "told"),
    [
        (
            0,
            "Path",
            "train/other.jpg",
            r"has no probability for 1 of 4 training images with an uncertain label, first train/patient00005/study1/"
            r"view1_frontal.jpg; it was made for other films: make one for this run with `chex relabel teacher RUN",
        ),
        (1, "Cardiomegaly", None, r"has no probability for 1 of 4 training images with an uncertain label"),
        (2, "Cardiomegaly", 1.5, r"table.csv row 4 holds a value that is no probability in \[0, 1\]; make one"),
        (2, "Cardiomegaly", "high", r"table.csv row 4 holds a value that is no probability in \[0, 1\]; make one"),
        (3, "Path", "train/patient00005/study1/view1_frontal.jpg", r"table.csv row 5 repeats a Path; make one with"),
    ],
)
def test_a_table_with_a_wrong_cell_is_refused(
    make_run: Make, table: Path, row: int, column: str, value: object, told: str
) -> None:
    edit(table, row, column, value)
    with pytest.raises(InputError, match=told):
        select(make_run(use("self_trained", table)))


def test_a_table_of_another_observation_is_refused(make_run: Make, table: Path) -> None:
    pd.read_csv(table).rename(columns={"Cardiomegaly": "Edema"}).to_csv(table, index=False)
    with pytest.raises(InputError, match=r"relabel.forest: .*table.csv lacks the columns Cardiomegaly; make one with"):
        select(make_run(use("forest", table)))


def test_a_table_that_is_no_csv_is_refused(make_run: Make, table: Path) -> None:
    table.write_text("")
    with pytest.raises(InputError, match=r"relabel.forest: .*table.csv cannot be read as a CSV \(No columns to parse"):
        select(make_run(use("forest", table)))


def test_a_table_that_knows_held_out_patients_is_refused(make_run: Make, table: Path) -> None:
    told = (
        r"relabel.self_trained: .*table.csv has probabilities for \d images of held-out patients, so that its maker "
        r"may have learnt from them; make one for this run with `chex relabel teacher RUN.yaml --data TREE`, whose "
        r"data.holdout and data.split_seed are the same"
    )
    with pytest.raises(InputError, match=told):
        select(make_run(use("self_trained", table) | {"data.holdout": 0.9}))
