import math

import numpy as np
import pytest
from ray.tune.experiment import Trial
from ray.tune.schedulers import ASHAScheduler, TrialScheduler

from chex.metrics import METRIC, MODE
from search.stopping import Point, Stopping, cut


def at(percent: int, value: float, images: int = 0) -> Point:
    return Point(percent, images or 10 * percent, value)


def reports(rng: np.random.Generator, percents: list[int]) -> list[Point]:
    """A run's reports, one in ten undefined; its images do not follow its percentages."""
    length = int(rng.integers(1, 40))
    return [
        Point(percent, length * percent, float(rng.random()) if rng.random() < 0.9 else math.nan)
        for percent in percents
    ]


@pytest.mark.parametrize(
    "rule",
    [
        Stopping(grace=25, factor=2),
        Stopping(grace=10, factor=3),
        Stopping(grace=12, factor=2.5),
        Stopping(unit="images", grace=150, factor=2),
        Stopping(unit="images", grace=40, factor=4),
    ],
)
@pytest.mark.filterwarnings("ignore:All-NaN slice")
def test_it_decides_as_rays_asha_does(rule: Stopping) -> None:
    """On random reports of twelve trials that arrive in random order, jumps over rungs and NaN included."""
    rng = np.random.default_rng(0)
    cuts = 0
    for _ in range(60):
        asha = ASHAScheduler(
            time_attr=rule.unit,
            max_t=100 if rule.unit == "percent" else 10**9,
            grace_period=rule.grace,
            reduction_factor=rule.factor,
            metric=METRIC,
            mode=MODE,
        )
        percents = sorted({*rng.integers(1, 100, size=rng.integers(1, 9)).tolist(), 100})
        trials = [Trial("never_run", stub=True) for _ in range(12)]
        for trial in trials:
            asha.on_trial_add(None, trial)
        coming = {number: reports(rng, percents) for number in range(len(trials))}
        curves: dict[int, list[Point]] = {}
        while coming:
            number = int(rng.choice(list(coming)))
            point = coming[number].pop(0)
            curves.setdefault(number, []).append(point)
            result = {"percent": point.percent, "images": point.images, METRIC: point.value}
            if point.percent == 100:
                asha.on_trial_complete(None, trials[number], result)
                assert not cut(rule, number, curves)
                del coming[number]
                continue
            stopped = asha.on_trial_result(None, trials[number], result) == TrialScheduler.STOP
            assert cut(rule, number, curves) == stopped
            cuts += stopped
            if stopped:
                del coming[number]
    assert cuts > 50


def test_what_is_compared_is_the_value_at_the_same_rung() -> None:
    rule = Stopping(grace=25, factor=2)
    curves = {0: [at(25, 0.7), at(50, 0.9)], 1: [at(25, 0.6)]}
    assert cut(rule, 1, curves)
    assert not cut(rule, 1, curves | {1: [at(25, 0.7)]})
    assert not cut(rule, 1, curves | {1: [at(25, 0.8)]})
    assert cut(rule, 1, curves | {1: [at(25, 0.8), at(50, 0.85)]})


def test_nothing_is_cut_before_grace_between_rungs_alone_or_at_the_end() -> None:
    rule = Stopping(grace=25, factor=2)
    good = [at(12, 0.9), at(25, 0.9), at(37, 0.9), at(100, 0.9)]
    assert not cut(rule, 1, {0: good, 1: [at(12, 0.1)]})
    assert not cut(rule, 1, {0: good, 1: [at(25, 0.95), at(37, 0.1)]})
    assert not cut(rule, 1, {1: [at(25, 0.1)]})
    assert not cut(rule, 1, {0: good, 1: [at(100, 0.1)]})


def test_an_undefined_value_neither_cuts_nor_is_cut() -> None:
    rule = Stopping(grace=25, factor=2)
    assert not cut(rule, 1, {0: [at(25, math.nan)], 1: [at(25, 0.1)]})
    assert not cut(rule, 1, {0: [at(25, 0.5)], 1: [at(25, math.nan)]})
    assert cut(rule, 2, {0: [at(25, math.nan)], 1: [at(25, 0.5)], 2: [at(25, 0.1)]})


def test_images_compare_a_short_run_with_a_long_one_where_both_have_seen_as_many() -> None:
    rule = Stopping(unit="images", grace=1000, factor=2)
    curves = {0: [Point(10, 1000, 0.7), Point(20, 2000, 0.8)], 1: [Point(50, 1000, 0.6)]}
    assert cut(rule, 1, curves)
    assert not cut(Stopping(grace=25, factor=2), 1, curves)
