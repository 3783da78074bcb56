"""Pruning: whether a trial stops early, as a pure function of the reports of all trials so far."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from chex.schema.strict_model import Strict

COMPLETE_PERCENT = 100


@dataclass(frozen=True)
class RungReport:
    """The figures of a report that pruning uses."""

    percent: float
    """How much of the trial's own schedule is done: above 0, up to 100."""
    images: int
    """Training images that the trial has seen so far."""
    value: float
    """The value of METRIC, in [0, 1]; higher is better, NaN is undefined."""


LearningCurves = Mapping[int, Sequence[RungReport]]
"""Each trial's reports so far, in order, by trial number."""


class PruningConfig(Strict):
    """ASHA's settings (Li et al. 2018, arXiv:1810.05934). Rungs are grace_period, grace_period x reduction_factor, ...

    At each rung a trial continues only if it is among the best 1/reduction_factor of the trials that have reached it.
    """

    time_attr: Literal["percent", "images_seen"] = "percent"
    """What rungs count: percent of each trial's own schedule, or training images that it has seen."""
    grace_period: int = Field(25, ge=1)
    reduction_factor: float = Field(2, gt=1, le=10)

    @model_validator(mode="after")
    def _below_the_end(self) -> "PruningConfig":
        if self.time_attr == "percent" and self.grace_period >= COMPLETE_PERCENT:
            raise ValueError(f".grace_period: {self.grace_period} % is a run's end; use 99 or less, or pruning: null")
        return self


def should_prune(rule: PruningConfig, trial: int, curves: LearningCurves) -> bool:
    """Returns whether `trial` is pruned at its last report.

    A report counts at the highest rung that it has reached and at which no earlier report of its trial counts, if there
    is one; so a rung that was jumped over gets a later report. The report's value is compared with the values of the
    other trials in `curves` at this rung, pruned and finished ones included. The trial is pruned if its value is below
    their (1 - 1/reduction_factor) quantile, linearly interpolated. It continues if no other trial has reached the rung,
    if its value equals the quantile or is NaN, and at 100 percent. NaN values of other trials are ignored.

    The answer depends on `curves` alone, not on the order in which the reports came.
    """
    reports = curves[trial]
    if reports[-1].percent >= COMPLETE_PERCENT:
        return False
    before, now = rungs_of(rule, reports[:-1]), rungs_of(rule, reports)
    for rung in now.keys() - before.keys():
        peers = [rungs_of(rule, points).get(rung, np.nan) for number, points in curves.items() if number != trial]
        known = [value for value in peers if not np.isnan(value)]
        return bool(known) and bool(now[rung] < np.percentile(known, (1 - 1 / rule.reduction_factor) * 100))
    return False


def rungs_of(rule: PruningConfig, points: Sequence[RungReport]) -> dict[float, float]:
    """Returns, by rung, the value that counts there for a trial with these reports (see `should_prune`)."""
    values: dict[float, float] = {}
    for point in points:
        new = [rung for rung in _rungs_reached(rule, point) if rung not in values]
        if new:
            values[new[-1]] = point.value
    return values


def _rungs_reached(rule: PruningConfig, point: RungReport) -> list[float]:
    """Returns the rungs that a report has reached, the lowest first."""
    done = point.percent if rule.time_attr == "percent" else point.images
    rungs: list[float] = []
    while (rung := rule.grace_period * rule.reduction_factor ** len(rungs)) <= done:
        rungs.append(rung)
    return rungs
