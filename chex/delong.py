"""AUROC's uncertainty without resampling: what each patient adds to it (DeLong et al. 1988), patients being clusters.

An AUROC is, to first order, a mean over patients. What a patient adds to the difference between the AUROC seen and the
AUROC meant is its influence; the sum of squared influences is the variance. With one film a patient that is DeLong's
variance, computed from sorted scores (Sun & Xu 2014); with several it is Obuchowski's (1997) for clustered data. An
AUROC with other weights of the patients is the AUROC plus weights less 1 times influences: bootstraps are products.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from chex.intervals import UNKNOWN, Estimate, correlations, logit_interval, mean_estimate, score_interval, wider
from chex.metrics import defined

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

    `truth` is float (U, K) of 1, 0 or NaN (not scored), `probability` float (R, U, K), `patients` (U,), of any kind.
    Where one patient has all positives of a column, or all negatives, nothing is known of how others would score, and
    their part of the influence is 0.
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


@dataclass(frozen=True)
class Aurocs:
    """The AUROCs of one classifier, with 95 % intervals."""

    mean: Estimate
    """Over the observations where it is defined; NaN where it is for none."""
    observations: tuple[Estimate, ...]
    """NaN where one class alone is scored."""


def aurocs(truth: np.ndarray, probability: np.ndarray, patients: np.ndarray) -> list[Aurocs]:
    """Returns the AUROCs of R classifiers: the one method by which all intervals of an AUROC are made.

    `truth` is float (U, K) of 1, 0 or NaN (not scored), `probability` float (R, U, K), `patients` str (U,). Of one
    observation the interval is that of DeLong's standard error over patients on the logit scale, and on neither side
    shorter than Newcombe's score interval, which has a width at 0, at 1 and with one positive, where DeLong's has
    none. Numbers of positives and negatives for that are films divided by the design effect: by how much the variance
    over patients is above that over films. The interval of the mean is put together from these by `mean_estimate`.
    """
    columns = np.flatnonzero(defined(truth)).tolist()
    parts = [[UNKNOWN] * truth.shape[1] for _ in probability]
    influences = np.zeros((len(columns), len(np.unique(patients)), len(probability)))
    for place, column in enumerate(columns):
        found = areas(truth, probability, patients, [column])
        influences[place] = found.influence
        errors, alone = standard_errors(found), _errors_of_films(truth, probability, patients, column, found)
        counts = _counts(truth[:, column], patients)
        for own, auroc, error, without in zip(parts, found.auroc, errors, alone, strict=True):
            own[column] = wider(
                logit_interval(auroc, error), score_interval(auroc, *_effective(*counts, error, without))
            )
    return [
        Aurocs(mean_estimate([own[column] for column in columns], correlations(influences[:, :, place].T)), tuple(own))
        for place, own in enumerate(parts)
    ]


def _errors_of_films(
    truth: np.ndarray, probability: np.ndarray, patients: np.ndarray, column: int, over_patients: Areas
) -> np.ndarray:
    """float (R,): the standard errors if each film were another patient's."""
    if len(over_patients.influence) == len(patients):
        return standard_errors(over_patients)
    return standard_errors(areas(truth, probability, np.arange(len(patients)), [column]))


def _counts(truth: np.ndarray, patients: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """float (2,) each: films of the positives and of the negatives, and how many patients they are of."""
    films = np.array([(truth == value).sum() for value in (1, 0)], dtype=float)
    return films, np.array([len(np.unique(patients[truth == value])) for value in (1, 0)], dtype=float)


def _effective(films: np.ndarray, persons: np.ndarray, error: float, alone: float) -> np.ndarray:
    """float (2,): what the positives and the negatives count; where no error tells, all of a patient's are alike."""
    if not error > 0 or not alone > 0:
        return persons
    return np.maximum(persons, films / max(1.0, (error / alone) ** 2))


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
