"""Which trials a search does not tell from its best one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from chex.delong import Areas

DRAWS = 2000
LEVEL = 0.05


@dataclass(frozen=True)
class Ties:
    """The trials of which the data do not exclude, at a level of 5 %, that each is the best of all."""

    trials: tuple[int, ...]
    """Numbers, with the winner's, best first."""
    of: int
    """Trials that were compared."""
    cheapest: int
    """The one of them that saw the fewest training images; of equals the one with the smaller backbone."""
    images: int
    """Training images that the cheapest saw."""
    backbone: str
    """The cheapest's backbone; empty where the search does not vary it."""


def maybe_best(found: Areas, rng: np.random.Generator, draws: int = DRAWS) -> np.ndarray:
    """bool (T,): which of T trials may be the best, in truth; the truly best one is among them in 95 % of searches.

    Multiple comparisons with the best (Hsu 1984): a trial is excluded where one of the others leads it by more than
    the largest of the leads, in standard errors, that would come about in 5 % of searches in which no other is better.
    Those are drawn from normal distributions with the trials' covariances.
    """
    errors = rng.normal(size=(draws, len(found.influence))) @ found.influence
    covariance = found.influence.T @ found.influence
    variances = np.diag(covariance)
    stays = np.ones(len(found.auroc), dtype=bool)
    for trial in range(len(stays)):
        spread = np.sqrt(np.maximum(variances + variances[trial] - 2 * covariance[trial], 0))
        others = spread > 1e-9  # the others may be the same classifier
        if others.any():
            leads = ((found.auroc - found.auroc[trial])[others] / spread[others]).max()
            by_chance = ((errors - errors[:, [trial]])[:, others] / spread[others]).max(axis=1)
            stays[trial] = leads <= np.quantile(by_chance, 1 - LEVEL)
    return stays


def cheapest(trials: Sequence[int], images: Mapping[int, int], parameters: Mapping[int, int]) -> int:
    """The trial of the fewest `images`; of equals that of the fewest `parameters` (none: 0), then the first given."""
    return min(trials, key=lambda trial: (images[trial], parameters.get(trial, 0)))
