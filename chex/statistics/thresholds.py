"""Metrics of probabilities with and without thresholds, with intervals over patients: pure functions of arrays.

In all functions `truth` is float (U, K) or (U,) of 1, 0 or NaN (not scored), `probability` has the same shape, and
`weights` is float (D, U): how often each unit counts in each of D draws. A unit is predicted positive if its
probability is the threshold or more.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from chex.statistics.delong import auroc_intervals
from chex.statistics.intervals import UNDEFINED, Estimate, correlations, effective_count, mean_estimate, wilson_interval
from chex.statistics.metrics import patient_weights

DRAWS = 1000
CELLS = 100_000
"""Draws are computed in chunks of at most this many draws x units, which fit into a processor's cache."""
THRESHOLD_FREE = ("AUROC", "AUPRC", "Brier")
AT_THRESHOLD = ("recall", "precision", "error rate", "F1")
FPR_GRID = np.linspace(0, 1, 101)
"""The false positive rates of a ROC curve's points."""
PERCENTILES = (2.5, 97.5)


@dataclass(frozen=True)
class ThresholdMetrics:
    """The metrics of one observation at one threshold."""

    rule: str
    """How the threshold was chosen: one of `threshold_rules`."""
    threshold: float
    """NaN if the scored labels do not allow this choice; the metrics are then NaN and the counts 0."""
    tp: int
    fn: int
    fp: int
    tn: int
    metrics: dict[str, Estimate]
    """Each of AT_THRESHOLD."""

    @property
    def predicted_positive(self) -> int:
        """The number of units that are predicted positive."""
        return self.tp + self.fp

    @property
    def fp_per_tp(self) -> float:
        """False positives per true positive; NaN without true positives."""
        return self.fp / self.tp if self.tp else float("nan")


@dataclass(frozen=True)
class ObservationEvaluation:
    """The metrics of one observation."""

    name: str
    positives: int
    negatives: int
    metrics: dict[str, Estimate]
    """Each of THRESHOLD_FREE. AUROC and AUPRC are NaN if the scored labels have only one class."""
    at_thresholds: tuple[ThresholdMetrics, ...]
    """One for each of `threshold_rules`."""
    roc: np.ndarray
    """float (3, 101): recall at each false positive rate of FPR_GRID, and the low and high ends of its interval."""


@dataclass(frozen=True)
class Evaluation:
    """The metrics of all observations, and their means over the observations where each is defined."""

    observations: tuple[ObservationEvaluation, ...]
    mean: dict[str, Estimate]
    """Each of THRESHOLD_FREE."""
    mean_at: dict[str, dict[str, Estimate]]
    """Each of AT_THRESHOLD for each of `threshold_rules`."""
    patients: int


def threshold_rules(recall: float) -> tuple[str, str, str]:
    """Returns the names of the three ways to choose a threshold."""
    return ".5", "Youden", f"recall {recall:g}".replace(" 0.", " .")


def evaluate_probabilities(
    truth: np.ndarray,
    probability: np.ndarray,
    patients: np.ndarray,
    names: Sequence[str],
    recall: float,
    rng: np.random.Generator,
    draws: int = DRAWS,
) -> Evaluation:
    """Returns the metrics of (U, K) arrays with 95 % intervals over patients.

    The interval of AUROC is that of `auroc_intervals`. AUPRC, recall, precision, error rate and F1 have Wilson's
    interval with the effective number of cases (see `effective_count`) from `draws` bootstrap draws of patients; Brier
    has the percentiles of the draws. A mean over observations has the interval of `mean_estimate`. Draws in which a
    metric is undefined do not count for it. Thresholds are chosen once, on all units, and are the same in every draw:
    the intervals do not include the uncertainty of that choice.
    """
    cuts = np.stack([choose_thresholds(truth[:, k], probability[:, k], recall) for k in range(len(names))])
    chunks = [_measure(truth, probability, cuts, weights) for weights in _weight_chunks(patients, rng, draws)]
    measured, curves = (np.concatenate(arrays) for arrays in zip(*chunks, strict=True))
    aurocs = auroc_intervals(truth, probability[None], patients)[0]
    estimates = [
        [aurocs.observations[k], *_estimates(truth[:, k], probability[:, k], patients, cuts[k], measured[:, k])]
        for k in range(len(names))
    ]
    mean = [_mean(measured[1:, :, m], [row[m] for row in estimates]) for m in range(len(estimates[0]))]
    mean[THRESHOLD_FREE.index("AUROC")] = aurocs.mean
    observations = tuple(
        _evaluate_observation(
            name,
            truth[:, k],
            probability[:, k],
            cuts[k],
            recall,
            estimates[k],
            _roc_band(curves[:, k], *_count_cases(patients, truth[:, k] == 1)),
        )
        for k, name in enumerate(names)
    )
    mean_at = {rule: _by_name(AT_THRESHOLD, mean[_columns_at(i)]) for i, rule in enumerate(threshold_rules(recall))}
    return Evaluation(
        observations, _by_name(THRESHOLD_FREE, mean[: len(THRESHOLD_FREE)]), mean_at, len(np.unique(patients))
    )


