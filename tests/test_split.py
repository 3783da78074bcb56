from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from chex.errors import InputError
from chex.labels import columns
from chex.prepare import select
from chex.records import DataConfig, load_tree
from chex.split import Scored, Split, split

CARDIOMEGALY = columns(["Cardiomegaly"])[0]


def splitting(root: Path, **values: object) -> Split:
    return split(load_tree(root), DataConfig.model_validate(values))


def make_lateral(root: Path, name: str) -> None:
    """Every second film becomes a lateral."""
    table = pd.read_csv(root / f"{name}.csv")
    table.loc[1::2, "Frontal/Lateral"] = "Lateral"
    table.loc[1::2, "AP/PA"] = None
    table.to_csv(root / f"{name}.csv", index=False)


def test_by_default_all_of_train_trains_and_all_of_valid_is_scored(tree: Path) -> None:
    given = splitting(tree)
    np.testing.assert_array_equal(given.rows, np.arange(24))
    np.testing.assert_array_equal(given.scored.films, 24 + np.arange(12))
    assert len(given.held_out) == 0


def test_a_holdout_takes_patients_from_train_and_none_is_on_both_sides(tree: Path) -> None:
    train = load_tree(tree).train
    given = splitting(tree, holdout=0.4)
    assert len(set(given.scored.patients)) == 5  # .4 of 12, halves to even
    assert not set(train.patients[given.rows]) & set(given.scored.patients)
    np.testing.assert_array_equal(np.sort(np.r_[given.rows, given.held_out]), np.arange(24))
    np.testing.assert_array_equal(given.scored.films, given.held_out)


def test_a_holdout_is_scored_on_its_certain_cells_only(tree: Path) -> None:
    train = load_tree(tree).train
    given = splitting(tree, holdout=0.9)
    uncertain = train.labels[given.scored.films, CARDIOMEGALY] == -1
    assert uncertain.any()
    np.testing.assert_array_equal(np.isnan(given.scored.truth[:, 0]), uncertain)


def test_another_split_seed_holds_out_other_patients_and_the_same_one_the_same(tree: Path) -> None:
    first, again, other = (set(splitting(tree, holdout=0.4, split_seed=seed).scored.patients) for seed in (1, 1, 2))
    assert first == again != other


def test_the_seed_of_the_run_does_not_move_the_holdout(make_run: Callable) -> None:
    digests = {select(make_run({"data.holdout": 0.4, "seed": seed})).valid_digest for seed in (0, 1, 2)}
    assert len(digests) == 1


@pytest.mark.parametrize(("views", "remainder"), [("frontal", 0), ("lateral", 1)])
@pytest.mark.parametrize("holdout", [None, 0.4])
def test_views_choose_the_films_of_both_sides(tree: Path, views: str, remainder: int, holdout: float | None) -> None:
    for name in ("train", "valid"):
        make_lateral(tree, name)
    given = splitting(tree, views=views, holdout=holdout)
    for films in (given.rows, given.scored.films):
        assert len(films) > 0
        assert (films % 2 == remainder).all()


def test_a_study_counts_once_with_the_highest_of_its_films(tree: Path) -> None:
    films, studies = (splitting(tree, scoring=scoring).scored for scoring in ("image", "study"))
    assert len(films.paths) == 12
    assert list(studies.paths[:2]) == ["valid/patient00101/study1", "valid/patient00102/study1"]
    assert len(studies.patients) == len(studies.truth) == 6
    np.testing.assert_array_equal(films.truth[::2], studies.truth)
    probability = np.linspace(0, 1, 12).reshape(12, 1)
    np.testing.assert_array_equal(films.pooled(probability), probability)
    np.testing.assert_array_equal(studies.pooled(probability), probability[1::2])


def test_a_study_is_not_scored_only_where_all_of_its_films_are_uncertain() -> None:
    labels = np.array([[np.nan, np.nan], [1, np.nan]])
    highest = np.full((1, 2), np.nan)
    np.fmax.at(highest, np.zeros(2, int), labels)
    np.testing.assert_array_equal(highest, [[1, np.nan]])


def test_pooling_follows_the_units_whatever_their_order() -> None:
    unit = np.array([1, 0, 1])
    scored = Scored(np.arange(3), unit, np.array(["a", "b"]), np.array(["p", "q"]), np.zeros((2, 1)))
    assert scored.pooled(np.array([[0.2], [0.9], [0.4]])).tolist() == [[0.9], [0.4]]


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"views": "lateral"}, r"data.views: 'lateral' leaves no films to train on in .*; use data.views=all or other"),
        (
            {"holdout": 0.01},
            r"data.holdout: 0.01 of 12 patients holds out 0; at least one patient must be held out and",
        ),
        ({"holdout": 0.99}, r"data.holdout: 0.99 of 12 patients holds out 12; at least one patient must be held out"),
        (
            {"holdout": 0.1, "observations": "Fracture"},
            r"data.holdout: 0.1 of .*: AUROC is undefined for Fracture, because the 2 validation images hold only one",
        ),
        (
            {"scoring": "study", "observations": "Fracture"},
            r"valid.csv: AUROC is undefined for Fracture, because the 6 validation studies hold only one class; choose",
        ),
    ],
)
def test_a_split_that_leaves_nothing_is_refused(tree: Path, values: dict[str, object], told: str) -> None:
    with pytest.raises(InputError, match=told):
        splitting(tree, **values)
