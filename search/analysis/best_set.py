"""Finds the trials that may be the best of a search, given the uncertainty of their AUROCs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from chex.statistics.delong import AurocInfluences

DRAWS = 2000
"""The number of random draws of the leads that arise by chance."""
LEVEL = 0.05


@dataclass(frozen=True)
class BestSet:
    """The trials that may be the best of all: a test at the level of 5 % does not exclude them."""

    trials: tuple[int, ...]
    """The trials' numbers, the winner's included, best first."""
    of: int
    """How many trials were compared."""
    cheapest: int
    """The number of the trial in `trials` with the fewest training images; of equals, with the smaller backbone."""
    images: int
    """The number of training images that the cheapest trial saw, repeats included."""
    backbone: str
    """The backbone of the cheapest trial; "" if the search does not vary it."""


def best_set(aurocs: AurocInfluences, rng: np.random.Generator, draws: int = DRAWS) -> np.ndarray:
    """Returns bool (T,): whether each of T trials may be the best. In 95 % of searches the truly best one is included.

    The method is multiple comparisons with the best (Hsu 1984). A lead is a difference of two AUROCs in standard
    errors. A trial is excluded if the largest lead over it exceeds the 95 % quantile of the largest lead that chance
    gives if no trial is better than another. These leads are drawn from a normal distribution with the trials'
    covariances.
    """
    errors = rng.normal(size=(draws, len(aurocs.influence))) @ aurocs.influence
    covariance = aurocs.influence.T @ aurocs.influence
    variances = np.diag(covariance)
    may_be_best = np.ones(len(aurocs.auroc), dtype=bool)
    for trial in range(len(may_be_best)):
        error = np.sqrt(np.maximum(variances + variances[trial] - 2 * covariance[trial], 0))
        others = error > 1e-9  # leaves out the trial itself, and trials with the same predictions
        if others.any():
            leads = ((aurocs.auroc - aurocs.auroc[trial])[others] / error[others]).max()
            by_chance = ((errors - errors[:, [trial]])[:, others] / error[others]).max(axis=1)
            may_be_best[trial] = leads <= np.quantile(by_chance, 1 - LEVEL)
    return may_be_best


def cheapest(trials: Sequence[int], images: Mapping[int, int], parameters: Mapping[int, int]) -> int:
    """Returns the trial with the fewest `images`; of equals, the one with the fewest weights (`parameters`)."""
    return min(trials, key=lambda trial: (images[trial], parameters.get(trial, 0)))
