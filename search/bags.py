"""Bags of patients: each weighs patients to choose by, and apart from that weighs them to score by.

As in the bootstrap bias correction of Tsamardinos et al. (2018) a choice is scored on what it was not made by. There a
bag holds each patient as often as he is drawn, some never, and those score. Here a patient drawn m times counts
1 + t (m - 1) times inside and 1 - (m - 1) / t times outside: what is added inside and taken outside is uncorrelated with
its own noise, as it is between patients in and out of a bag, for every t (thinning; Oliveira, Lei & Tibshirani 2021). A
bag with t = 1 chooses with twice the noise of the real choice, from too few patients; t = TIGHT leaves little of that.
"""

from dataclasses import dataclass

import numpy as np

from search.delong import Areas

BAGS = 1000
TIGHT = 0.5


@dataclass(frozen=True)
class Bags:
    """B bags of P patients, as weights less 1."""

    inside: np.ndarray
    """float (B, P): what choices are made by."""
    outside: np.ndarray
    """float (B, P): what they are scored by."""


def bags(patients: int, rng: np.random.Generator, count: int = BAGS) -> Bags:
    """Bags of that many patients."""
    drawn = rng.multinomial(patients, np.full(patients, 1 / patients), size=count) - 1.0
    return Bags(TIGHT * drawn, -drawn / TIGHT)


def scores(found: Areas, weights: np.ndarray) -> np.ndarray:
    """float (B, R): each AUROC with patients weighed by `weights` (B, P) more than once each."""
    weighed: np.ndarray = found.auroc + weights @ found.influence
    return weighed


def shares(chosen: np.ndarray, reports: int) -> np.ndarray:
    """float (R,): in which share of the bags each report is chosen; `chosen` is int (B,)."""
    counted: np.ndarray = np.bincount(chosen, minlength=reports) / len(chosen)
    return counted
