"""Early stopping: when a trial is cut, as a pure function of what all trials have reported so far."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from chex.strict import Strict

COMPLETE_PERCENT = 100


@dataclass(frozen=True)
class Point:
    """What one report says for early stopping."""

    percent: float
    """Of the trial's own schedule, above 0 up to 100."""
    images: int
    """Training images seen by the trial so far."""
    value: float
    """Of METRIC, higher is better; NaN: undefined."""


Curves = Mapping[int, Sequence[Point]]
"""By trial number, what each trial reported so far, in the order of its reports."""


class Stopping(Strict):
    """ASHA (Li et al. 2018, arXiv:1810.05934): rungs at grace, grace x factor, ... of `unit`.

    At each rung a trial goes on only among the best 1/factor of the trials that have come there so far.
    """

    unit: Literal["percent", "images"] = "percent"
    """What rungs count: per cent of each trial's own schedule, or training images that it has seen."""
    grace: int = Field(25, ge=1)
    factor: float = Field(2, gt=1, le=10)

    @model_validator(mode="after")
    def _below_the_end(self) -> "Stopping":
        if self.unit == "percent" and self.grace >= COMPLETE_PERCENT:
            raise ValueError(f".grace: {self.grace} % is a run's end; use 99 or less, or leave stopping blank")
        return self


def cut(rule: Stopping, trial: int, curves: Curves) -> bool:
    """Whether `trial` stops at its last report.

    A report counts for the highest rung that it has come to and that its trial has no earlier report for, if there is
    one; so a trial that jumps over a rung is compared there with a later report. There the report's value is compared
    with the values that the other trials in `curves` have at this rung, stopped and finished ones included: below
    their (1 - 1/factor) quantile, linearly interpolated, the trial is cut. It goes on where no other trial has come to
    the rung, where its value equals the quantile or is NaN, and at 100 per cent. Values of NaN count for nobody.

    What is known is all in `curves`: the same reports give the same answer, whichever of them came first, so that
    a search needs no other memory of its rungs.
    """
    reports = curves[trial]
    if reports[-1].percent >= COMPLETE_PERCENT:
        return False
    before, now = rungs_of(rule, reports[:-1]), rungs_of(rule, reports)
    for rung in now.keys() - before.keys():
        peers = [rungs_of(rule, points).get(rung, np.nan) for number, points in curves.items() if number != trial]
        known = [value for value in peers if not np.isnan(value)]
        return bool(known) and bool(now[rung] < np.percentile(known, (1 - 1 / rule.factor) * 100))
    return False


def rungs_of(rule: Stopping, points: Sequence[Point]) -> dict[float, float]:
    """The value that a trial with these reports has at each rung that it has come to."""
    values: dict[float, float] = {}
    for point in points:
        free = [rung for rung in _rungs(rule, point) if rung not in values]
        if free:
            values[free[-1]] = point.value
    return values


def _rungs(rule: Stopping, point: Point) -> list[float]:
    """The rungs up to a report, lowest first."""
    done = point.percent if rule.unit == "percent" else point.images
    rungs: list[float] = []
    while (rung := rule.grace * rule.factor ** len(rungs)) <= done:
        rungs.append(rung)
    return rungs
