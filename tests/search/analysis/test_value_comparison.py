from typing import Any

import numpy as np
import pytest

from chex.statistics.bootstrap import BootstrapScores, bootstrap_scores, draw_bootstrap
from chex.statistics.delong import AurocInfluences
from search.analysis.selection_bootstrap import SelectionBootstrap, bootstrap_selection
from search.analysis.value_comparison import (
    ValueComparison,
    adjusted,
    compare_values,
    covariates,
    difference,
    pairs_tested,
)
from search.trials.trial import State, TrialRecord

PATIENTS = 150
PARAM, RATE = "policy.default", "optimizer.lr"


def held(
    values: list[str], aurocs: np.ndarray, rates: np.ndarray, states: list[State], seed: int
) -> tuple[SelectionBootstrap, BootstrapScores]:
    """A search with a report a trial, whose AUROCs err by little."""
    rng = np.random.default_rng([4, seed])
    influence = rng.normal(0, 0.01 / PATIENTS**0.5, (PATIENTS, len(values)))
    influence -= influence.mean(axis=0)
    seen = aurocs + influence.T @ rng.normal(size=PATIENTS)
    metric = bootstrap_scores("mean", AurocInfluences(seen, influence), draw_bootstrap(PATIENTS, rng, 300))
    rows = [
        TrialRecord(number, state, {PARAM: value, RATE: float(rate)})
        for number, (value, rate, state) in enumerate(zip(values, rates, states, strict=True), start=1)
    ]
    return bootstrap_selection(metric, np.arange(1, len(values) + 1), rows), metric


def compared(effect: float, seed: int, first: int = 20, second: int = 20, slope: float = 0.0) -> ValueComparison:
    """ones - zeros, of trials that scatter by .01; where there is a `slope`, ones have the higher rates."""
    rng = np.random.default_rng([5, seed])
    values = ["ones"] * first + ["zeros"] * second
    ones = np.array(values) == "ones"
    rates = rng.random(len(values)) + 0.5 * ones * bool(slope)
    aurocs = 0.8 + effect * ones + slope * rates + rng.normal(0, 0.01, len(values))
    return compare_values(*_given(held(values, aurocs, rates, ["finished"] * len(values), seed)), 1)[0]


def _given(both: tuple[SelectionBootstrap, BootstrapScores]) -> tuple[SelectionBootstrap, str, BootstrapScores]:
    return both[0], PARAM, both[1]


def test_values_without_a_difference_are_tied_however_unequal_their_numbers() -> None:
    found = [compared(0.0, seed, first=30, second=8) for seed in range(100)]
    assert sum(pair.verdict == "different" for pair in found) <= 8
    assert {pair.verdict for pair in found} <= {"different", "tied"}


def test_a_difference_is_found_with_its_size_and_sign() -> None:
    pair = compared(0.03, 0)
    assert (pair.first, pair.second, pair.trials) == ("ones", "zeros", (20, 20))
    assert pair.verdict == "different"
    assert pair.average.value == pytest.approx(0.03, abs=0.01)
    assert pair.average.low < 0.03 < pair.average.high
    assert pair.best.low < 0.03 < pair.best.high


def test_a_difference_that_another_knob_explains_is_adjusted_away() -> None:
    found = [compared(0.0, seed, slope=0.1) for seed in range(20)]
    assert abs(np.mean([pair.average.value for pair in found])) < 0.006  # unadjusted .05
    assert sum(pair.verdict == "different" for pair in found) <= 3


def test_only_finished_trials_are_averaged_and_too_few_are_untested() -> None:
    values, rates = ["ones"] * 6 + ["zeros"] * 6, np.linspace(0, 1, 12)
    states: list[State] = ["finished"] * 2 + ["pruned"] * 4 + ["finished"] * 6
    pair = compare_values(*_given(held(values, np.full(12, 0.8), rates, states, 0)), 1)[0]
    assert (pair.trials, pair.verdict) == ((2, 6), "untested")
    assert np.isnan(pair.average.value)
    assert not np.isnan(pair.best.value)


def test_of_three_values_each_pair_is_compared_at_a_higher_confidence() -> None:
    values = ["ignore", "ones", "zeros"] * 5
    contested, param, metric = _given(held(values, np.full(15, 0.8), np.linspace(0, 1, 15), ["finished"] * 15, 0))
    assert pairs_tested(contested, param) == 3
    found = compare_values(contested, param, metric, 3)
    assert [(pair.first, pair.second) for pair in found] == [("ignore", "ones"), ("ignore", "zeros"), ("ones", "zeros")]
    assert {round(pair.confidence, 4) for pair in found} == {0.9833}


