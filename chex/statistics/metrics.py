"""Metrics of probabilities against labels, for each observation."""

from dataclasses import dataclass

import numpy as np

METRIC, MODE = "best_auroc", "max"
"""The one metric by which a search samples, prunes and picks the best trial: the validation AUROC of the run's best
weights, which are those of its report with the highest AUROC."""


@dataclass(frozen=True)
class Scores:
    """The metrics of one observation, in [0, 1]; NaN if undefined."""

    auroc: float
    """NaN if the scored labels have only one class."""
    recall: float
    """TP / (TP + FN) at threshold .5; NaN without positives."""
    precision: float
    """TP / (TP + FP) at threshold .5; NaN if no image is predicted positive."""
    error_rate: float
    """(FP + FN) / all at threshold .5."""


def observation_scores(truth: np.ndarray, probability: np.ndarray) -> Scores:
    """Returns the metrics of one observation; `truth` is float (U,) of 1, 0 or NaN (not scored), `probability` (U,)."""
    scored = ~np.isnan(truth)
    positive, predicted = truth[scored] == 1, probability[scored] >= 0.5
    tp = int((positive & predicted).sum())
    return Scores(
        auroc=auroc(truth, probability),
        recall=_ratio(tp, int(positive.sum())),
        precision=_ratio(tp, int(predicted.sum())),
        error_rate=_ratio(int((positive != predicted).sum()), len(positive)),
    )


def auroc(truth: np.ndarray, probability: np.ndarray) -> float:
    """Returns the area under the ROC curve; NaN if the scored cells of `truth` have only one class."""
    scored = ~np.isnan(truth)
    if len(np.unique(truth[scored])) < 2:
        return float("nan")
    from sklearn.metrics import roc_auc_score  # takes 1 s: only callers that need an AUROC wait for it

    return float(roc_auc_score(truth[scored], probability[scored]))


def nanmean(values: list[float]) -> float:
    """Returns the mean of the values that are not NaN; NaN if there are none."""
    defined = [value for value in values if not np.isnan(value)]
    return float(np.mean(defined)) if defined else float("nan")


def has_both_classes(truth: np.ndarray) -> np.ndarray:
    """Returns bool (K,): the columns of `truth` (U, K) that have both classes, so that AUROC is defined."""
    return (truth == 1).any(axis=0) & (truth == 0).any(axis=0)


def weighted_auroc(truth: np.ndarray, probability: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Returns float (D,): the AUROC of one observation with each row of `weights` (D, U). Ties count half.

    NaN if the weighted labels have only one class.
    """
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
    """Returns float (D, U): how often each unit is in each bootstrap draw of patients; `patients` is str (U,)."""
    names, patient_index = np.unique(patients, return_inverse=True)
    counts = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=draws)
    weights: np.ndarray = counts[:, patient_index].astype(float)
    return weights


def _ratio(part: int, total: int) -> float:
    return part / total if total else float("nan")
