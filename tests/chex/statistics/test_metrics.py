import math

import numpy as np
import pytest
from sklearn.metrics import precision_score, recall_score, roc_auc_score

from chex.statistics.metrics import auroc, nanmean, observation_scores, weighted_auroc


def case(seed: int, count: int = 80) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = (rng.random(count) < 0.3).astype(float)
    return truth, np.round(np.clip(0.3 * truth + rng.random(count) * 0.7, 0, 1), 2)


@pytest.mark.parametrize("seed", range(5))
def test_metrics_agree_with_scikit_learn(seed: int) -> None:
    truth, probability = case(seed)
    found = observation_scores(truth, probability)
    assert found.auroc == pytest.approx(roc_auc_score(truth, probability), abs=1e-9)
    assert found.recall == pytest.approx(recall_score(truth, probability >= 0.5), abs=1e-9)
    assert found.precision == pytest.approx(precision_score(truth, probability >= 0.5), abs=1e-9)
    assert found.error_rate == pytest.approx(np.mean((probability >= 0.5) != truth), abs=1e-9)


def test_cells_that_are_not_scored_do_not_count() -> None:
    truth, probability = case(0)
    with_gaps = np.append(truth, [np.nan, np.nan])
    assert observation_scores(with_gaps, np.append(probability, [0.0, 1.0])) == observation_scores(truth, probability)


def test_one_class_leaves_auroc_undefined_and_the_mean_skips_it() -> None:
    assert math.isnan(auroc(np.zeros(5), np.linspace(0, 1, 5)))
    assert nanmean([0.5, float("nan"), 0.7]) == pytest.approx(0.6)
    assert math.isnan(nanmean([float("nan")]))


def test_precision_needs_predicted_positives_and_recall_needs_positives() -> None:
    assert math.isnan(observation_scores(np.array([1.0, 0.0]), np.array([0.1, 0.2])).precision)
    assert math.isnan(observation_scores(np.array([0.0, 0.0]), np.array([0.1, 0.9])).recall)


def test_the_weighted_auroc_agrees_with_scikit_learn_on_ties_and_weights() -> None:
    truth, probability = case(3)
    weights = np.random.default_rng(0).integers(0, 4, size=(20, len(truth))).astype(float)
    found = weighted_auroc(truth, np.round(probability, 1), weights)
    expected = [roc_auc_score(truth, np.round(probability, 1), sample_weight=each) for each in weights]
    np.testing.assert_allclose(found, expected, atol=1e-12)
