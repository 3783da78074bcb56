"""Which trials may be the best of a search."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from chex.statistics.delong import AurocInfluences

DRAWS = 2000
"""Draws of the leads that chance gives."""
LEVEL = 0.05


@dataclass(frozen=True)
class BestSet:
    """The trials that may be the best of all: at a level of 5 %, the data do not exclude it."""

    trials: tuple[int, ...]
    """The trials' numbers, the winner's included, best first."""
    of: int
    """How many trials were compared."""
    cheapest: int
    """The one that saw the fewest training images; of equals the one with the smaller backbone."""
    images: int
    """Training images that the cheapest one saw."""
    backbone: str
    """The backbone of the cheapest one; "" if the search does not vary it."""


def best_set(aurocs: AurocInfluences, rng: np.random.Generator, draws: int = DRAWS) -> np.ndarray:
    """Returns bool (T,): which of T trials may be the best; the truly best one is among them in 95 % of searches.

    Multiple comparisons with the best (Hsu 1984): a trial is excluded if another leads it by more standard errors than
    the largest lead in 95 % of searches in which no other trial is better. Such leads are drawn from a normal
    distribution with the trials' covariances.
    """
    errors = rng.normal(size=(draws, len(aurocs.influence))) @ aurocs.influence
    covariance = aurocs.influence.T @ aurocs.influence
    variances = np.diag(covariance)
    may_be_best = np.ones(len(aurocs.auroc), dtype=bool)
    for trial in range(len(may_be_best)):
        error = np.sqrt(np.maximum(variances + variances[trial] - 2 * covariance[trial], 0))
        others = error > 1e-9  # the others may be the same classifier
        if others.any():
            leads = ((aurocs.auroc - aurocs.auroc[trial])[others] / error[others]).max()
            by_chance = ((errors - errors[:, [trial]])[:, others] / error[others]).max(axis=1)
            may_be_best[trial] = leads <= np.quantile(by_chance, 1 - LEVEL)
    return may_be_best


def cheapest(trials: Sequence[int], images: Mapping[int, int], parameters: Mapping[int, int]) -> int:
    """Returns the trial with the fewest `images`; of equals the one with the fewest `parameters`, or the first."""
    return min(trials, key=lambda trial: (images[trial], parameters.get(trial, 0)))
