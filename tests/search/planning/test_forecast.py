from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chex.config import RunConfig
from chex.errors import InputError
from chex.training.run_data import load_run_data
from chex.training.run_tables import load_run_tables
from chex.training.trainer import fit
from search.planning.forecast import ImageCounts, RunSizes, Speed, asha_cost_fraction, combinations, image_passes, rungs
from search.space.space import build_space

Make = Callable[..., RunConfig]
BASE = RunConfig().model_dump(mode="json")


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"sampling.fraction": 0.7, "schedule.epochs": 3, "reports": 3},
        {"policy.default": "ignore"},
        {"policy.default": "ones", "sampling.balance": "oversample"},
        {"sampling.balance": "undersample"},
        {"phases": [{"epochs": 1}, {"epochs": 2, "freeze": "backbone"}], "reports": 2},
        {"batches.size": 64},
    ],
)
def test_the_images_of_a_run_are_counted_as_it_trains_them(
    make_run: Make, tmp_path: Path, values: dict[str, Any]
) -> None:
    config = make_run(values)
    data = load_run_data(config, load_run_tables(config))
    reports = list(fit(config, data, tmp_path / "run"))
    load = RunSizes(load_run_tables(make_run())).image_counts(config)
    assert load.trained == reports[-1].images_seen
    assert load.scored == len(reports) * (12 + len(data.rows))


def test_policies_with_a_table_are_counted_before_there_is_one(make_run: Make) -> None:
    sampled = RunSizes(load_run_tables(make_run()))
    assert sampled.rows(make_run({"policy.default": "self_trained"})) == 24
    ignoring = make_run({"policy.default": "ignore"})
    assert sampled.rows(ignoring) == 20
    over = sampled.rows(make_run({"policy.default": "forest", "sampling.balance": "oversample"}))
    assert over == sampled.rows(make_run({"sampling.balance": "oversample"})) == 2 * 14


def test_a_sample_that_leaves_no_run_is_refused(make_run: Make) -> None:
    several = make_run({"data.observations": "five", "sampling.balance": "oversample"})
    with pytest.raises(
        InputError, match=r"sampling.balance: 'oversample' balances one observation, and data.observations names"
    ):
        RunSizes(load_run_tables(make_run({"data.observations": "five"}))).rows(several)


def test_passes_are_epochs_of_all_rounds_times_the_fraction(make_run: Make) -> None:
    assert image_passes(make_run({"sampling.fraction": 0.5, "schedule.epochs": 3})) == 1.5
    assert image_passes(make_run({"phases": [{"epochs": 1}, {"epochs": 3}]})) == 4


@pytest.mark.parametrize(
    ("grace", "factor", "reports", "expected"),
    [(25, 2, 4, [25, 50]), (10, 3, 10, [10, 30, 90]), (30, 2, 4, [50, 75]), (50, 2, 1, []), (25, 1.5, 4, [25, 50, 75])],
)
def test_rungs_stand_at_the_reports_that_reach_them(
    grace: float, factor: float, reports: int, expected: list[float]
) -> None:
    assert rungs(grace, factor, reports) == expected


def test_the_share_that_is_run_halves_at_each_rung() -> None:
    assert asha_cost_fraction([25, 50], 2) == pytest.approx(0.25 + 0.125 + 0.125)
    assert asha_cost_fraction([], 2) == 1


def test_combinations_heed_conditions() -> None:
    smooths = {"policy.Edema": "smoothed_ones"}
    raw = {
        "policy.Edema": {"choice": ["zeros", "ones", "smoothed_ones"]},
        "policy.Edema.low": {"uniform": [0.5, 0.7], "step": 0.1, "condition": smooths},
        "optimizer.lr": {"loguniform": [1e-4, 1e-2]},
        "schedule.epochs": {"int": [1, 4]},
        "sampling.fraction": {"choice": [0.5, 1], "condition": {"schedule.epochs": [3, 4]}},
    }
    assert combinations(build_space(raw, BASE)) == (2 + 3) * (2 + 2 * 2)
    assert combinations(build_space({"optimizer.lr": {"uniform": [0.1, 1]}}, BASE)) == 1


def test_loads_add_up_and_take_their_time() -> None:
    assert ImageCounts(10, 4) + ImageCounts(5, 1) * 2 == ImageCounts(20, 6)
    assert Speed(10, 20).seconds(ImageCounts(100, 40)) == 12
