"""Which reports a search may choose from, which one each trial keeps, and which trial wins: the rule, in one place."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from search.ledger import TrialRow, ended


@dataclass(frozen=True)
class Choice:
    """What is chosen in each of D draws from R reports of T trials, given as places among the R."""

    trials: np.ndarray
    """int (T,): the numbers of the trials, ascending."""
    kept: np.ndarray
    """int (D, T): the report whose weights each trial keeps."""
    winner: np.ndarray
    """int (D,): the kept report that wins."""


def candidates(rows: Sequence[TrialRow], trials: np.ndarray) -> np.ndarray:
    """int (C,): places, among reports of `trials` (R,), of those to choose from: of trials that ended, not failed."""
    there = [row.number for row in ended(rows) if row.state != "failed"]
    return np.flatnonzero(np.isin(trials, there))


def choose(scores: np.ndarray, trials: np.ndarray) -> Choice:
    """The rule: a trial keeps its report with the highest score, and the trial with the highest kept score wins.

    `scores` is float (D, R), `trials` int (R,) ascending. Of equals the first is chosen.
    """
    numbers, starts = np.unique(trials, return_index=True)
    parts = np.split(np.arange(len(trials)), starts[1:])
    kept = np.stack([part[np.argmax(scores[:, part], axis=1)] for part in parts], axis=1)
    first = np.argmax(np.take_along_axis(scores, kept, axis=1), axis=1)
    return Choice(numbers, kept, kept[np.arange(len(scores)), first])
