"""AUROC's uncertainty without resampling: what each patient adds to it (DeLong et al. 1988), patients being clusters.

An AUROC is, to first order, a mean over patients. What a patient adds to the difference between the AUROC seen and the
AUROC meant is its influence; the sum of squared influences is the variance. With one film a patient that is DeLong's
variance, computed from sorted scores (Sun & Xu 2014); with several it is Obuchowski's (1997) for clustered data. An
AUROC with other weights of the patients is the AUROC plus weights less 1 times influences: bootstraps are products.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import expit, logit
from scipy.stats import norm

from chex.figures import Estimate

REPORTS = 64
"""Taken together."""


@dataclass(frozen=True)
class Areas:
    """AUROCs of R classifiers on the same films of P patients."""

    auroc: np.ndarray
    """float (R,), in [0, 1]."""
    influence: np.ndarray
    """float (P, R): what each patient adds to the error of each AUROC; sums to 0 over patients, but for rounding."""

    def of(self, places: np.ndarray) -> "Areas":
        """Those of some classifiers."""
        return Areas(self.auroc[places], self.influence[:, places])

    def mixed(self, shares: np.ndarray) -> "Areas":
        """Weighted sums: `shares` is float (R, M), a column for each of M sums."""
        return Areas(self.auroc @ shares, self.influence @ shares)


def areas(truth: np.ndarray, probability: np.ndarray, patients: np.ndarray, columns: Sequence[int]) -> Areas:
    """The mean AUROC over `columns`, in each of which both classes are scored, and influences.

    `truth` is float (U, K) of 1, 0 or NaN (not scored), `probability` float (R, U, K), `patients` str (U,). Where one
    patient has all positives of a column, or all negatives, nothing is known of how others would score: their part of
    the influence is 0, and the interval too short.
    """
    names, of_unit = np.unique(patients, return_inverse=True)
    auroc, influence = np.zeros(len(probability)), np.zeros((len(names), len(probability)))
    for column in columns:
        for start in range(0, len(probability), REPORTS):
            piece = slice(start, start + REPORTS)
            _add(auroc[piece], influence[:, piece], truth[:, column], probability[piece, :, column], of_unit)
    return Areas(auroc / len(columns), influence / len(columns))


def standard_errors(found: Areas) -> np.ndarray:
    """float (R,)."""
    errors: np.ndarray = np.sqrt((found.influence**2).sum(axis=0))
    return errors


def bounded(auroc: float, error: float, confidence: float = 0.95) -> Estimate:
    """An AUROC with the interval that its standard error gives on the logit scale; at 0 and 1 no interval is left."""
    if not 0 < auroc < 1:
        return Estimate(float(auroc), float(auroc), float(auroc))
    reach = norm.ppf((1 + confidence) / 2) * error / (auroc * (1 - auroc))
    low, high = expit(logit(auroc) + np.array([-reach, reach]))
    return Estimate(float(auroc), float(low), float(high))


def _add(auroc: np.ndarray, influence: np.ndarray, truth: np.ndarray, scores: np.ndarray, of_unit: np.ndarray) -> None:
    """Adds one observation to `auroc` (R,) and `influence` (P, R)."""
    positive, negative = (np.flatnonzero(truth == value) for value in (1, 0))
    below = _shares_below(scores[:, positive], scores[:, negative])
    above = 1 - _shares_below(scores[:, negative], scores[:, positive])
    area = below.mean(axis=1)
    auroc += area
    for shares, films in ((below, positive), (above, negative)):
        patients, added = _added(shares - area[:, None], of_unit[films])
        influence[patients] += added


def _shares_below(scores: np.ndarray, others: np.ndarray) -> np.ndarray:
    """float (R, M), for each of `scores` (R, M): the share of `others` (R, N) below it, ties counting half."""
    order = np.sort(others, axis=1)
    shares = np.empty(scores.shape)
    for own, ranked, share in zip(scores, order, shares, strict=True):
        share[:] = ranked.searchsorted(own, "left") + ranked.searchsorted(own, "right")
    return shares / (2 * others.shape[1])


def _added(errors: np.ndarray, of_film: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The patients of one class (C,), and what that class adds to their influences (C, R); `errors` is (R, films)."""
    order = np.argsort(of_film, kind="stable")
    patients, starts = np.unique(of_film[order], return_index=True)
    clusters = len(patients)
    small_sample = np.sqrt(clusters / (clusters - 1)) if clusters > 1 else 0.0
    return patients, np.add.reduceat(errors[:, order], starts, axis=1).T * small_sample / len(of_film)
