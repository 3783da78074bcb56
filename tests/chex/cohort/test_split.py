from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from chex.cohort.split import EvaluationSet, Split, split
from chex.data.data_config import DataConfig
from chex.data.tables import load_tree
from chex.errors import InputError
from chex.schema.labels import label_columns
from chex.training.run_tables import load_run_tables

CARDIOMEGALY = label_columns(["Cardiomegaly"])[0]


def splitting(root: Path, **values: object) -> Split:
    return split(load_tree(root), DataConfig.model_validate(values))


def make_lateral(root: Path, name: str) -> None:
    """Makes every second image a lateral view."""
    table = pd.read_csv(root / f"{name}.csv")
    table.loc[1::2, "Frontal/Lateral"] = "Lateral"
    table.loc[1::2, "AP/PA"] = None
    table.to_csv(root / f"{name}.csv", index=False)


def test_by_default_all_of_train_trains_and_all_of_valid_is_scored(tree: Path) -> None:
    parts = splitting(tree)
    np.testing.assert_array_equal(parts.rows, np.arange(24))
    np.testing.assert_array_equal(parts.scored.images, 24 + np.arange(12))
    assert len(parts.held_out) == 0


def test_a_holdout_takes_patients_from_train_and_none_is_on_both_sides(tree: Path) -> None:
    train = load_tree(tree).train
    parts = splitting(tree, holdout_fraction=0.4)
    assert len(set(parts.scored.patients)) == 5  # .4 of 12, halves to even
    assert not set(train.patients[parts.rows]) & set(parts.scored.patients)
    np.testing.assert_array_equal(np.sort(np.r_[parts.rows, parts.held_out]), np.arange(24))
    np.testing.assert_array_equal(parts.scored.images, parts.held_out)


def test_only_certain_cells_of_held_out_patients_are_scored(tree: Path) -> None:
    train = load_tree(tree).train
    parts = splitting(tree, holdout_fraction=0.9)
    uncertain = train.labels[parts.scored.images, CARDIOMEGALY] == -1
    assert uncertain.any()
    np.testing.assert_array_equal(np.isnan(parts.scored.truth[:, 0]), uncertain)


def test_another_split_seed_holds_out_other_patients_and_the_same_one_the_same(tree: Path) -> None:
    first, again, other = (
        set(splitting(tree, holdout_fraction=0.4, split_seed=seed).scored.patients) for seed in (1, 1, 2)
    )
    assert first == again != other


def test_the_seed_of_the_run_does_not_change_who_is_held_out(make_run: Callable) -> None:
    digests = {
        load_run_tables(make_run({"data.holdout_fraction": 0.4, "seed": seed})).evaluation_digest for seed in (0, 1, 2)
    }
    assert len(digests) == 1


@pytest.mark.parametrize(("views", "remainder"), [("frontal", 0), ("lateral", 1)])
@pytest.mark.parametrize("holdout", [None, 0.4])
def test_views_select_the_images_that_are_trained_on_and_scored(
    tree: Path, views: str, remainder: int, holdout: float | None
) -> None:
    for name in ("train", "valid"):
        make_lateral(tree, name)
    parts = splitting(tree, views=views, holdout_fraction=holdout)
    for images in (parts.rows, parts.scored.images):
        assert len(images) > 0
        assert (images % 2 == remainder).all()


def test_a_study_counts_once_with_the_highest_of_its_images(tree: Path) -> None:
    images, studies = (splitting(tree, eval_unit=unit).scored for unit in ("image", "study"))
    assert len(images.paths) == 12
    assert list(studies.paths[:2]) == ["valid/patient00101/study1", "valid/patient00102/study1"]
    assert len(studies.patients) == len(studies.truth) == 6
    np.testing.assert_array_equal(images.truth[::2], studies.truth)
    probability = np.linspace(0, 1, 12).reshape(12, 1)
    np.testing.assert_array_equal(images.max_over_study(probability), probability)
    np.testing.assert_array_equal(studies.max_over_study(probability), probability[1::2])


def test_a_study_is_not_scored_only_where_all_of_its_images_are_uncertain() -> None:
    labels = np.array([[np.nan, np.nan], [1, np.nan]])
    highest = np.full((1, 2), np.nan)
    np.fmax.at(highest, np.zeros(2, int), labels)
    np.testing.assert_array_equal(highest, [[1, np.nan]])


def test_the_highest_of_a_study_does_not_depend_on_the_order_of_its_images() -> None:
    unit = np.array([1, 0, 1])
    scored = EvaluationSet(np.arange(3), unit, np.array(["a", "b"]), np.array(["p", "q"]), np.zeros((2, 1)))
    assert scored.max_over_study(np.array([[0.2], [0.9], [0.4]])).tolist() == [[0.9], [0.4]]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"views": "lateral"},
            r"data.views: 'lateral' leaves no images to train on in .*; use data.views=all or anot",
        ),
        (
            {"holdout_fraction": 0.01},
            r"data.holdout_fraction: 0.01 of 12 patients holds out 0; at least one patient must be held out and",
        ),
        (
            {"holdout_fraction": 0.99},
            r"data.holdout_fraction: 0.99 of 12 patients holds out 12; at least one patient must be held out",
        ),
        (
            {"holdout_fraction": 0.1, "observations": "Fracture"},
            r"data.holdout_fraction: 0.1 of .*: AUROC is undefined for Fracture, because the 2 validation images ha",
        ),
        (
            {"eval_unit": "study", "observations": "Fracture"},
            r"valid.csv: AUROC is undefined for Fracture, because the 6 validation studies have only one class; choose",
        ),
    ],
)
def test_a_split_that_leaves_nothing_is_refused(tree: Path, values: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        splitting(tree, **values)
