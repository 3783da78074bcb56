"""Figures, thresholds and intervals, against scikit-learn and against known truth."""

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

from chex import figures
from chex.delong import aurocs
from chex.figures import Evaluation, evaluation, reliability, rules, thresholds

CLOSE = {"rel": 0, "abs": 1e-9}


def case(seed: int, count: int = 120) -> tuple[np.ndarray, np.ndarray]:
    """Truth and probabilities with many ties."""
    rng = np.random.default_rng(seed)
    truth = (rng.random(count) < 0.3).astype(float)
    return truth, np.round(np.clip(0.3 * truth + rng.random(count) * 0.7, 0, 1), 2)


def evaluated(truth: np.ndarray, probability: np.ndarray, recall: float = 0.9, draws: int = 20) -> Evaluation:
    """Of (N,) or (N, K) arrays, a patient a film."""
    truth, probability = (each.reshape(len(each), -1) for each in (truth, probability))
    names = [f"o{column}" for column in range(truth.shape[1])]
    patients = np.arange(len(truth)).astype(str)
    return evaluation(truth, probability, patients, names, recall, np.random.default_rng(0), draws)


@pytest.mark.parametrize("seed", range(5))
def test_figures_agree_with_scikit_learn(seed: int) -> None:
    truth, probability = case(seed)
    one = evaluated(truth, probability).observations[0]
    assert one.figures["AUROC"].value == pytest.approx(roc_auc_score(truth, probability), **CLOSE)
    assert one.figures["AUPRC"].value == pytest.approx(average_precision_score(truth, probability), **CLOSE)
    assert one.figures["Brier"].value == pytest.approx(brier_score_loss(truth, probability), **CLOSE)
    for cost in one.costs:
        called = probability >= cost.threshold
        (spared, alarms), (missed, found) = confusion_matrix(truth, called).tolist()
        assert (cost.found, cost.missed, cost.false_alarms, cost.spared) == (found, missed, alarms, spared)
        assert cost.figures["recall"].value == pytest.approx(recall_score(truth, called), **CLOSE)
        assert cost.figures["precision"].value == pytest.approx(precision_score(truth, called), **CLOSE)
        assert cost.figures["F1"].value == pytest.approx(f1_score(truth, called), **CLOSE)
        assert cost.figures["error rate"].value == pytest.approx(np.mean(called != truth), **CLOSE)


def test_a_draw_counts_a_film_as_often_as_scikit_learn_weighs_it() -> None:
    truth, probability = case(3)
    weights = np.random.default_rng(0).integers(0, 4, size=(20, len(truth))).astype(float)
    _, hits, alarms = figures.ladder(truth, probability, weights)
    for ours, theirs in (
        (figures.average_precision(hits, alarms), average_precision_score),
        (figures.weighted_brier(truth, probability, weights), brier_score_loss),
    ):
        expected = [theirs(truth, probability, sample_weight=each) for each in weights]
        np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-12)
    called = probability >= 0.4
    expected = [f1_score(truth, called, sample_weight=each) for each in weights]
    found = figures.figures_at(figures.counts_at(truth, probability, 0.4, weights))
    np.testing.assert_allclose(found[:, 3], expected, rtol=0, atol=1e-12)


def test_the_roc_curve_is_scikit_learns() -> None:
    truth, probability = case(1)
    rate, recall, _ = roc_curve(truth, probability, drop_intermediate=False)
    curve = evaluated(truth, probability).observations[0].roc
    np.testing.assert_allclose(curve[0], np.interp(figures.RATES, rate, recall), atol=1e-12)
    assert (curve[1] <= curve[2]).all()


def test_cells_that_are_not_scored_do_not_count() -> None:
    truth, probability = case(0)
    gaps = evaluated(np.append(truth, [np.nan] * 3), np.append(probability, [0.0, 0.5, 1.0])).observations[0]
    whole = evaluated(truth, probability).observations[0]
    assert {name: each.value for name, each in gaps.figures.items()} == pytest.approx(
        {name: each.value for name, each in whole.figures.items()}
    )
    assert [(cost.threshold, cost.found, cost.called) for cost in gaps.costs] == [
        (cost.threshold, cost.found, cost.called) for cost in whole.costs
    ]
    assert (gaps.positives, gaps.negatives) == (whole.positives, whole.negatives)


@pytest.mark.parametrize("recall", [0.01, 0.5, 0.9, 0.95, 1.0])
def test_the_threshold_for_a_recall_reaches_it_and_none_higher_does(recall: float) -> None:
    for seed in range(20):
        truth, probability = case(seed)
        reaching = thresholds(truth, probability, recall)[2]
        assert np.mean(probability[truth == 1] >= reaching) >= recall
        assert np.mean(probability[truth == 1] > reaching) < recall


def test_a_recall_that_is_a_whole_number_of_positives_asks_for_no_more_than_these() -> None:
    truth, probability = np.ones(70), np.linspace(1, 0, 70)
    assert np.sum(probability >= thresholds(truth, probability, 0.7)[2]) == 49


@pytest.mark.parametrize("seed", range(5))
def test_youdens_threshold_is_the_highest_with_the_largest_gap(seed: int) -> None:
    truth, probability = case(seed)
    alarms, recall, cuts = roc_curve(truth, probability, drop_intermediate=False)
    assert thresholds(truth, probability, 0.9)[1] == cuts[np.argmax(recall - alarms)]


