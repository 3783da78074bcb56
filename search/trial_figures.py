"""How good the weights are that each trial keeps: AUROCs with two kinds of intervals."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from chex.figures import CELLS, LEVEL, Estimate
from chex.metrics import weighted_auroc
from search.delong import Areas, areas, bounded, standard_errors

EXACT = 5_000_000_000
"""Films times draws times AUROCs up to which each draw's AUROC is computed anew; beyond, its first-order part is taken,
which so many films make the same."""
UNKNOWN = Estimate(np.nan, np.nan, np.nan)


@dataclass(frozen=True)
class TrialFigures:
    """How good the weights are that one trial keeps, on the films that the search chose by."""

    trial: int
    images: int
    """Training images that the trial saw, to its end."""
    auroc: Estimate
    """Mean AUROC over the observations where it is defined; DeLong's interval, with patients as clusters."""
    bootstrap: Estimate
    """The same AUROC with a percentile interval of a bootstrap over patients."""
    observations: tuple[Estimate, ...]
    """Each observation's AUROC with DeLong's interval, in the order of Verdict.observations; NaN where undefined."""
    bootstraps: tuple[Estimate, ...]
    """The same with the bootstrap's intervals."""


def trial_figures(
    trials: Sequence[tuple[int, int]],
    truth: np.ndarray,
    probability: np.ndarray,
    patients: np.ndarray,
    columns: Sequence[int],
    drawn: np.ndarray,
) -> tuple[TrialFigures, ...]:
    """The figures of T trials, given as number and images.

    `probability` is float (T, U, K): what each keeps; `columns` are the observations where AUROC is defined; `drawn`,
    float (B, P), is how often each bag has each patient.
    """
    each = [areas(truth, probability, patients, [column]) for column in columns]
    mean = Areas(np.mean([own.auroc for own in each], axis=0), np.mean([own.influence for own in each], axis=0))
    of_unit = np.unique(patients, return_inverse=True)[1]
    exact = probability.size * len(drawn) <= EXACT
    found = []
    for place, (number, images) in enumerate(trials):
        if exact:
            resampled = _resampled(truth[:, columns], probability[place][:, columns], of_unit, drawn)
        else:
            resampled = np.stack([own.auroc[place] + (drawn - 1) @ own.influence[:, place] for own in each], axis=1)
        delongs, boots = [UNKNOWN] * truth.shape[1], [UNKNOWN] * truth.shape[1]
        for k, column in enumerate(columns):
            delongs[column] = bounded(each[k].auroc[place], standard_errors(each[k])[place])
            boots[column] = _percentiles(each[k].auroc[place], resampled[:, k])
        whole = bounded(mean.auroc[place], standard_errors(mean)[place])
        boot = _percentiles(whole.value, _mean_defined(resampled))
        found.append(TrialFigures(number, images, whole, boot, tuple(delongs), tuple(boots)))
    return tuple(found)


def _resampled(truth: np.ndarray, probability: np.ndarray, of_unit: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """float (B, K): each AUROC in each bag; NaN where the bag has one class."""
    piece = max(1, CELLS // len(of_unit))
    pieces = []
    for start in range(0, len(drawn), piece):
        weights = drawn[start : start + piece, of_unit]
        each = [weighted_auroc(one, given, weights) for one, given in zip(truth.T, probability.T, strict=True)]
        pieces.append(np.stack(each, axis=1))
    return np.concatenate(pieces)


def _mean_defined(resampled: np.ndarray) -> np.ndarray:
    """float (B,): the mean over what is not NaN; bags where nothing is left have none."""
    return np.nanmean(resampled[~np.isnan(resampled).all(axis=1)], axis=1)


def _percentiles(value: float, resampled: np.ndarray) -> Estimate:
    known = resampled[~np.isnan(resampled)]
    low, high = np.percentile(known, LEVEL) if len(known) else (np.nan, np.nan)
    return Estimate(float(value), float(low), float(high))
