"""Metrics, thresholds and intervals, against scikit-learn and against known values."""

import math

import numpy as np
import pytest
from sklearn.metrics import (
    average_precision_score,
    brier_score_loss,
    confusion_matrix,
    f1_score,
    precision_score,
    recall_score,
    roc_auc_score,
    roc_curve,
)

from chex.statistics import thresholds as module
from chex.statistics.delong import auroc_intervals
from chex.statistics.thresholds import (
    Evaluation,
    choose_thresholds,
    evaluate_probabilities,
    reliability_curve,
    threshold_rules,
)

CLOSE = {"rel": 0, "abs": 1e-9}


def case(seed: int, count: int = 120) -> tuple[np.ndarray, np.ndarray]:
    """Truth and probabilities with many ties."""
    rng = np.random.default_rng(seed)
    truth = (rng.random(count) < 0.3).astype(float)
    return truth, np.round(np.clip(0.3 * truth + rng.random(count) * 0.7, 0, 1), 2)


def evaluated(truth: np.ndarray, probability: np.ndarray, recall: float = 0.9, draws: int = 20) -> Evaluation:
    """Evaluates (U,) or (U, K) arrays with one unit a patient."""
    truth, probability = (each.reshape(len(each), -1) for each in (truth, probability))
    names = [f"o{column}" for column in range(truth.shape[1])]
    patients = np.arange(len(truth)).astype(str)
    return evaluate_probabilities(truth, probability, patients, names, recall, np.random.default_rng(0), draws)


@pytest.mark.parametrize("seed", range(5))
def test_metrics_agree_with_scikit_learn(seed: int) -> None:
    truth, probability = case(seed)
    one = evaluated(truth, probability).observations[0]
    assert one.metrics["AUROC"].value == pytest.approx(roc_auc_score(truth, probability), **CLOSE)
    assert one.metrics["AUPRC"].value == pytest.approx(average_precision_score(truth, probability), **CLOSE)
    assert one.metrics["Brier"].value == pytest.approx(brier_score_loss(truth, probability), **CLOSE)
    for at in one.at_thresholds:
        predicted = probability >= at.threshold
        (tn, fp), (fn, tp) = confusion_matrix(truth, predicted).tolist()
        assert (at.tp, at.fn, at.fp, at.tn) == (tp, fn, fp, tn)
        assert at.metrics["recall"].value == pytest.approx(recall_score(truth, predicted), **CLOSE)
        assert at.metrics["precision"].value == pytest.approx(precision_score(truth, predicted), **CLOSE)
        assert at.metrics["F1"].value == pytest.approx(f1_score(truth, predicted), **CLOSE)
        assert at.metrics["error rate"].value == pytest.approx(np.mean(predicted != truth), **CLOSE)


def test_weights_of_draws_count_as_scikit_learns_sample_weights() -> None:
    truth, probability = case(3)
    weights = np.random.default_rng(0).integers(0, 4, size=(20, len(truth))).astype(float)
    _, tp, fp = module.cumulative_counts(truth, probability, weights)
    for ours, theirs in (
        (module.average_precision(tp, fp), average_precision_score),
        (module.weighted_brier(truth, probability, weights), brier_score_loss),
    ):
        expected = [theirs(truth, probability, sample_weight=each) for each in weights]
        np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-12)
    predicted = probability >= 0.4
    expected = [f1_score(truth, predicted, sample_weight=each) for each in weights]
    found = module.metrics_at(module.counts_at(truth, probability, 0.4, weights))
    np.testing.assert_allclose(found[:, 3], expected, rtol=0, atol=1e-12)


def test_the_roc_curve_agrees_with_scikit_learn() -> None:
    truth, probability = case(1)
    rate, recall, _ = roc_curve(truth, probability, drop_intermediate=False)
    curve = evaluated(truth, probability).observations[0].roc
    np.testing.assert_allclose(curve[0], np.interp(module.FPR_GRID, rate, recall), atol=1e-12)
    assert (curve[1] <= curve[2]).all()