@pytest.mark.parametrize("only", [0.0, 1.0, np.nan])
def test_what_one_class_leaves_undefined_is_nan_with_its_interval_and_not_in_the_mean(only: float) -> None:
    truth, probability = case(0)
    found = evaluated(np.stack([truth, np.full(120, only)], axis=1), np.stack([probability, probability], axis=1))
    first, second = found.observations
    for name in ("AUROC", "AUPRC"):
        assert np.isnan([second.figures[name].value, second.figures[name].low, second.figures[name].high]).all()
        assert found.mean[name].value == pytest.approx(first.figures[name].value)
        assert found.mean[name].low == pytest.approx(first.figures[name].low)
    assert math.isnan(second.costs[1].threshold)
    assert math.isnan(second.costs[1].figures["recall"].value)
    assert math.isnan(second.costs[0].figures["recall"].value) == (only != 1)
    assert math.isnan(second.figures["Brier"].value) == math.isnan(only)
    assert np.isnan(second.roc).all()


def test_without_a_call_precision_is_undefined_and_so_are_false_alarms_per_find() -> None:
    cost = evaluated(np.array([1.0, 0.0, 1.0]), np.array([0.1, 0.2, 0.3])).observations[0].costs[0]
    assert (cost.called, cost.missed) == (0, 2)
    assert math.isnan(cost.figures["precision"].value)
    assert math.isnan(cost.alarms_a_find)
    assert cost.figures["F1"].value == 0


def test_the_mean_is_that_of_the_observations_and_its_interval_the_one_that_training_prints() -> None:
    truth, probability = (np.stack(each, axis=1) for each in zip(case(0), case(1), strict=True))
    patients = np.repeat(np.arange(60), 2).astype(str)
    names = ("a", "b")
    found = evaluation(truth, probability, patients, names, 0.9, np.random.default_rng(5), draws=1000)
    assert found.mean["AUROC"] == aurocs(truth, probability[None], patients)[0].mean
    for rule, place in zip(rules(0.9), range(3), strict=True):
        each = [one.costs[place].figures["F1"].value for one in found.observations]
        assert found.mean_at[rule]["F1"].value == pytest.approx(np.mean(each))


def test_draws_taken_in_pieces_are_the_same_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = evaluated(*case(0), draws=50)
    monkeypatch.setattr(figures, "CELLS", 120 * 7)
    pieces = evaluated(*case(0), draws=50)
    for name, estimate in whole.mean.items():
        assert vars(pieces.mean[name]) == pytest.approx(vars(estimate), rel=1e-12)


@pytest.mark.parametrize("right", [True, False])
def test_figures_at_0_and_1_have_intervals_too(right: bool) -> None:
    truth = np.repeat([1.0, 0.0], 30)
    found = evaluated(truth, truth if right else 1 - truth)
    one = found.observations[0]
    shares = {name: one.figures[name] for name in ("AUROC", "AUPRC") if right} | one.costs[0].figures
    shares |= {f"mean {name}": estimate for name, estimate in found.mean_at[".5"].items()}
    for name, estimate in shares.items():
        assert estimate.value in (0, 1), name
        assert 0 <= estimate.low < estimate.high <= 1, name
        assert estimate.high - estimate.low > 0.03, name
    assert (one.roc[2, :-1] > one.roc[1, :-1]).all()
    assert found.mean["AUROC"] == one.figures["AUROC"]


def test_a_recall_of_1_is_as_sure_as_there_are_patients_with_it() -> None:
    truth, patients = np.repeat([1.0, 0.0], 40), np.repeat(np.arange(20), 4).astype(str)
    found = evaluation(truth[:, None], truth[:, None], patients, ["o"], 0.9, np.random.default_rng(0), 20)
    recall = found.observations[0].costs[0].figures["recall"]
    assert recall.low == pytest.approx(10 / (10 + 1.959964**2))  # Wilson's, of 10 patients and not of 40 films


def clustered(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """200 patients with two like films each; log odds are N(1, 1) among positives, N(0, 1) among negatives."""
    positive = rng.random(200) < 0.3
    odds = positive[:, None] + np.sqrt(0.5) * (rng.normal(size=(200, 1)) + rng.normal(size=(200, 2)))
    return np.repeat(positive, 2).astype(float), 1 / (1 + np.exp(-odds.ravel())), np.repeat(np.arange(200), 2)


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    above, spread = 0.841345, 0.760250  # the normal distribution function at 1 and at 1 / sqrt(2)
    called = 0.3 * above + 0.7 * 0.5
    truths = {"recall": above, "precision": 0.3 * above / called, "error rate": 0.3 * (1 - above) + 0.7 * 0.5}
    rng = np.random.default_rng(0)
    held = []
    for _ in range(300):
        truth, probability, patients = clustered(rng)
        found = evaluation(truth[:, None], probability[:, None], patients, ["o"], 0.9, rng, draws=500).observations[0]
        pairs = [(found.figures["AUROC"], spread)]
        pairs += [(found.costs[0].figures[name], value) for name, value in truths.items()]
        held.append([estimate.low <= value <= estimate.high for estimate, value in pairs])
    coverage = np.mean(held, axis=0)
    assert ((coverage > 0.92) & (coverage < 0.98)).all(), coverage


def test_reliability_counts_each_scored_film_once_in_its_tenth() -> None:
    truth = np.array([0, 0, 1, 1, 1, np.nan])
    parts = reliability(truth, np.array([0.0, 0.05, 0.05, 0.95, 1.0, 0.5], dtype=np.float32))
    np.testing.assert_allclose(parts, [[0.1 / 3, 1 / 3, 3], [0.975, 1, 2]], atol=1e-7)


def test_the_name_of_a_rule_has_the_recall_as_it_is_written() -> None:
    assert [rules(recall)[2] for recall in (0.9, 1.0, 0.95)] == ["recall .9", "recall 1", "recall .95"]
