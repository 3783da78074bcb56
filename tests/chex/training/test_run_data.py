from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from chex.config import RunConfig
from chex.errors import InputError
from chex.training.run_data import RunData, load_run_data
from chex.training.run_tables import load_run_tables

Make = Callable[..., RunConfig]


def prepared(config: RunConfig) -> RunData:
    return load_run_data(config, load_run_tables(config))


def test_what_validation_scores_against_does_not_depend_on_policy_seed_or_sample(make_run: Make) -> None:
    digests = {
        prepared(make_run(values)).evaluation_digest
        for values in (
            {},
            {"policy.default": "ones"},
            {"seed": 7},
            {"sampling.fraction": 0.5},
            {"sampling.balance": "oversample"},
        )
    }
    assert len(digests) == 1


def test_the_digest_of_validation_changes_with_a_label(make_run: Make, tree: Path) -> None:
    before = prepared(make_run()).evaluation_digest
    table = pd.read_csv(tree / "valid.csv")
    table.loc[0, "Cardiomegaly"] = 0.0
    table.to_csv(tree / "valid.csv", index=False)
    assert prepared(make_run()).evaluation_digest != before


def test_the_same_seed_gives_the_same_rows_whatever_the_backbone(make_run: Make) -> None:
    first, second = (
        prepared(make_run({"sampling.fraction": 0.5, "model.backbone": backbone})).rows
        for backbone in ("test_resnet", "densenet121")
    )
    np.testing.assert_array_equal(first, second)


def test_a_run_without_data_says_how_to_give_it(make_run: Make) -> None:
    with pytest.raises(
        InputError, match=r"data.root: not set; give the folder that holds train.csv and valid.csv with"
    ):
        prepared(make_run({"data.root": None}))


def test_a_validation_split_of_one_class_is_refused_when_nothing_else_is_scored(make_run: Make) -> None:
    message = (
        r"valid.csv: AUROC is undefined for Fracture, because the 12 validation images have only one class; choose"
    )
    with pytest.raises(InputError, match=message):
        prepared(make_run({"data.observations": "Fracture"}))


def test_an_observation_of_one_class_is_left_out_of_the_average(make_run: Make) -> None:
    data = prepared(make_run({"data.observations": ["Fracture", "Cardiomegaly"]}))
    assert data.scored_observations == ("Cardiomegaly",)
