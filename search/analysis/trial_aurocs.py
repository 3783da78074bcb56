"""Computes the AUROCs, with intervals, of the weights that each trial keeps."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from chex.statistics.delong import auroc_intervals
from chex.statistics.intervals import Estimate


@dataclass(frozen=True)
class TrialAurocs:
    """The AUROCs of the weights that a trial keeps, on the images by which the search chose."""

    trial: int
    images: int
    """Training images that the trial saw in all, repeats included."""
    auroc: Estimate
    """Mean AUROC over the observations where it is defined."""
    observations: tuple[Estimate, ...]
    """Each observation's AUROC, in the order of Verdict.observations; NaN where undefined."""


def trial_aurocs(
    trials: Sequence[tuple[int, int]], truth: np.ndarray, probability: np.ndarray, patients: np.ndarray
) -> tuple[TrialAurocs, ...]:
    """Returns the AUROCs of T `trials`, each given as its number and the training images that it saw.

    `truth` is float (U, K) of 1, 0 or NaN (not scored), `probability` float (T, U, K): the predictions of the weights
    that each trial keeps.
    """
    pairs = zip(trials, auroc_intervals(truth, probability, patients), strict=True)
    return tuple(TrialAurocs(number, images, one.mean, one.observations) for (number, images), one in pairs)
