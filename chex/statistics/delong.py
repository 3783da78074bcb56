"""The uncertainty of an AUROC without resampling: the influence of each patient (DeLong et al. 1988).

An AUROC is, to first order, a mean over patients. The influence of a patient is its part of the difference between the
AUROC of the sample and that of the population; the sum of the squared influences is the variance. With one unit a
patient this is DeLong's variance, computed from sorted scores (Sun & Xu 2014); with several units it is Obuchowski's
(1997) for clustered data. With other weights of the patients an AUROC changes by (weights - 1) @ influences, so that a
bootstrap is a matrix product.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from chex.statistics.intervals import (
    UNDEFINED,
    Estimate,
    correlations,
    logit_interval,
    mean_estimate,
    score_interval,
    wider_interval,
)
from chex.statistics.metrics import has_both_classes

CHUNK = 64
"""The number of classifiers that are computed at a time, to limit memory."""


@dataclass(frozen=True)
class AurocInfluences:
    """The AUROCs of R classifiers on the same units of P patients."""

    auroc: np.ndarray
    """float (R,), in [0, 1]."""
    influence: np.ndarray
    """float (P, R): the influence of each patient on each AUROC; sums to 0 over patients, except for rounding."""

    def select(self, indices: np.ndarray) -> "AurocInfluences":
        """Returns the AUROCs of the classifiers `indices`."""
        return AurocInfluences(self.auroc[indices], self.influence[:, indices])


def auroc_influences(
    truth: np.ndarray, probability: np.ndarray, patients: np.ndarray, columns: Sequence[int]
) -> AurocInfluences:
    """Returns the mean AUROC over `columns`, each of which has both classes, with influences.

    `truth` is float (U, K) of 1, 0 or NaN (not scored), `probability` float (R, U, K), `patients` (U,) of any dtype.
    If all positives of a column are of one patient, their part of the influence is 0, because nothing is known about
    the variation between patients; negatives likewise.
    """
    names, patient_index = np.unique(patients, return_inverse=True)
    auroc, influence = np.zeros(len(probability)), np.zeros((len(names), len(probability)))
    for column in columns:
        for start in range(0, len(probability), CHUNK):
            chunk = slice(start, start + CHUNK)
            _add_column(
                auroc[chunk], influence[:, chunk], truth[:, column], probability[chunk, :, column], patient_index
            )
    return AurocInfluences(auroc / len(columns), influence / len(columns))


def standard_errors(areas: AurocInfluences) -> np.ndarray:
    """Returns float (R,): the standard error of each AUROC."""
    errors: np.ndarray = np.sqrt((areas.influence**2).sum(axis=0))
    return errors


@dataclass(frozen=True)
class AurocIntervals:
    """The AUROCs of one classifier, with 95 % intervals."""

    mean: Estimate
    """The mean over the observations with a defined AUROC; NaN if there are none."""
    observations: tuple[Estimate, ...]
    """The AUROC of each observation; NaN if the scored labels have only one class."""


def auroc_intervals(truth: np.ndarray, probability: np.ndarray, patients: np.ndarray) -> list[AurocIntervals]:
    """Returns the AUROCs of R classifiers with 95 % intervals; no other function makes intervals of AUROCs.

    `truth` is float (U, K) of 1, 0 or NaN (not scored), `probability` float (R, U, K), `patients` str (U,). The
    interval of an observation is that of DeLong's standard error over patients on the logit scale. Neither side is
    shorter than that of Newcombe's score interval, which also has a width at 0, at 1 and with a single positive. Its
    class sizes are numbers of units divided by the design effect, the ratio of the variance over patients to the
    variance over units. `mean_estimate` combines these intervals to that of the mean.
    """
    columns = np.flatnonzero(has_both_classes(truth)).tolist()
    parts = [[UNDEFINED] * truth.shape[1] for _ in probability]
    influences = np.zeros((len(columns), len(np.unique(patients)), len(probability)))
    for k, column in enumerate(columns):
        areas = auroc_influences(truth, probability, patients, [column])
        influences[k] = areas.influence
        errors, unit_errors = standard_errors(areas), _unit_errors(truth, probability, patients, column, areas)
        counts = _class_sizes(truth[:, column], patients)
        for estimates, auroc, error, unit_error in zip(parts, areas.auroc, errors, unit_errors, strict=True):
            estimates[column] = wider_interval(
                logit_interval(auroc, error), score_interval(auroc, *_effective_sizes(*counts, error, unit_error))
            )
    return [
        AurocIntervals(
            mean_estimate([estimates[column] for column in columns], correlations(influences[:, :, r].T)),
            tuple(estimates),
        )
        for r, estimates in enumerate(parts)
    ]


def _unit_errors(
    truth: np.ndarray, probability: np.ndarray, patients: np.ndarray, column: int, over_patients: AurocInfluences
) -> np.ndarray:
    """Returns float (R,): the standard errors as if each unit were of another patient."""
    if len(over_patients.influence) == len(patients):
        return standard_errors(over_patients)
    return standard_errors(auroc_influences(truth, probability, np.arange(len(patients)), [column]))


def _class_sizes(truth: np.ndarray, patients: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns float (2,) twice: the numbers of units that are positive and negative, and those of patients."""
    units = np.array([(truth == value).sum() for value in (1, 0)], dtype=float)
    return units, np.array([len(np.unique(patients[truth == value])) for value in (1, 0)], dtype=float)


def _effective_sizes(units: np.ndarray, patients: np.ndarray, error: float, unit_error: float) -> np.ndarray:
    """Returns float (2,): the effective numbers of positives and negatives; `patients` if a standard error is 0."""
    if not error > 0 or not unit_error > 0:
        return patients
    return np.maximum(patients, units / max(1.0, (error / unit_error) ** 2))


def _add_column(
    auroc: np.ndarray, influence: np.ndarray, truth: np.ndarray, scores: np.ndarray, patient_index: np.ndarray
) -> None:
    """Adds one observation to `auroc` (R,) and `influence` (P, R), in place."""
    positive, negative = (np.flatnonzero(truth == value) for value in (1, 0))
    below = _shares_below(scores[:, positive], scores[:, negative])
    above = 1 - _shares_below(scores[:, negative], scores[:, positive])
    area = below.mean(axis=1)
    auroc += area
    for shares, units in ((below, positive), (above, negative)):
        patients, part = _class_influence(shares - area[:, None], patient_index[units])
        influence[patients] += part


def _shares_below(scores: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Returns, for each of `scores` (R, units), the share of `others` (R, other units) below it; ties count half."""
    ordered = np.sort(others, axis=1)
    shares = np.empty(scores.shape)
    for row, ranked, share in zip(scores, ordered, shares, strict=True):
        share[:] = ranked.searchsorted(row, "left") + ranked.searchsorted(row, "right")
    return shares / (2 * others.shape[1])


def _class_influence(errors: np.ndarray, patient_index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the patients of one class, int (patients,), and the class's part of their influences, (patients, R).

    `errors` is float (R, units), `patient_index` int (units,).
    """
    order = np.argsort(patient_index, kind="stable")
    patients, starts = np.unique(patient_index[order], return_index=True)
    clusters = len(patients)
    small_sample = np.sqrt(clusters / (clusters - 1)) if clusters > 1 else 0.0
    return patients, np.add.reduceat(errors[:, order], starts, axis=1).T * small_sample / len(patient_index)
