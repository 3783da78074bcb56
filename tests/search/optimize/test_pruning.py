import math

import numpy as np
import pytest
from ray.tune.experiment import Trial
from ray.tune.schedulers import ASHAScheduler, TrialScheduler

from chex.statistics.metrics import METRIC, MODE
from search.optimize.pruning import PruningConfig, RungReport, should_prune


def at(percent: int, value: float, images: int = 0) -> RungReport:
    return RungReport(percent, images or 10 * percent, value)


def reports(rng: np.random.Generator, percents: list[int]) -> list[RungReport]:
    """A run's reports, one in ten undefined; its images do not follow its percentages."""
    length = int(rng.integers(1, 40))
    return [
        RungReport(percent, length * percent, float(rng.random()) if rng.random() < 0.9 else math.nan)
        for percent in percents
    ]


@pytest.mark.parametrize(
    "rule",
    [
        PruningConfig(grace_period=25, reduction_factor=2),
        PruningConfig(grace_period=10, reduction_factor=3),
        PruningConfig(grace_period=12, reduction_factor=2.5),
        PruningConfig(time_attr="images_seen", grace_period=150, reduction_factor=2),
        PruningConfig(time_attr="images_seen", grace_period=40, reduction_factor=4),
    ],
)
@pytest.mark.filterwarnings("ignore:All-NaN slice")
def test_it_decides_as_rays_asha_does(rule: PruningConfig) -> None:
    """On random reports of twelve trials that arrive in random order, jumps over rungs and NaN included."""
    rng = np.random.default_rng(0)
    cuts = 0
    for _ in range(60):
        asha = ASHAScheduler(
            time_attr=rule.time_attr,
            max_t=100 if rule.time_attr == "percent" else 10**9,
            grace_period=rule.grace_period,
            reduction_factor=rule.reduction_factor,
            metric=METRIC,
            mode=MODE,
        )
        percents = sorted({*rng.integers(1, 100, size=rng.integers(1, 9)).tolist(), 100})
        trials = [Trial("never_run", stub=True) for _ in range(12)]
        for trial in trials:
            asha.on_trial_add(None, trial)
        coming = {number: reports(rng, percents) for number in range(len(trials))}
        curves: dict[int, list[RungReport]] = {}
        while coming:
            number = int(rng.choice(list(coming)))
            point = coming[number].pop(0)
            curves.setdefault(number, []).append(point)
            result = {"percent": point.percent, "images_seen": point.images, METRIC: point.value}
            if point.percent == 100:
                asha.on_trial_complete(None, trials[number], result)
                assert not should_prune(rule, number, curves)
                del coming[number]
                continue
            stopped = asha.on_trial_result(None, trials[number], result) == TrialScheduler.STOP
            assert should_prune(rule, number, curves) == stopped
            cuts += stopped
            if stopped:
                del coming[number]
    assert cuts > 50


def test_what_is_compared_is_the_value_at_the_same_rung() -> None:
    rule = PruningConfig(grace_period=25, reduction_factor=2)
    curves = {0: [at(25, 0.7), at(50, 0.9)], 1: [at(25, 0.6)]}
    assert should_prune(rule, 1, curves)
    assert not should_prune(rule, 1, curves | {1: [at(25, 0.7)]})
    assert not should_prune(rule, 1, curves | {1: [at(25, 0.8)]})
    assert should_prune(rule, 1, curves | {1: [at(25, 0.8), at(50, 0.85)]})


def test_nothing_is_cut_before_grace_between_rungs_alone_or_at_the_end() -> None:
    rule = PruningConfig(grace_period=25, reduction_factor=2)
    good = [at(12, 0.9), at(25, 0.9), at(37, 0.9), at(100, 0.9)]
    assert not should_prune(rule, 1, {0: good, 1: [at(12, 0.1)]})
    assert not should_prune(rule, 1, {0: good, 1: [at(25, 0.95), at(37, 0.1)]})
    assert not should_prune(rule, 1, {1: [at(25, 0.1)]})
    assert not should_prune(rule, 1, {0: good, 1: [at(100, 0.1)]})


def test_an_undefined_value_neither_cuts_nor_is_cut() -> None:
    rule = PruningConfig(grace_period=25, reduction_factor=2)
    assert not should_prune(rule, 1, {0: [at(25, math.nan)], 1: [at(25, 0.1)]})
    assert not should_prune(rule, 1, {0: [at(25, 0.5)], 1: [at(25, math.nan)]})
    assert should_prune(rule, 2, {0: [at(25, math.nan)], 1: [at(25, 0.5)], 2: [at(25, 0.1)]})


def test_images_compare_a_short_run_with_a_long_one_where_both_have_seen_as_many() -> None:
    rule = PruningConfig(time_attr="images_seen", grace_period=1000, reduction_factor=2)
    curves = {0: [RungReport(10, 1000, 0.7), RungReport(20, 2000, 0.8)], 1: [RungReport(50, 1000, 0.6)]}
    assert should_prune(rule, 1, curves)
    assert not should_prune(PruningConfig(grace_period=25, reduction_factor=2), 1, curves)
