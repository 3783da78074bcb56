"""Analyses the best configs trained again on new seeds: means over seeds and paired differences, with intervals."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import t

from chex.statistics.delong import AurocIntervals, auroc_intervals
from chex.statistics.metrics import has_both_classes, patient_weights, weighted_auroc

DRAWS = 1000
LEVEL = 0.95


@dataclass(frozen=True)
class Replication:
    """A config that was trained on several seeds."""

    trial: int
    """The trial of the search that has these parameters."""
    aurocs: tuple[float, ...]
    """The AUROC of each seed."""
    mean: float
    low: float
    high: float
    """`low` and `high` are the ends of the mean's 95 % interval, for new seeds and new patients (see `interval`)."""
    spread: float
    """The standard deviation over seeds; NaN with one seed."""
    difference: float
    """The mean AUROC minus the first config's, on the same seeds and images; 0 for the first config. The intervals of
    all differences hold together in 95 % of confirmations: each has the confidence 1 - .05 / number of differences."""
    difference_low: float
    difference_high: float

    @property
    def differs(self) -> bool:
        """Whether the interval of the difference excludes 0."""
        return self.difference_low > 0 or self.difference_high < 0


def analyze_replications(
    trials: Sequence[int], probability: np.ndarray, truth: np.ndarray, patients: np.ndarray, rng: np.random.Generator
) -> list[Replication]:
    """Returns the results of the configs of C `trials` on S seeds; all others are compared with the first config.

    `probability` is (C, S, U, K), `truth` (U, K) of 1, 0 or NaN (not scored), `patients` (U,). AUROC is the mean over
    the observations for which it is defined.
    """
    weights = np.concatenate([np.ones((1, len(patients))), patient_weights(patients, rng, DRAWS)])
    aurocs_by_seed = np.array([[_aurocs(truth, one, weights) for one in seeds] for seeds in probability])
    level = 1 - (1 - LEVEL) / max(1, len(trials) - 1)
    replications = []
    for trial, each, predicted in zip(trials, aurocs_by_seed, probability, strict=True):
        mean, low, high = _widen(interval(each), auroc_intervals(truth, predicted, patients))
        difference = interval(each - aurocs_by_seed[0], level)
        spread = float(np.std(each[:, 0], ddof=1)) if len(each) > 1 else math.nan
        replications.append(Replication(trial, tuple(each[:, 0].tolist()), mean, low, high, spread, *difference))
    return replications


def interval(figures: np.ndarray, level: float = LEVEL) -> tuple[float, float, float]:
    """Returns the mean over seeds, and the lower and upper end of its interval with the confidence `level`.

    `figures` is (S, 1 + D): for each of S seeds, an AUROC (or a difference) on all patients, then on D bootstrap draws
    of patients. Seeds and patients are both samples, so the variance is the sum of that over seeds and that over draws
    of patients, with Satterthwaite's degrees of freedom (1946). An effect of a seed on some patients only counts in
    both parts, so the interval is a little too wide. With one seed the interval covers patients only.
    """
    seeds = len(figures)
    mean = float(figures[:, 0].mean())
    patient_variance = float(np.nanvar(figures[:, 1:].mean(axis=0), ddof=1))
    seed_variance = float(np.var(figures[:, 0], ddof=1)) / seeds if seeds > 1 else 0.0
    total = patient_variance + seed_variance
    if total == 0:
        return mean, mean, mean
    parts = patient_variance**2 / (DRAWS - 1) + (seed_variance**2 / (seeds - 1) if seeds > 1 else 0.0)
    half = float(t.ppf((1 + level) / 2, total**2 / parts)) * math.sqrt(total)
    return mean, mean - half, mean + half


def _widen(estimate: tuple[float, float, float], seeds: Sequence[AurocIntervals]) -> tuple[float, float, float]:
    """Returns `estimate` (mean, low, high) cut to [0, 1], but no narrower than single seeds' intervals on average."""
    mean, low, high = estimate
    below = float(np.mean([seed.mean.value - seed.mean.low for seed in seeds]))
    above = float(np.mean([seed.mean.high - seed.mean.value for seed in seeds]))
    return mean, max(0.0, min(low, mean - below)), min(1.0, max(high, mean + above))


def _aurocs(truth: np.ndarray, probability: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Returns float (D,): the AUROC, averaged over observations, under each row of `weights` (D, U)."""
    columns = np.flatnonzero(has_both_classes(truth))
    each = np.stack([weighted_auroc(truth[:, k], probability[:, k], weights) for k in columns])
    return np.nanmean(each, axis=0)
