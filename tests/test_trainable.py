import math
from collections.abc import Callable
from typing import Any

import pytest
from ray import tune

from chex.config import RunConfig
from chex.metrics import METRIC
from search.trainable import train_trial, trial_config

Make = Callable[..., RunConfig]


@pytest.fixture
def reported(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What a trial tells Tune, without Tune."""
    heard: list[dict[str, Any]] = []
    monkeypatch.setattr(tune, "get_checkpoint", lambda: None)
    monkeypatch.setattr(tune, "report", lambda row, checkpoint=None: heard.append(row))
    return heard


def test_a_trial_reports_every_report_of_its_run(make_run: Make, reported: list[dict[str, Any]]) -> None:
    train_trial({"schedule.epochs": 4}, make_run().model_dump(mode="json"))
    assert [row["percent"] for row in reported] == [25, 50, 75, 100]
    assert reported[-1][METRIC] == max(row["auroc"] for row in reported)


def test_a_sample_is_laid_over_the_base(make_run: Make) -> None:
    run = trial_config(make_run().model_dump(mode="json"), {"policy.Edema": "ones", "optimizer.lr": 1e-4})
    assert {key: str(policy) for key, policy in run.policy.items()} == {"default": "zeros", "Edema": "ones"}
    assert run.optimizer.lr == 1e-4


@pytest.mark.parametrize(
    ("sample", "why"),
    [
        ({"sampling.fraction": 0.01}, "sampling.fraction: 0.01 of 24 training rows leaves 0"),
        ({"data.observations": "Fracture"}, "AUROC is undefined for Fracture"),
    ],
)
def test_a_trial_that_cannot_give_a_result_fails_with_its_reason(
    make_run: Make, reported: list[dict[str, Any]], sample: dict[str, Any], why: str
) -> None:
    train_trial(sample, make_run().model_dump(mode="json"))
    assert len(reported) == 1
    assert math.isnan(reported[0][METRIC])
    assert why in reported[0]["failure"]
