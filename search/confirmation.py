"""What retraining the best configs on new seeds shows: means over seeds and paired differences, with intervals."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import t

from chex.delong import Aurocs, aurocs
from chex.metrics import defined, patient_weights, weighted_auroc

DRAWS = 1000
LEVEL = 0.95


@dataclass(frozen=True)
class Retrained:
    """One config, trained on several seeds."""

    trial: int
    """The trial of the search whose knobs these are."""
    aurocs: tuple[float, ...]
    """Of each seed."""
    mean: float
    low: float
    high: float
    """95 % interval of what a new seed and new patients would give on average (see `interval`)."""
    spread: float
    """Standard deviation over seeds; NaN with one seed."""
    difference: float
    """From the first config on the same seeds and films; 0 for the first itself. The intervals of all differences hold
    together in 95 % of confirmations: each is of 1 - .05 / differences."""
    difference_low: float
    difference_high: float

    @property
    def differs(self) -> bool:
        """Whether the interval of the difference leaves out 0."""
        return self.difference_low > 0 or self.difference_high < 0


def confirmation(
    trials: Sequence[int], probability: np.ndarray, truth: np.ndarray, patients: np.ndarray, rng: np.random.Generator
) -> list[Retrained]:
    """What C configs, named by `trials`, reached on S seeds: `probability` (C, S, U, K), `truth` (U, K) with NaN.

    The first config is what the others are compared with. AUROC is the mean over the observations where it is defined.
    """
    weights = np.concatenate([np.ones((1, len(patients))), patient_weights(patients, rng, DRAWS)])
    reached = np.array([[_aurocs(truth, one, weights) for one in seeds] for seeds in probability])
    level = 1 - (1 - LEVEL) / max(1, len(trials) - 1)
    found = []
    for trial, each, given in zip(trials, reached, probability, strict=True):
        mean, low, high = _no_shorter(interval(each), aurocs(truth, given, patients))
        difference = interval(each - reached[0], level)
        spread = float(np.std(each[:, 0], ddof=1)) if len(each) > 1 else math.nan
        found.append(Retrained(trial, tuple(each[:, 0].tolist()), mean, low, high, spread, *difference))
    return found


def interval(figures: np.ndarray, level: float = LEVEL) -> tuple[float, float, float]:
    """Mean and interval, of 95 % if no other `level` is given, of a figure (S, 1 + D).

    It has S seeds, each on the films as they are and on D bootstrap draws.

    Seeds and patients are both drawn from many: the variance is that of the mean over seeds plus that of the mean over
    draws of patients, and the degrees of freedom are Satterthwaite's (1946). What a seed does to some patients only is
    in both, so that the interval is a little wide. With one seed it knows of patients alone.
    """
    seeds = len(figures)
    mean = float(figures[:, 0].mean())
    of_patients = float(np.nanvar(figures[:, 1:].mean(axis=0), ddof=1))
    of_seeds = float(np.var(figures[:, 0], ddof=1)) / seeds if seeds > 1 else 0.0
    total = of_patients + of_seeds
    if total == 0:
        return mean, mean, mean
    parts = of_patients**2 / (DRAWS - 1) + (of_seeds**2 / (seeds - 1) if seeds > 1 else 0.0)
    half = float(t.ppf((1 + level) / 2, total**2 / parts)) * math.sqrt(total)
    return mean, mean - half, mean + half


def _no_shorter(found: tuple[float, float, float], seeds: Sequence[Aurocs]) -> tuple[float, float, float]:
    """The interval of a mean over seeds, within [0, 1] and no shorter than that of one seed's AUROC is on average."""
    mean, low, high = found
    below = float(np.mean([seed.mean.value - seed.mean.low for seed in seeds]))
    above = float(np.mean([seed.mean.high - seed.mean.value for seed in seeds]))
    return mean, max(0.0, min(low, mean - below)), min(1.0, max(high, mean + above))


def _aurocs(truth: np.ndarray, probability: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(D,): the mean AUROC under each row of `weights`."""
    columns = np.flatnonzero(defined(truth))
    each = np.stack([weighted_auroc(truth[:, k], probability[:, k], weights) for k in columns])
    return np.nanmean(each, axis=0)