def choose_thresholds(truth: np.ndarray, probability: np.ndarray, recall: float) -> np.ndarray:
    """Returns float (3,), one threshold for each of `threshold_rules`.

    They are .5; Youden's (1950), the highest threshold with the largest recall minus false positive rate; and the
    highest threshold whose recall is at least `recall`. The last two are NaN without positives, Youden's also without
    negatives.
    """
    scored = np.where(np.isnan(truth), 0.0, 1.0)[None]
    cuts, tp, fp = cumulative_counts(truth, probability, scored)
    youden = reaching = float("nan")
    positives, negatives = int((truth == 1).sum()), int((truth == 0).sum())
    if positives:
        reaching = cuts[np.argmax(tp[0] / positives >= recall)]
        if negatives:
            youden = cuts[np.argmax(tp[0] / positives - fp[0] / negatives)]
    return np.array([0.5, youden, reaching])


def cumulative_counts(truth: np.ndarray, probability: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, ...]:
    """Returns the thresholds, and the weights of the true and the false positives at each.

    The thresholds, float (thresholds,), are the distinct probabilities of scored units in descending order; the weights
    of true and of false positives are float (D, thresholds) each.
    """
    order = np.flatnonzero(~np.isnan(truth))
    order = order[np.argsort(-probability[order], kind="stable")]
    ties = np.flatnonzero(np.diff(probability[order], prepend=np.inf))
    positive = np.add.reduceat(weights[:, order] * (truth[order] == 1), ties, axis=1)
    negative = np.add.reduceat(weights[:, order] * (truth[order] == 0), ties, axis=1)
    return probability[order][ties], np.cumsum(positive, axis=1), np.cumsum(negative, axis=1)


def average_precision(tp: np.ndarray, fp: np.ndarray) -> np.ndarray:
    """Returns float (D,): AUPRC as the mean precision over steps of recall, from `cumulative_counts`.

    NaN with only one class.
    """
    positives, negatives = _last(tp), _last(fp)
    precision = _ratio(tp, tp + fp)
    area = np.nansum(np.diff(tp, prepend=0.0, axis=1) * precision, axis=1)  # NaN only before the first weighted unit
    return np.where(negatives > 0, _ratio(area, positives), np.nan)


