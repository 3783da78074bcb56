"""The rule of selection: which reports a search may choose from, which one each trial keeps, and which trial wins."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from search.trials.trial import TrialRecord, ranked_trials


@dataclass(frozen=True)
class Choice:
    """What is chosen from R reports of T trials in each of D bootstrap draws; a report is an index from 0 to R - 1."""

    trials: np.ndarray
    """int (T,): the numbers of the trials, ascending."""
    kept: np.ndarray
    """int (D, T): the report whose weights each trial keeps."""
    winner: np.ndarray
    """int (D,): the winning report, which is the kept report of the winning trial."""


def candidates(rows: Sequence[TrialRecord], trials: np.ndarray) -> np.ndarray:
    """Returns int (C,): the indices of the reports whose trial may win; `trials` (R,) is the trial of each report."""
    return np.flatnonzero(np.isin(trials, [row.number for row in ranked_trials(rows)]))


def choose(scores: np.ndarray, trials: np.ndarray) -> Choice:
    """Returns the choice: a trial keeps its report with the highest score; the trial with the highest kept score wins.

    `scores` is float (D, R), `trials` int (R,): the trial of each report, ascending. Of equals the first is chosen.
    """
    numbers, starts = np.unique(trials, return_index=True)
    parts = np.split(np.arange(len(trials)), starts[1:])
    kept = np.stack([part[np.argmax(scores[:, part], axis=1)] for part in parts], axis=1)
    first = np.argmax(np.take_along_axis(scores, kept, axis=1), axis=1)
    return Choice(numbers, kept, kept[np.arange(len(scores)), first])


def best_report(row: TrialRecord, trials: np.ndarray, images: np.ndarray) -> int:
    """Returns the index of the report whose weights the trial `row` keeps: its first one with its highest AUROC.

    The index is from 0 to R - 1: report r is of trial `trials[r]`, which had seen `images[r]` training images.
    """
    kept = max(row.reports, key=lambda report: float(report["auroc"]))
    return int(np.flatnonzero((trials == row.number) & (images == kept["images_seen"]))[0])
