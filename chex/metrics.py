"""How good probabilities are: per observation, and averaged over those where it is defined."""

from dataclasses import dataclass

import numpy as np
from sklearn.metrics import roc_auc_score

METRIC, MODE = "best_auroc", "max"
"""What a search maximises, what ASHA compares and what makes a trial the best: the validation AUROC of the weights that
the run keeps. The run keeps the weights of its report with the highest AUROC."""


@dataclass(frozen=True)
class Scores:
    """One observation's figures in [0, 1]; NaN where undefined."""

    auroc: float
    """NaN where the scored labels have one class."""
    recall: float
    """Share of positives found at threshold .5; NaN without positives."""
    precision: float
    """Share of positive calls that are right; NaN without positive calls."""
    error_rate: float
    """Share of wrong calls."""


def score(truth: np.ndarray, probability: np.ndarray) -> Scores:
    """The figures of one observation: `truth` float (N,) of 1, 0 or NaN (not scored), `probability` float (N,)."""
    scored = ~np.isnan(truth)
    positive, called = truth[scored] == 1, probability[scored] >= 0.5
    hits = int((positive & called).sum())
    return Scores(
        auroc=auroc(truth, probability),
        recall=_share(hits, int(positive.sum())),
        precision=_share(hits, int(called.sum())),
        error_rate=_share(int((positive != called).sum()), len(positive)),
    )


def auroc(truth: np.ndarray, probability: np.ndarray) -> float:
    """Area under the ROC curve; NaN where the scored cells of `truth` have one class."""
    scored = ~np.isnan(truth)
    if len(np.unique(truth[scored])) < 2:
        return float("nan")
    return float(roc_auc_score(truth[scored], probability[scored]))


def mean_defined(values: list[float]) -> float:
    """The mean of what is not NaN; NaN where nothing is left."""
    defined = [value for value in values if not np.isnan(value)]
    return float(np.mean(defined)) if defined else float("nan")


def defined(truth: np.ndarray) -> np.ndarray:
    """bool (K,): the columns of `truth` (N, K) in which AUROC is defined, because both classes are there."""
    return (truth == 1).any(axis=0) & (truth == 0).any(axis=0)


def weighted_auroc(truth: np.ndarray, probability: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """float (D,): AUROC of one observation under each row of `weights` (D, N); ties count half, NaN with one class."""
    order = np.flatnonzero(~np.isnan(truth))
    order = order[np.argsort(probability[order], kind="stable")]
    ties = np.flatnonzero(np.diff(probability[order], prepend=-np.inf))
    positive = np.add.reduceat(weights[:, order] * (truth[order] == 1), ties, axis=1)
    negative = np.add.reduceat(weights[:, order] * (truth[order] == 0), ties, axis=1)
    below = np.cumsum(negative, axis=1) - negative / 2
    pairs = positive.sum(axis=1) * negative.sum(axis=1)
    wins = (positive * below).sum(axis=1)
    return np.divide(wins, pairs, out=np.full(len(weights), np.nan), where=pairs > 0)


def patient_weights(patients: np.ndarray, rng: np.random.Generator, draws: int) -> np.ndarray:
    """float (draws, N): how often each film is in each bootstrap draw of whole patients; `patients` is str (N,)."""
    names, of_image = np.unique(patients, return_inverse=True)
    times = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=draws)
    weights: np.ndarray = times[:, of_image].astype(float)
    return weights


def _share(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")