def test_cells_that_are_not_scored_do_not_count() -> None:
    truth, probability = case(0)
    gaps = evaluated(np.append(truth, [np.nan] * 3), np.append(probability, [0.0, 0.5, 1.0])).observations[0]
    complete = evaluated(truth, probability).observations[0]
    assert {name: each.value for name, each in gaps.metrics.items()} == pytest.approx(
        {name: each.value for name, each in complete.metrics.items()}
    )
    assert [(at.threshold, at.tp, at.predicted_positive) for at in gaps.at_thresholds] == [
        (at.threshold, at.tp, at.predicted_positive) for at in complete.at_thresholds
    ]
    assert (gaps.positives, gaps.negatives) == (complete.positives, complete.negatives)


@pytest.mark.parametrize("recall", [0.01, 0.5, 0.9, 0.95, 1.0])
def test_the_threshold_for_a_recall_is_the_highest_that_reaches_it(recall: float) -> None:
    for seed in range(20):
        truth, probability = case(seed)
        reaching = choose_thresholds(truth, probability, recall)[2]
        assert np.mean(probability[truth == 1] >= reaching) >= recall
        assert np.mean(probability[truth == 1] > reaching) < recall


def test_a_recall_of_a_whole_number_of_positives_is_reached_without_rounding_errors() -> None:
    truth, probability = np.ones(70), np.linspace(1, 0, 70)
    assert np.sum(probability >= choose_thresholds(truth, probability, 0.7)[2]) == 49


@pytest.mark.parametrize("seed", range(5))
def test_youdens_threshold_is_the_highest_with_the_largest_difference(seed: int) -> None:
    truth, probability = case(seed)
    rate, recall, cuts = roc_curve(truth, probability, drop_intermediate=False)
    assert choose_thresholds(truth, probability, 0.9)[1] == cuts[np.argmax(recall - rate)]


@pytest.mark.parametrize("only", [0.0, 1.0, np.nan])
def test_metrics_undefined_with_one_class_are_nan_and_not_in_the_mean(only: float) -> None:
    truth, probability = case(0)
    found = evaluated(np.stack([truth, np.full(120, only)], axis=1), np.stack([probability, probability], axis=1))
    first, second = found.observations
    for name in ("AUROC", "AUPRC"):
        assert np.isnan([second.metrics[name].value, second.metrics[name].low, second.metrics[name].high]).all()
        assert found.mean[name].value == pytest.approx(first.metrics[name].value)
        assert found.mean[name].low == pytest.approx(first.metrics[name].low)
    assert math.isnan(second.at_thresholds[1].threshold)
    assert math.isnan(second.at_thresholds[1].metrics["recall"].value)
    assert math.isnan(second.at_thresholds[0].metrics["recall"].value) == (only != 1)
    assert math.isnan(second.metrics["Brier"].value) == math.isnan(only)
    assert np.isnan(second.roc).all()


def test_without_predicted_positives_precision_and_fp_per_tp_are_undefined() -> None:
    at = evaluated(np.array([1.0, 0.0, 1.0]), np.array([0.1, 0.2, 0.3])).observations[0].at_thresholds[0]
    assert (at.predicted_positive, at.fn) == (0, 2)
    assert math.isnan(at.metrics["precision"].value)
    assert math.isnan(at.fp_per_tp)
    assert at.metrics["F1"].value == 0


def test_the_mean_over_observations_has_the_interval_that_training_prints() -> None:
    truth, probability = (np.stack(each, axis=1) for each in zip(case(0), case(1), strict=True))
    patients = np.repeat(np.arange(60), 2).astype(str)
    names = ("a", "b")
    found = evaluate_probabilities(truth, probability, patients, names, 0.9, np.random.default_rng(5), draws=1000)
    assert found.mean["AUROC"] == auroc_intervals(truth, probability[None], patients)[0].mean
    for rule, place in zip(threshold_rules(0.9), range(3), strict=True):
        each = [one.at_thresholds[place].metrics["F1"].value for one in found.observations]
        assert found.mean_at[rule]["F1"].value == pytest.approx(np.mean(each))


