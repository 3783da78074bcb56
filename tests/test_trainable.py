import errno
import gc
import math
import re
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from queue import Queue
from typing import Any

import pandas as pd
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
from search.export import drop_state
from search.trainable import HALT, train_trial, trial_config

Make = Callable[..., RunConfig]


@pytest.fixture
def reported(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What a trial tells Tune, without Tune."""
    heard: list[dict[str, Any]] = []
    monkeypatch.setattr(tune, "report", heard.append)
    return heard


@pytest.fixture
def trial(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """A trial of these knobs, as Tune hands it to its process."""
    return lambda knobs=None: {"number": 1, "knobs": knobs or {}, "folder": str(tmp_path / "trials" / "001")}


def test_a_trial_reports_every_report_of_its_run(make_run: Make, reported: list[dict[str, Any]], trial: Make) -> None:
    train_trial(trial({"schedule.epochs": 4}), make_run().model_dump(mode="json"), share=0)
    assert [row["percent"] for row in reported] == [25, 50, 75, 100]
    assert reported[-1][METRIC] == max(row["auroc"] for row in reported)


def test_a_trial_that_is_started_again_says_what_it_had_and_trains_only_the_rest(
    make_run: Make, reported: list[dict[str, Any]], trial: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = make_run({"schedule.epochs": 4}).model_dump(mode="json")

    def dies(row: dict[str, Any]) -> None:
        reported.append(row)
        if row["percent"] == 50:
            raise ConnectionError

    with monkeypatch.context() as first:
        first.setattr(tune, "report", dies)
        with pytest.raises(ConnectionError):
            train_trial(trial(), base, share=0)
    before, steps = list(reported), list[int]()
    train = loop.Training.train_step
    monkeypatch.setattr(
        loop.Training, "train_step", lambda run, *how: (steps.append(run.progress.step), train(run, *how))
    )
    reported.clear()
    train_trial(trial(), base, share=0)
    assert [row["percent"] for row in reported] == [25, 50, 75, 100]
    assert reported[:2] == before
    assert min(steps) == max(steps) + 1 - len(steps) > 0


def test_a_trial_killed_before_its_state_was_written_makes_that_report_again(
    make_run: Make, reported: list[dict[str, Any]], trial: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    base = make_run({"schedule.epochs": 4}).model_dump(mode="json")
    save = loop.checkpoint.save_state

    def dies(folder: Path, state: dict[str, Any]) -> None:
        if len(state["rows"]) == 2:
            raise ConnectionError
        save(folder, state)

    with monkeypatch.context() as first:
        first.setattr(loop.checkpoint, "save_state", dies)
        with pytest.raises(ConnectionError):
            train_trial(trial(), base, share=0)
    reported.clear()
    train_trial(trial(), base, share=0)
    written = pd.read_csv(tmp_path / "trials" / "001" / "reports.csv")
    assert [row["seconds"] for row in reported] == written["seconds"].tolist()
    assert len(reported) == 4


def test_a_trial_killed_before_its_last_report_was_heard_tells_it_and_trains_nothing(
    make_run: Make, reported: list[dict[str, Any]], trial: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    base = make_run().model_dump(mode="json")
    train_trial(trial(), base, share=0)
    before, steps = list(reported), list[int]()
    monkeypatch.setattr(loop.Training, "train_step", lambda run, *how: steps.append(run.progress.step))
    reported.clear()

    def tidied(row: dict[str, Any]) -> None:
        reported.append(row)
        if row["percent"] == 100:  # a search removes what an ended trial no longer needs
            drop_state(tmp_path / "trials" / "001")

    monkeypatch.setattr(tune, "report", tidied)
    train_trial(trial(), base, share=0)
    assert reported == before
    assert steps == []


def test_a_full_disk_halts_the_search_and_is_not_the_trials_failure(
    make_run: Make, reported: list[dict[str, Any]], trial: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*what: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(loop.checkpoint, "save_state", full)
    train_trial(trial(), make_run().model_dump(mode="json"), share=0)
    assert len(reported) == 1
    assert re.fullmatch(
        r".*/trials/001 cannot be written \(No space left on device\); make room there", reported[0][HALT]
    )


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
    make_run: Make, reported: list[dict[str, Any]], trial: Make, sample: dict[str, Any], why: str
) -> None:
    train_trial(trial(sample), make_run().model_dump(mode="json"), share=0)
    assert len(reported) == 1
    assert math.isnan(reported[0][METRIC])
    assert why in reported[0]["failure"]


def test_a_trial_whose_share_of_the_memory_never_suffices_fails_with_its_reason(
    make_run: Make, reported: list[dict[str, Any]], trial: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_memory(self: Classifier, films: torch.Tensor) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Classifier, "forward", no_memory)
    train_trial(trial(), make_run().model_dump(mode="json"), share=0)
    assert len(reported) == 1
    assert "the GPU's memory does not suffice for test_resnet at 32 px" in reported[0]["failure"]


def test_a_trial_is_held_to_its_share_before_it_touches_anything(
    make_run: Make, reported: list[dict[str, Any]], trial: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[Any] = []
    monkeypatch.setattr(trainable, "hold_to_share", order.append)
    monkeypatch.setattr(trainable, "select", lambda config: order.append("select") or select(config))
    train_trial(trial(), make_run().model_dump(mode="json"), share=0.25)
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
    make_run: Make,
    reported: list[dict[str, Any]],
    trial: Make,
    monkeypatch: pytest.MonkeyPatch,
    hear: Callable[..., None],
) -> None:
    models, build = list[weakref.ref[Classifier]](), loop.build_model
    alive_at_the_end = list[bool]()

    def watched(*how: Any) -> Classifier:
        model = build(*how)
        models.append(weakref.ref(model))
        return model

    def report(row: dict[str, Any]) -> None:
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
        thread = RunnerThread(target=lambda: train_trial(trial(), base, share=0), error_queue=errors)
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
