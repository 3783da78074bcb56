import math

import numpy as np
import pytest

from chex.statistics.metrics import METRIC
from search.monitor.tensorboard_summaries import METRICS, TAGS, THRESHOLDS, pr_curve, scalars_summary, tag
from search.trials.trial import METRIC_COLUMNS


def test_every_metric_of_a_report_has_a_tag_or_is_the_step() -> None:
    assert set(TAGS) == set(METRIC_COLUMNS) - {"images_seen", "step", "steps"}
    assert len(set(TAGS.values())) == len(TAGS)
    assert set(METRICS) <= set(TAGS)
    assert next(iter(METRICS)) == METRIC


@pytest.mark.parametrize(
    ("figure", "expected"),
    [
        ("auroc", "AUROC/mean"),
        ("auroc/Pleural Effusion", "AUROC by observation/Pleural Effusion"),
        ("error_rate/Edema", "error rate by observation/Edema"),
        ("train_loss", "loss/train"),
    ],
)
def test_tags_are_words(figure: str, expected: str) -> None:
    assert tag(figure) == expected


def test_undefined_values_and_other_entries_are_not_scalars() -> None:
    report = {"auroc": 0.8, "recall": math.nan, "images_seen": 100, "train_loss": math.inf, "done": True}
    assert [value.tag for value in scalars_summary(report).value] == ["AUROC/mean"]


def test_a_pr_curve_counts_predictions_at_each_threshold() -> None:
    truth, probability = np.array([1, 1, 0, 0, np.nan]), np.array([0.9, 0.3, 0.6, 0.1, 0.99])
    curve = pr_curve(truth, probability)
    tp, fp, tn, fn, precision, recall = curve[:, THRESHOLDS == 0.5].ravel()
    assert (tp, fp, tn, fn) == (1, 1, 1, 1)
    assert (precision, recall) == (0.5, 0.5)
    assert curve[:, 0].tolist() == [2, 2, 0, 0, 0.5, 1]
    assert curve[:, -1].tolist() == [0, 0, 2, 2, 0, 0]


def test_a_pr_curve_without_positives_has_no_recall() -> None:
    assert (pr_curve(np.zeros(3), np.array([0.1, 0.5, 0.9]))[5] == 0).all()
