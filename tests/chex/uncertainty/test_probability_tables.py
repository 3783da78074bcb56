from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from chex.config import RunConfig
from chex.data.tables import load_tree
from chex.errors import InputError
from chex.schema.labels import UNCERTAIN, label_columns
from chex.training.run_tables import load_run_tables
from chex.uncertainty.policies import POLICIES, TABLE_POLICIES
from chex.uncertainty.probability_tables import write_probabilities

Make = Callable[..., RunConfig]
CARDIOMEGALY = label_columns(["Cardiomegaly"])[0]
EVERY_TABLE = pytest.mark.parametrize("policy", TABLE_POLICIES)


@pytest.fixture
def table(tree: Path, tmp_path: Path) -> Path:
    """A table of the tree's four uncertain images: .1, .2, .3 and .4."""
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


def test_a_table_lists_the_images_that_have_a_probability(table: Path) -> None:
    content = pd.read_csv(table)
    assert list(content) == ["Path", "Cardiomegaly"]
    assert content["Path"].iloc[0] == "train/patient00005/study1/view1_frontal.jpg"
    assert content["Cardiomegaly"].tolist() == [0.1, 0.2, 0.3, 0.4]


@EVERY_TABLE
def test_the_probabilities_of_a_table_become_the_targets(make_run: Make, table: Path, policy: str) -> None:
    loaded = load_run_tables(make_run(use(policy, table)))
    uncertain = loaded.tree.train.labels[:, CARDIOMEGALY] == UNCERTAIN
    assert loaded.targets.values[uncertain, 0].tolist() == pytest.approx([0.1, 0.2, 0.3, 0.4])
    assert set(loaded.targets.values[~uncertain, 0]) == {0.0, 1.0}


@EVERY_TABLE
def test_the_row_order_of_a_table_does_not_matter(make_run: Make, table: Path, policy: str) -> None:
    first = load_run_tables(make_run(use(policy, table))).digest
    pd.read_csv(table, dtype=object).iloc[::-1].to_csv(table, index=False)
    assert load_run_tables(make_run(use(policy, table))).digest == first


@EVERY_TABLE
def test_a_run_with_another_table_is_another_run(make_run: Make, table: Path, policy: str) -> None:
    first = load_run_tables(make_run(use(policy, table)))
    edit(table, 0, "Cardiomegaly", 0.9)
    second = load_run_tables(make_run(use(policy, table)))
    assert first.digest != second.digest
    assert first.evaluation_digest == second.evaluation_digest


def test_a_table_is_not_read_by_a_policy_that_needs_none(make_run: Make, tmp_path: Path) -> None:
    load_run_tables(make_run({"relabel.forest": str(tmp_path / "nowhere.csv")}))


@EVERY_TABLE
def test_a_policy_without_its_table_says_how_to_make_one(make_run: Make, policy: str) -> None:
    what = POLICIES[policy].table_maker
    message = (
        rf"relabel.{policy}: not set, and the policy '{policy}' of Cardiomegaly reads a probability table; make one "
        rf"with `chex relabel {what} RUN.yaml --data TREE` and give it with --set relabel.{policy}=FILE"
    )
    with pytest.raises(InputError, match=message):
        load_run_tables(make_run(use(policy, None)))


def test_a_missing_table_file_is_named(make_run: Make, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"relabel.forest: .*gone.csv is not a file; make one with `chex relabel for"):
        load_run_tables(make_run(use("forest", tmp_path / "gone.csv")))


@pytest.mark.parametrize(
    ("row", "column", "value", "message"),
    [
        (
            0,
            "Path",
            "train/other.jpg",
            r"has no probability for 1 of 4 training images with an uncertain label, first train/patient00005/study1/"
            r"view1_frontal.jpg; it was made for other images: make one for this run with `chex relabel teacher RUN",
        ),
        (1, "Cardiomegaly", None, r"has no probability for 1 of 4 training images with an uncertain label"),
        (2, "Cardiomegaly", 1.5, r"table.csv row 4 has a value that is not a probability in \[0, 1\]; make one"),
        (2, "Cardiomegaly", "high", r"table.csv row 4 has a value that is not a probability in \[0, 1\]; make one"),
        (3, "Path", "train/patient00005/study1/view1_frontal.jpg", r"table.csv row 5 repeats a Path; make one with"),
    ],
)
def test_a_table_with_a_wrong_cell_is_refused(
    make_run: Make, table: Path, row: int, column: str, value: object, message: str
) -> None:
    edit(table, row, column, value)
    with pytest.raises(InputError, match=message):
        load_run_tables(make_run(use("self_trained", table)))


def test_a_table_of_another_observation_is_refused(make_run: Make, table: Path) -> None:
    pd.read_csv(table).rename(columns={"Cardiomegaly": "Edema"}).to_csv(table, index=False)
    with pytest.raises(InputError, match=r"relabel.forest: .*table.csv lacks the columns Cardiomegaly; make one with"):
        load_run_tables(make_run(use("forest", table)))


def test_a_table_that_is_not_a_csv_is_refused(make_run: Make, table: Path) -> None:
    table.write_text("")
    with pytest.raises(InputError, match=r"relabel.forest: .*table.csv cannot be read as a CSV \(No columns to parse"):
        load_run_tables(make_run(use("forest", table)))


def test_a_table_with_probabilities_of_held_out_patients_is_refused(make_run: Make, table: Path) -> None:
    message = (
        r"relabel.self_trained: .*table.csv has probabilities for \d images of held-out patients, so that it may "
        r"have been learned from their labels; make one for this run with `chex relabel teacher RUN.yaml --data TREE`, "
        r"with the same data.holdout_fraction and data.split_seed"
    )
    with pytest.raises(InputError, match=message):
        load_run_tables(make_run(use("self_trained", table) | {"data.holdout_fraction": 0.9}))
