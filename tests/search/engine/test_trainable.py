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

from chex.config import RunConfig
from chex.models.classifier import Classifier
from chex.runtime import gpu_memory
from chex.statistics.metrics import METRIC
from chex.training import trainer
from chex.training.run_tables import load_run_tables
from search.engine import trainable
from search.engine.trainable import run_trial
from search.trials.artifacts import delete_checkpoints, trial_config
from search.trials.trial import HALT

Make = Callable[..., RunConfig]


@pytest.fixture
def trial(tmp_path: Path) -> Callable[..., tuple[dict[str, Any], Path]]:
    """The parameters and the folder of a trial."""
    return lambda params=None: (params or {}, tmp_path / "trials" / "001")


def test_a_trial_reports_every_report_of_its_run(make_run: Make, reported: list[dict[str, Any]], trial: Make) -> None:
    run_trial(*trial({"schedule.epochs": 4}), make_run().model_dump(mode="json"), share=0)
    assert [row["percent"] for row in reported] == [25, 50, 75, 100]
    assert reported[-1][METRIC] == max(row["auroc"] for row in reported)


def test_a_restarted_trial_reports_what_it_had_and_trains_only_the_rest(
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
            run_trial(*trial(), base, share=0)
    before, steps = list(reported), list[int]()
    train = trainer.Trainer.train_step
    monkeypatch.setattr(
        trainer.Trainer, "train_step", lambda run, *how: (steps.append(run.progress.step), train(run, *how))
    )
    reported.clear()
    run_trial(*trial(), base, share=0)
    assert [row["percent"] for row in reported] == [25, 50, 75, 100]
    assert reported[:2] == before
    assert min(steps) == max(steps) + 1 - len(steps) > 0


def test_a_trial_killed_before_its_state_was_written_makes_that_report_again(
    make_run: Make, reported: list[dict[str, Any]], trial: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    base = make_run({"schedule.epochs": 4}).model_dump(mode="json")
    save = trainer.checkpoint.save_state

    def dies(folder: Path, state: dict[str, Any]) -> None:
        if len(state["rows"]) == 2:
            raise ConnectionError
        save(folder, state)

    with monkeypatch.context() as first:
        first.setattr(trainer.checkpoint, "save_state", dies)
        with pytest.raises(ConnectionError):
            run_trial(*trial(), base, share=0)
    reported.clear()
    run_trial(*trial(), base, share=0)
    written = pd.read_csv(tmp_path / "trials" / "001" / "reports.csv")
    assert [row["seconds"] for row in reported] == written["seconds"].tolist()
    assert len(reported) == 4


def test_a_trial_killed_before_its_last_report_was_received_reports_it_and_trains_nothing(
    make_run: Make, reported: list[dict[str, Any]], trial: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    base = make_run().model_dump(mode="json")
    run_trial(*trial(), base, share=0)
    before, steps = list(reported), list[int]()
    monkeypatch.setattr(trainer.Trainer, "train_step", lambda run, *how: steps.append(run.progress.step))
    reported.clear()

    def tidied(row: dict[str, Any]) -> None:
        reported.append(row)
        if row["percent"] == 100:  # a search removes what an ended trial no longer needs
            delete_checkpoints(tmp_path / "trials" / "001")

    monkeypatch.setattr(tune, "report", tidied)
    run_trial(*trial(), base, share=0)
    assert reported == before
    assert steps == []


def test_a_full_disk_halts_the_search_and_does_not_fail_the_trial(
    make_run: Make, reported: list[dict[str, Any]], trial: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*what: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(trainer.checkpoint, "save_state", full)
    run_trial(*trial(), make_run().model_dump(mode="json"), share=0)
    assert len(reported) == 1
    assert re.fullmatch(
        r".*/trials/001 cannot be written \(No space left on device\); free disk space there", reported[0][HALT]
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
    run_trial(*trial(sample), make_run().model_dump(mode="json"), share=0)
    assert len(reported) == 1
    assert math.isnan(reported[0][METRIC])
    assert why in reported[0]["failure"]


def test_a_trial_with_too_little_gpu_memory_fails_with_its_reason(
    make_run: Make, reported: list[dict[str, Any]], trial: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_memory(self: Classifier, images: torch.Tensor) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Classifier, "forward", no_memory)
    run_trial(*trial(), make_run().model_dump(mode="json"), share=0)
    assert len(reported) == 1
    assert "the GPU has too little memory for test_resnet at 32 px" in reported[0]["failure"]


def test_a_trials_memory_is_limited_before_it_does_anything(
    make_run: Make, reported: list[dict[str, Any]], trial: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[Any] = []
    monkeypatch.setattr(trainable, "limit_gpu_memory", order.append)
    monkeypatch.setattr(trainable, "load_run_tables", lambda config: order.append("select") or load_run_tables(config))
    run_trial(*trial(), make_run().model_dump(mode="json"), share=0.25)
    assert order == [0.25, "select"]


def stopped(row: dict[str, Any]) -> None:
    """Ray's way of ending a trial: out of the call that reports."""
    raise SystemExit(0)


def failing(row: dict[str, Any]) -> None:
    raise ConnectionError("a report that did not arrive")


def diverged(row: dict[str, Any]) -> None:
    if "failure" not in row:
        raise trainer.TrainingDiverged("the loss is no number")


@pytest.mark.parametrize("callback", [lambda row: None, stopped, failing, diverged])
def test_an_ended_trial_leaves_neither_model_nor_reader_in_its_process(
    make_run: Make,
    reported: list[dict[str, Any]],
    trial: Make,
    monkeypatch: pytest.MonkeyPatch,
    callback: Callable[..., None],
) -> None:
    models, build = list[weakref.ref[Classifier]](), trainer.build_model
    alive_at_the_end = list[bool]()

    def watched(*how: Any) -> Classifier:
        model = build(*how)
        models.append(weakref.ref(model))
        return model

    def report(row: dict[str, Any]) -> None:
        if "failure" in row:
            alive_at_the_end.append(models[0]() is not None)
        callback(row)

    def free() -> None:
        freeing()
        gone.append(models[0]() is None)

    gone, freeing = list[bool](), gpu_memory._free
    monkeypatch.setattr(gpu_memory, "_free", free)
    monkeypatch.setattr(trainer, "build_model", watched)
    monkeypatch.setattr(tune, "report", report)
    errors: Queue[BaseException] = Queue()
    base = make_run().model_dump(mode="json")
    gc.disable()
    try:
        # the thread in which Ray runs a trial, whose errors it keeps
        thread = RunnerThread(target=lambda: run_trial(*trial(), base, share=0), error_queue=errors)
        thread.start()
        thread.join()
        assert len(models) == 1
        assert models[0]() is None
        assert gone == [True]  # so that what is given back to the GPU is the model's memory too
    finally:
        gc.enable()
    assert [type(error) for error in errors.queue] == ([ConnectionError] if callback is failing else [])
    assert alive_at_the_end == ([False] if callback is diverged else [])
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("reader")]
