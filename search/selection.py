"""Which reports a search may choose from, which one each trial keeps, and which trial wins: the rule, in one place."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from search.ledger import TrialRow, contenders


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
    """int (C,): places, among reports of `trials` (R,), of those to choose from: those of trials that may win."""
    return np.flatnonzero(np.isin(trials, [row.number for row in contenders(rows)]))


def choose(scores: np.ndarray, trials: np.ndarray) -> Choice:
    """The rule: a trial keeps its report with the highest score, and the trial with the highest kept score wins.

    `scores` is float (D, R), `trials` int (R,) ascending. Of equals the first is chosen.
    """
    numbers, starts = np.unique(trials, return_index=True)
    parts = np.split(np.arange(len(trials)), starts[1:])
    kept = np.stack([part[np.argmax(scores[:, part], axis=1)] for part in parts], axis=1)
    first = np.argmax(np.take_along_axis(scores, kept, axis=1), axis=1)
    return Choice(numbers, kept, kept[np.arange(len(scores)), first])


def kept_report(row: TrialRow, trials: np.ndarray, images: np.ndarray) -> int:
    """The place of the report whose weights the trial keeps, by its own figures: the first of its highest AUROC.

    It is one among R reports, of the trials `trials` (R,), that had seen `images` (R,).
    """
    kept = max(row.reports, key=lambda report: float(report["auroc"]))
    return int(np.flatnonzero((trials == row.number) & (images == kept["images_seen"]))[0])
