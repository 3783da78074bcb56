"""The rule of selection: which reports a search may choose from, which one each trial keeps, and which trial wins."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from search.trials.trial import TrialRecord, ranked_trials


@dataclass(frozen=True)
class Choice:
    """The choice in each of D draws from R reports of T trials, as indices among the R."""

    trials: np.ndarray
    """int (T,): the numbers of the trials, ascending."""
    kept: np.ndarray
    """int (D, T): the report of which each trial keeps the weights."""
    winner: np.ndarray
    """int (D,): the winning report, which is the kept report of the winning trial."""


def candidates(rows: Sequence[TrialRecord], trials: np.ndarray) -> np.ndarray:
    """Returns int (C,): the indices, among reports of `trials` (R,), of those of trials that may win."""
    return np.flatnonzero(np.isin(trials, [row.number for row in ranked_trials(rows)]))


def choose(scores: np.ndarray, trials: np.ndarray) -> Choice:
    """Returns the choice: a trial keeps its report with the highest score; the trial with the highest kept score wins.

    `scores` is float (D, R), `trials` int (R,) ascending. Of equals the first is chosen.
    """
    numbers, starts = np.unique(trials, return_index=True)
    parts = np.split(np.arange(len(trials)), starts[1:])
    kept = np.stack([part[np.argmax(scores[:, part], axis=1)] for part in parts], axis=1)
    first = np.argmax(np.take_along_axis(scores, kept, axis=1), axis=1)
    return Choice(numbers, kept, kept[np.arange(len(scores)), first])


def best_report(row: TrialRecord, trials: np.ndarray, images: np.ndarray) -> int:
    """Returns the index of the report of which a trial keeps the weights: the first with its highest AUROC.

    The index is among R reports, of the trials `trials` (R,), that had seen `images` (R,).
    """
    kept = max(row.reports, key=lambda report: float(report["auroc"]))
    return int(np.flatnonzero((trials == row.number) & (images == kept["images_seen"]))[0])
