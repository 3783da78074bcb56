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
        for place, scores in enumerate(probability[:, :, column]):
            value, added = _one(truth[:, column], scores, of_unit, len(names))
            auroc[place] += value / len(columns)
            influence[:, place] += added / len(columns)
    return Areas(auroc, influence)


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


def _one(truth: np.ndarray, scores: np.ndarray, of_unit: np.ndarray, patients: int) -> tuple[float, np.ndarray]:
    """An AUROC and its influences (P,)."""
    positive, negative = np.flatnonzero(truth == 1), np.flatnonzero(truth == 0)
    below = _share_below(scores[positive], scores[negative])
    above = 1 - _share_below(scores[negative], scores[positive])
    auroc = float(below.mean())
    sides = [_side(part - auroc, of_unit[films], patients) for part, films in ((below, positive), (above, negative))]
    return auroc, sides[0] + sides[1]


def _share_below(scores: np.ndarray, others: np.ndarray) -> np.ndarray:
    """float, for each score: the share of `others` below it, ties counting half."""
    order = np.sort(others)
    places = np.searchsorted(order, scores, "left") + np.searchsorted(order, scores, "right")
    shares: np.ndarray = places / (2 * len(others))
    return shares


def _side(errors: np.ndarray, of_film: np.ndarray, patients: int) -> np.ndarray:
    """The part of one class in the influences."""
    clusters = len(np.unique(of_film))
    small_sample = np.sqrt(clusters / (clusters - 1)) if clusters > 1 else 0.0
    sums: np.ndarray = np.bincount(of_film, errors, minlength=patients) * small_sample / len(errors)
    return sums