def test_confidence_is_that_of_the_pairs_tested_of_all_knobs_together() -> None:
    values = ["ones"] * 6 + ["zeros"] * 6 + ["ignore"] * 2
    contested, param, metric = _given(held(values, np.full(14, 0.8), np.linspace(0, 1, 14), ["finished"] * 14, 0))
    assert pairs_tested(contested, param) == 1  # too few trials ignore, so that nothing is tested of them
    assert pairs_tested(contested, "model.backbone") == 0
    narrow, wide = (compare_values(contested, param, metric, tests)[-1].average for tests in (1, 10))
    assert wide.high - wide.low > 1.2 * (narrow.high - narrow.low)


def test_the_interval_of_an_average_knows_of_trials_even_where_patients_are_certain() -> None:
    reached = AurocInfluences(np.array([0.8, 0.82, 0.84, 0.81, 0.83, 0.85]), np.zeros((PATIENTS, 6)))
    groups = np.repeat(np.eye(2), 3, axis=0)
    found = difference(reached, groups, np.array([1.0, -1.0]), 0.95)
    assert found.value == pytest.approx(-0.01)
    assert found.high - found.value == pytest.approx(2.776 * (0.0004 * 2 / 3) ** 0.5, rel=1e-3)  # Student's t, 4 df


def test_the_interval_of_an_average_knows_of_patients_even_where_trials_are_alike() -> None:
    influence = np.random.default_rng(0).normal(0, 0.001, (PATIENTS, 1)) * np.array([1, 1, 1, -1, -1, -1])
    found = difference(
        AurocInfluences(np.full(6, 0.8), influence), np.repeat(np.eye(2), 3, axis=0), np.array([1.0, -1.0]), 0.95
    )
    assert found.high == pytest.approx(2.776 * 2 * np.sqrt((influence[:, 0] ** 2).sum()), rel=1e-3)


def test_a_value_whose_few_trials_scatter_more_has_the_wider_interval() -> None:
    rng = np.random.default_rng(0)
    groups = np.repeat(np.eye(2), [5, 45], axis=0)
    scatter = np.where(groups[:, 0] == 1, 0.05, 0.005)
    reached = AurocInfluences(0.8 + scatter * rng.normal(size=50), np.zeros((PATIENTS, 50)))
    found = difference(reached, groups, np.array([1.0, -1.0]), 0.95)
    few = reached.auroc[:5]
    assert found.high - found.value == pytest.approx(2.011 * np.sqrt(few.var(ddof=1) / 5), rel=0.02)


def test_other_knobs_become_centred_columns_and_the_compared_ones_settings_do_not() -> None:
    params: list[dict[str, Any]] = [
        {"policy.Edema": "smoothed_ones", "policy.Edema.low": 0.5, "optimizer.lr": 1e-4, "model.backbone": "resnet18"},
        {"policy.Edema": "zeros", "optimizer.lr": 1e-2, "model.backbone": "resnet50", "sampling.fraction": 0.5},
        {"policy.Edema": "zeros", "optimizer.lr": 1e-3, "model.backbone": "resnet18", "sampling.fraction": 0.7},
    ]
    columns = covariates(params, "policy.Edema")
    np.testing.assert_allclose(columns[:, 0], [-1 / 3, 1 / 3, 0])  # ranks of the rate
    np.testing.assert_allclose(columns[:, 1], [-1 / 3, 2 / 3, -1 / 3])  # the rarer backbone
    np.testing.assert_allclose(columns[:, 2], [0, -1 / 4, 1 / 4])  # an absent fraction is in the middle
    assert columns.shape == (3, 3)


def test_no_more_is_adjusted_for_than_trials_allow() -> None:
    rng, groups = np.random.default_rng(0), np.repeat(np.eye(2), 20, axis=0)
    few, some, many = (rng.normal(size=(40, count)) for count in (4, 15, 35))
    assert adjusted(groups, few).shape == (40, 10)  # with squares
    assert adjusted(groups, some).shape == (40, 17)
    assert adjusted(groups, many).shape == (40, 2)
    told = groups[:, :1] - groups[:, :1].mean()
    assert adjusted(groups, told).shape == (40, 2)  # a parameter that is the same as the one compared
