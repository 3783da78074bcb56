import gc
import math
import threading
import weakref
from collections.abc import Callable
from queue import Queue
from typing import Any

import pytest
import torch
from ray import tune
from ray.air._internal.util import RunnerThread

from chex import loop, memory
from chex.config import RunConfig
from chex.metrics import METRIC
from chex.model import Classifier
from chex.prepare import select
from search import trainable
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
    train_trial({"schedule.epochs": 4}, make_run().model_dump(mode="json"), share=0)
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
    train_trial(sample, make_run().model_dump(mode="json"), share=0)
    assert len(reported) == 1
    assert math.isnan(reported[0][METRIC])
    assert why in reported[0]["failure"]


def test_a_trial_whose_share_of_the_memory_never_suffices_fails_with_its_reason(
    make_run: Make, reported: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_memory(self: Classifier, films: torch.Tensor) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Classifier, "forward", no_memory)
    train_trial({}, make_run().model_dump(mode="json"), share=0)
    assert len(reported) == 1
    assert "the GPU's memory does not suffice for test_resnet at 32 px" in reported[0]["failure"]


def test_a_trial_is_held_to_its_share_before_it_touches_anything(
    make_run: Make, reported: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[Any] = []
    monkeypatch.setattr(trainable, "hold_to_share", order.append)
    monkeypatch.setattr(trainable, "select", lambda config: order.append("select") or select(config))
    train_trial({}, make_run().model_dump(mode="json"), share=0.25)
    assert order == [0.25, "select"]


def stopped(row: dict[str, Any]) -> None:
    """Ray's way of ending a trial: out of the call that reports."""
    raise SystemExit(0)


def failing(row: dict[str, Any]) -> None:
    raise ConnectionError("a report that did not arrive")


def diverged(row: dict[str, Any]) -> None:
    if "failure" not in row:
        raise loop.Diverged("the loss is no number")


@pytest.mark.parametrize("hear", [lambda row: None, stopped, failing, diverged])
def test_a_trial_leaves_neither_its_model_nor_its_reader_in_its_process_however_it_ends(
    make_run: Make, reported: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, hear: Callable[..., None]
) -> None:
    models, build = list[weakref.ref[Classifier]](), loop.build_model
    alive_at_the_end = list[bool]()

    def watched(*how: Any) -> Classifier:
        model = build(*how)
        models.append(weakref.ref(model))
        return model

    def report(row: dict[str, Any], checkpoint: Any = None) -> None:
        if "failure" in row:
            alive_at_the_end.append(models[0]() is not None)
        hear(row)

    def free() -> None:
        freeing()
        gone.append(models[0]() is None)

    gone, freeing = list[bool](), memory._free
    monkeypatch.setattr(memory, "_free", free)
    monkeypatch.setattr(loop, "build_model", watched)
    monkeypatch.setattr(tune, "report", report)
    errors: Queue[BaseException] = Queue()
    base = make_run().model_dump(mode="json")
    gc.disable()
    try:
        # the thread in which Ray runs a trial, whose errors it keeps
        thread = RunnerThread(target=lambda: train_trial({}, base, share=0), error_queue=errors)
        thread.start()
        thread.join()
        assert len(models) == 1
        assert models[0]() is None
        assert gone == [True]  # so that what is given back to the GPU is the model's memory too
    finally:
        gc.enable()
    assert [type(error) for error in errors.queue] == ([ConnectionError] if hear is failing else [])
    assert alive_at_the_end == ([False] if hear is diverged else [])
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("reader")]
