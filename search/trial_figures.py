"""How good the weights are that each trial keeps: AUROCs with intervals."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from chex.delong import aurocs
from chex.intervals import Estimate


@dataclass(frozen=True)
class TrialFigures:
    """How good the weights are that one trial keeps, on the films that the search chose by."""

    trial: int
    images: int
    """Training images that the trial saw, to its end."""
    auroc: Estimate
    """Mean AUROC over the observations where it is defined."""
    observations: tuple[Estimate, ...]
    """Each observation's AUROC, in the order of Verdict.observations; NaN where undefined."""


def trial_figures(
    trials: Sequence[tuple[int, int]], truth: np.ndarray, probability: np.ndarray, patients: np.ndarray
) -> tuple[TrialFigures, ...]:
    """Returns the figures of T trials, given as number and images.

    `probability` is float (T, U, K): what the weights say that each trial keeps.
    """
    found = zip(trials, aurocs(truth, probability, patients), strict=True)
    return tuple(TrialFigures(number, images, one.mean, one.observations) for (number, images), one in found)