def test_draws_in_chunks_are_the_same_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    complete = evaluated(*case(0), draws=50)
    monkeypatch.setattr(module, "CELLS", 120 * 7)
    pieces = evaluated(*case(0), draws=50)
    for name, estimate in complete.mean.items():
        assert vars(pieces.mean[name]) == pytest.approx(vars(estimate), rel=1e-12)


@pytest.mark.parametrize("right", [True, False])
def test_metrics_of_0_and_1_have_intervals(right: bool) -> None:
    truth = np.repeat([1.0, 0.0], 30)
    found = evaluated(truth, truth if right else 1 - truth)
    one = found.observations[0]
    shares = {name: one.metrics[name] for name in ("AUROC", "AUPRC") if right} | one.at_thresholds[0].metrics
    shares |= {f"mean {name}": estimate for name, estimate in found.mean_at[".5"].items()}
    for name, estimate in shares.items():
        assert estimate.value in (0, 1), name
        assert 0 <= estimate.low < estimate.high <= 1, name
        assert estimate.high - estimate.low > 0.03, name
    assert (one.roc[2, :-1] > one.roc[1, :-1]).all()
    assert found.mean["AUROC"] == one.metrics["AUROC"]


def test_the_interval_of_a_recall_of_1_depends_on_the_number_of_positive_patients() -> None:
    truth, patients = np.repeat([1.0, 0.0], 40), np.repeat(np.arange(20), 4).astype(str)
    found = evaluate_probabilities(truth[:, None], truth[:, None], patients, ["o"], 0.9, np.random.default_rng(0), 20)
    recall = found.observations[0].at_thresholds[0].metrics["recall"]
    assert recall.low == pytest.approx(10 / (10 + 1.959964**2))  # Wilson's, of 10 patients and not of 40 images


def clustered(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """200 patients with two similar images each; log odds are N(1, 1) among positives, N(0, 1) among negatives."""
    positive = rng.random(200) < 0.3
    odds = positive[:, None] + np.sqrt(0.5) * (rng.normal(size=(200, 1)) + rng.normal(size=(200, 2)))
    return np.repeat(positive, 2).astype(float), 1 / (1 + np.exp(-odds.ravel())), np.repeat(np.arange(200), 2)


@pytest.mark.slow
def test_intervals_cover_the_truth_in_95_percent_of_simulations() -> None:
    above, spread = 0.841345, 0.760250  # the normal distribution function at 1 and at 1 / sqrt(2)
    predicted = 0.3 * above + 0.7 * 0.5
    truths = {"recall": above, "precision": 0.3 * above / predicted, "error rate": 0.3 * (1 - above) + 0.7 * 0.5}
    rng = np.random.default_rng(0)
    covered = []
    for _ in range(300):
        truth, probability, patients = clustered(rng)
        found = evaluate_probabilities(
            truth[:, None], probability[:, None], patients, ["o"], 0.9, rng, draws=500
        ).observations[0]
        pairs = [(found.metrics["AUROC"], spread)]
        pairs += [(found.at_thresholds[0].metrics[name], value) for name, value in truths.items()]
        covered.append([estimate.low <= value <= estimate.high for estimate, value in pairs])
    coverage = np.mean(covered, axis=0)
    assert ((coverage > 0.92) & (coverage < 0.98)).all(), coverage


def test_reliability_counts_each_scored_unit_once_in_its_bin() -> None:
    truth = np.array([0, 0, 1, 1, 1, np.nan])
    parts = reliability_curve(truth, np.array([0.0, 0.05, 0.05, 0.95, 1.0, 0.5], dtype=np.float32))
    np.testing.assert_allclose(parts, [[0.1 / 3, 1 / 3, 3], [0.975, 1, 2]], atol=1e-7)


def test_the_name_of_a_rule_contains_its_recall() -> None:
    assert [threshold_rules(recall)[2] for recall in (0.9, 1.0, 0.95)] == ["recall .9", "recall 1", "recall .95"]