def weighted_brier(truth: np.ndarray, probability: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Returns float (D,): the mean squared error of the probabilities (Brier 1950); NaN without scored units."""
    squares = np.nan_to_num((probability.astype(np.float64) - truth) ** 2)
    return _ratio(weights @ squares, weights @ ~np.isnan(truth))


def roc_curves(tp: np.ndarray, fp: np.ndarray) -> np.ndarray:
    """Returns float (D, 101): recall at each rate of FPR_GRID, linear between thresholds, from `cumulative_counts`.

    NaN with only one class.
    """
    positives, negatives = _last(tp), _last(fp)
    recall = np.pad(_ratio(tp, positives[:, None]), ((0, 0), (1, 0)))
    rate = np.pad(_ratio(fp, negatives[:, None]), ((0, 0), (1, 0)))
    curves = np.full((len(tp), len(FPR_GRID)), np.nan)
    for row in np.flatnonzero((positives > 0) & (negatives > 0)):
        curves[row] = np.interp(FPR_GRID, rate[row], recall[row])
    return curves


def counts_at(truth: np.ndarray, probability: np.ndarray, threshold: float, weights: np.ndarray) -> np.ndarray:
    """Returns float (D, 4): the weights of TP, FN, FP and TN at a threshold, which is not NaN."""
    predicted = probability >= threshold
    cells = [predicted & (truth == 1), ~predicted & (truth == 1), predicted & (truth == 0), ~predicted & (truth == 0)]
    counts: np.ndarray = weights @ np.stack(cells, axis=1).astype(np.float64)
    return counts


def metrics_at(counts: np.ndarray) -> np.ndarray:
    """Returns float (D, 4): each of AT_THRESHOLD, from `counts_at`.

    NaN for recall and F1 without positives, and for precision without predicted positives.
    """
    tp, fn, fp, _ = counts.T
    numerators = [tp, tp, fn + fp, 2 * tp]
    positives = tp + fn
    denominators = [positives, tp + fp, counts.sum(axis=1), np.where(positives > 0, positives + tp + fp, 0)]
    return np.stack([_ratio(part, total) for part, total in zip(numerators, denominators, strict=True)], axis=1)


def reliability_curve(truth: np.ndarray, probability: np.ndarray, bins: int = 10) -> np.ndarray:
    """Returns float (bins with units, 3): a row for each of `bins` equal parts of [0, 1] that has scored units.

    The columns are the mean probability, the share of positives and the number of scored units.
    """
    scored = ~np.isnan(truth)
    predicted, positive = probability[scored].astype(np.float64), truth[scored]
    bin_index = np.minimum((predicted * bins).astype(int), bins - 1)
    units = np.bincount(bin_index, minlength=bins)
    sums = np.stack([np.bincount(bin_index, weights=x, minlength=bins) for x in (predicted, positive)], axis=1)
    some = units > 0
    return np.column_stack([sums[some] / units[some, None], units[some]])


def _weight_chunks(patients: np.ndarray, rng: np.random.Generator, draws: int) -> Iterator[np.ndarray]:
    """Yields weights: first (1, U) of ones, then those of the draws in chunks of at most CELLS."""
    yield np.ones((1, len(patients)))
    chunk = max(1, CELLS // len(patients))
    for start in range(0, draws, chunk):
        yield patient_weights(patients, rng, min(chunk, draws - start))


def _measure(
    truth: np.ndarray, probability: np.ndarray, cuts: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the metrics, (D, K, metrics), and the ROC curves, (D, K, 101).

    The metrics are THRESHOLD_FREE and then AT_THRESHOLD for each rule.
    """
    measured, curves = [], []
    for labels, scores, thresholds in zip(truth.T, probability.T, cuts, strict=True):
        _, tp, fp = cumulative_counts(labels, scores, weights)
        threshold_free = [
            np.full(len(weights), np.nan),  # AUROC has an interval without draws
            average_precision(tp, fp),
            weighted_brier(labels, scores, weights),
        ]
        at_threshold = [_metrics_at_cut(labels, scores, cut, weights) for cut in thresholds]
        measured.append(np.column_stack([*threshold_free, *at_threshold]))
        curves.append(roc_curves(tp, fp))
    return np.stack(measured, axis=1), np.stack(curves, axis=1)


def _metrics_at_cut(truth: np.ndarray, probability: np.ndarray, cut: float, weights: np.ndarray) -> np.ndarray:
    if np.isnan(cut):
        return np.full((len(weights), len(AT_THRESHOLD)), np.nan)
    return metrics_at(counts_at(truth, probability, cut, weights))


def _estimates(
    truth: np.ndarray, probability: np.ndarray, patients: np.ndarray, cuts: np.ndarray, measured: np.ndarray
) -> list[Estimate]:
    """Returns the metrics of one observation except AUROC, in the order of `measured`, float (1 + D, metrics)."""
    scored, positive = ~np.isnan(truth), truth == 1
    estimates = [
        _share_estimate(measured[:, THRESHOLD_FREE.index("AUPRC")], *_count_cases(patients, positive)),
        _percentile_estimate(measured[:, THRESHOLD_FREE.index("Brier")]),
    ]
    for i, cut in enumerate(cuts):
        predicted = scored & (probability >= cut)
        recall, precision, errors, f1 = measured[:, _columns_at(i)].T
        jaccard = _share_estimate(f1 / (2 - f1), *_count_cases(patients, positive | predicted))  # a share; F1 is none
        estimates += [
            _share_estimate(recall, *_count_cases(patients, positive)),
            _share_estimate(precision, *_count_cases(patients, predicted)),
            _share_estimate(errors, *_count_cases(patients, scored)),
            Estimate(*(2 * x / (1 + x) for x in (jaccard.value, jaccard.low, jaccard.high))),
        ]
    return estimates


def _count_cases(patients: np.ndarray, selected: np.ndarray) -> tuple[int, int]:
    """Returns the numbers of patients and of units among the `selected`, bool (U,)."""
    return len(np.unique(patients[selected])), int(selected.sum())


def _share_estimate(measured: np.ndarray, patients: int, cases: int) -> Estimate:
    """Returns a share of `cases` and its interval; `measured` is float (1 + D,): its value and that of each draw."""
    value, drawn = float(measured[0]), measured[1:]
    defined = drawn[~np.isnan(drawn)]
    if np.isnan(value) or len(defined) == 0:
        return UNDEFINED
    return wilson_interval(value, effective_count(value, float(defined.var()), patients, cases))


def _percentile_estimate(measured: np.ndarray) -> Estimate:
    """Returns a metric with percentiles of its draws; `measured` is float (1 + D,)."""
    defined = measured[1:][~np.isnan(measured[1:])]
    if np.isnan(measured[0]) or len(defined) == 0:
        return UNDEFINED
    return Estimate(float(measured[0]), *np.percentile(defined, PERCENTILES).tolist())


def _mean(drawn: np.ndarray, parts: list[Estimate]) -> Estimate:
    """Returns the mean of one metric over observations; `drawn` is float (D, K), its values in the draws."""
    defined = ~np.isnan(drawn)
    center = _ratio(np.where(defined, drawn, 0.0).sum(axis=0), defined.sum(axis=0))
    return mean_estimate(parts, correlations(np.where(defined, drawn - center, 0.0)))


def _roc_band(curves: np.ndarray, patients: int, positives: int) -> np.ndarray:
    """Returns float (3, 101) from `curves`, (1 + D, 101): recall, low and high; recall is 1 at the rate 1."""
    points = [_share_estimate(column, patients, positives) for column in curves.T]
    band = np.array([(point.value, point.low, point.high) for point in points]).T
    band[1:, -1] = band[0, -1]
    return band


def _evaluate_observation(
    name: str,
    truth: np.ndarray,
    probability: np.ndarray,
    cuts: np.ndarray,
    recall: float,
    estimates: Sequence[Estimate],
    roc: np.ndarray,
) -> ObservationEvaluation:
    ones = np.ones((1, len(truth)))
    at_thresholds = []
    for i, (rule, cut) in enumerate(zip(threshold_rules(recall), cuts, strict=True)):
        counts = np.zeros(4) if np.isnan(cut) else counts_at(truth, probability, cut, ones)[0]
        tp, fn, fp, tn = map(int, counts)
        metrics = _by_name(AT_THRESHOLD, estimates[_columns_at(i)])
        at_thresholds.append(ThresholdMetrics(rule, float(cut), tp, fn, fp, tn, metrics))
    positives, negatives = int((truth == 1).sum()), int((truth == 0).sum())
    metrics = _by_name(THRESHOLD_FREE, estimates[: len(THRESHOLD_FREE)])
    return ObservationEvaluation(name, positives, negatives, metrics, tuple(at_thresholds), roc)


def _columns_at(rule: int) -> slice:
    """Returns the columns of AT_THRESHOLD for the rule with this index."""
    start = len(THRESHOLD_FREE) + rule * len(AT_THRESHOLD)
    return slice(start, start + len(AT_THRESHOLD))


def _by_name(names: Sequence[str], estimates: Sequence[Estimate]) -> dict[str, Estimate]:
    return dict(zip(names, estimates, strict=True))


def _last(counts: np.ndarray) -> np.ndarray:
    """Returns float (D,): the last column of an array of `cumulative_counts`, with all scored units of its class."""
    return counts[:, -1] if counts.shape[1] else np.zeros(len(counts))


def _ratio(part: np.ndarray, total: np.ndarray) -> np.ndarray:
    part, total = np.broadcast_arrays(np.asarray(part, dtype=np.float64), total)
    return np.divide(part, total, out=np.full(part.shape, np.nan), where=total > 0)
