"""Repeats the choice of a search in bootstrap draws of patients, to correct the winner's AUROC for being chosen."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from chex.statistics.bootstrap import PLAIN, TIGHT, BootstrapScores, debiased_estimate
from chex.statistics.intervals import Estimate
from search.analysis.selection import Choice, choose
from search.trials.trial import TrialRecord


@dataclass(frozen=True)
class SelectionBootstrap:
    """The choices from R reports of T trials in B bootstrap draws of patients."""

    numbers: np.ndarray
    """int (T,): the trials' numbers, ascending."""
    params: tuple[Mapping[str, Any], ...]
    """(T,): each trial's parameters."""
    finished: np.ndarray
    """bool (T,): whether each trial finished."""
    choices: dict[float, Choice]
    """The choices by tightness, TIGHT or PLAIN (see chex.statistics.bootstrap)."""
    inside: dict[float, np.ndarray]
    """By tightness, float (B, T): the metric, as used for the choice, of the report that each trial keeps in a draw."""


def bootstrap_selection(metric: BootstrapScores, trials: np.ndarray, rows: Sequence[TrialRecord]) -> SelectionBootstrap:
    """Returns the choices by `metric` among R reports of these `trials` (R,); `rows` has the trials' records."""
    choices, inside = {}, {}
    for tightness in (TIGHT, PLAIN):
        scores = metric.selection(tightness)
        choices[tightness] = choose(scores, trials)
        inside[tightness] = np.take_along_axis(scores, choices[tightness].kept, axis=1)
    by_number = {row.number: row for row in rows}
    records = [by_number[number] for number in choices[TIGHT].trials.tolist()]
    params, finished = tuple(row.params for row in records), np.array([row.state == "finished" for row in records])
    return SelectionBootstrap(choices[TIGHT].trials, params, finished, choices, inside)


def debiased_auroc(bootstrap: SelectionBootstrap, metric: BootstrapScores, seen: Estimate) -> Estimate:
    """Returns the expected AUROC of the winner on new patients; `seen` is its AUROC on the images that chose it."""
    return debiased_estimate(metric, bootstrap.choices[TIGHT].winner, bootstrap.choices[PLAIN].winner, seen)
