"""The choice of a search, made again in each bag of patients, and what it is worth on patients that did not make it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from chex.bags import PLAIN, TIGHT, Outcome, expected
from chex.intervals import Estimate
from search.ledger import TrialRow
from search.selection import Choice, choose


@dataclass(frozen=True)
class Contest:
    """T trials with R reports, and what is chosen from them in B bags."""

    numbers: np.ndarray
    """int (T,): the trials' numbers, ascending."""
    knobs: tuple[Mapping[str, Any], ...]
    """(T,): each trial's."""
    finished: np.ndarray
    """bool (T,)."""
    choices: dict[float, Choice]
    """For TIGHT and for PLAIN bags."""
    inside: dict[float, np.ndarray]
    """float (B, T) for each: the metric of what trials keep, as it is chosen by."""


def contest(metric: Outcome, trials: np.ndarray, rows: Sequence[TrialRow]) -> Contest:
    """The choice by `metric` among reports of these `trials` (R,); `rows` has all of them."""
    choices, inside = {}, {}
    for tightness in (TIGHT, PLAIN):
        scores = metric.inside(tightness)
        choices[tightness] = choose(scores, trials)
        inside[tightness] = np.take_along_axis(scores, choices[tightness].kept, axis=1)
    known = {row.number: row for row in rows}
    own = [known[number] for number in choices[TIGHT].trials.tolist()]
    knobs, finished = tuple(row.knobs for row in own), np.array([row.state == "finished" for row in own])
    return Contest(choices[TIGHT].trials, knobs, finished, choices, inside)


def corrected(held: Contest, metric: Outcome, seen: Estimate) -> Estimate:
    """Returns the AUROC to expect of the winner on new patients; `seen` is the winner's where it was chosen."""
    return expected(metric, held.choices[TIGHT].winner, held.choices[PLAIN].winner, seen)
