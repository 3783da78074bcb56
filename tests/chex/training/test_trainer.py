import weakref
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from chex.cohort.patients_seen import KEY, parse_provenance
from chex.config import RunConfig
from chex.data import prediction_files
from chex.data.batches import load_batch
from chex.errors import InputError
from chex.models import checkpoint
from chex.models.classifier import Classifier
from chex.runtime import run_folder
from chex.statistics.metrics import auroc
from chex.training.run_data import RunData, load_run_data
from chex.training.run_tables import load_run_tables
from chex.training.trainer import Trainer, TrainingDiverged, TrainingPaused, fit
from chex.uncertainty.policies import POLICIES, TABLE_POLICIES

Make = Callable[..., RunConfig]


def prepared(config: RunConfig) -> RunData:
    return load_run_data(config, load_run_tables(config))


def run(config: RunConfig, folder: Path) -> list[dict[str, float]]:
    return [report.row() for report in fit(config, prepared(config), folder)]


def assert_same(first: list[dict[str, float]], second: list[dict[str, float]]) -> None:
    """All figures but the time are equal to the last bit; undefined ones are undefined in both."""
    tables = [pd.DataFrame(rows).drop(columns="seconds") for rows in (first, second)]
    pd.testing.assert_frame_equal(*tables, check_exact=True)


def test_a_run_learns_a_visible_sign_and_reports_at_equal_distances(make_run: Make, tmp_path: Path) -> None:
    rows = run(make_run({"schedule.epochs": 6, "batches.intensity_jitter": 0.0}), tmp_path / "out")
    assert [(row["step"], row["steps"], int(row["percent"])) for row in rows] == [
        (5, 18, 27),
        (9, 18, 50),
        (14, 18, 77),
        (18, 18, 100),
    ]
    assert rows[-1]["best_auroc"] == max(row["auroc"] for row in rows) > 0.9
    assert rows[-1]["images_seen"] == 18 * 8
    assert rows[-1]["epoch"] == 6
    assert rows[-1]["train_loss"] < rows[0]["train_loss"]


def test_a_checkpoint_holds_the_best_weights_their_predictions_and_the_reports(make_run: Make, tmp_path: Path) -> None:
    rows = run(make_run(), tmp_path)
    _, about = checkpoint.load_weights(tmp_path / run_folder.WEIGHTS)
    known = parse_provenance(tmp_path, {KEY: about.pop(KEY)})
    assert known is not None
    assert [(len(own.trained), len(own.chosen)) for own in known.seen] == [(12, 6)]
    assert about == {
        "backbone": "test_resnet",
        "observations": "Cardiomegaly",
        "multiclass": "",
        "image_size": "32",
        "mean": "0.5",
        "std": "0.5",
        "started_from": "random weights",
        "started_from_sha256": "",
        "resize": "letterbox",
    }
    _, truth, probability = prediction_files.load_predictions(tmp_path / run_folder.PREDICTIONS, ("Cardiomegaly",))
    assert auroc(truth[:, 0], probability[:, 0]) == rows[-1]["best_auroc"] == run_folder.best_auroc(tmp_path)
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / run_folder.REPORTS), pd.DataFrame(rows))


def test_the_same_config_gives_the_same_run_bit_for_bit(make_run: Make, tmp_path: Path) -> None:
    config = make_run({"model.dropout": 0.3})
    first, second = (run(config, tmp_path / name) for name in ("a", "b"))
    assert_same(first, second)
    weights = [checkpoint.load_weights(tmp_path / name / run_folder.WEIGHTS)[0] for name in ("a", "b")]
    assert all(torch.equal(tensor, weights[1][name]) for name, tensor in weights[0].items())


@pytest.mark.parametrize("reports_before_the_end", [1, 2, 3])
def test_a_resumed_run_ends_bit_for_bit_as_one_that_was_not_interrupted(
    make_run: Make, tmp_path: Path, reports_before_the_end: int
) -> None:
    config = make_run({"model.dropout": 0.3})
    whole = run(config, tmp_path / "whole")
    interrupted = fit(config, prepared(config), tmp_path / "cut")
    rows = [next(interrupted).row() for _ in range(reports_before_the_end)]
    interrupted.close()
    torch.manual_seed(99)
    rows += run(config, tmp_path / "cut")
    assert_same(rows, whole)
    ends = [checkpoint.read_state(tmp_path / name, torch.device("cpu")) for name in ("whole", "cut")]
    assert ends[0] is not None
    assert ends[1] is not None
    for name, tensor in ends[0]["model"].items():
        assert torch.equal(tensor, ends[1]["model"][name]), name


def test_a_checkpoint_of_another_config_is_refused(make_run: Make, tmp_path: Path) -> None:
    run(make_run(), tmp_path)
    message = r"state.pt belongs to a run with another config \(optimizer.lr is 0.001 here and 0.003 there\); give"
    with pytest.raises(InputError, match=message):
        run(make_run({"optimizer.lr": 1e-3}), tmp_path)


def test_a_state_without_a_newer_setting_is_resumed(make_run: Make, tmp_path: Path) -> None:
    config = make_run()
    whole = run(config, tmp_path)
    state = checkpoint.read_state(tmp_path, torch.device("cpu"))
    assert state is not None
    lines = [line for line in state["config"].splitlines() if "bn_recalibration_images" not in line]
    checkpoint.save_state(tmp_path, state | {"config": "\n".join(lines)})
    assert run(config, tmp_path) == []
    assert whole


def test_a_loss_that_is_no_number_ends_the_run_with_step_and_rate(make_run: Make, tmp_path: Path) -> None:
    config = make_run({"optimizer.name": "sgd", "optimizer.lr": 10.0, "schedule.warmup_fraction": 0.0})
    message = r"the training loss became (nan|inf) at step \d+ of 6, at a learning rate of \d.*; lower optimizer.lr"
    with pytest.raises(TrainingDiverged, match=message):
        run(_exploding(config), tmp_path)


def _exploding(config: RunConfig) -> RunConfig:
    return config.model_copy(update={"optimizer": config.optimizer.model_copy(update={"lr": 1e30})})


def test_several_observations_are_averaged_where_they_are_defined(make_run: Make, tmp_path: Path) -> None:
    rows = run(make_run({"data.observations": ["Cardiomegaly", "Fracture"]}), tmp_path)
    assert np.isnan(rows[-1]["auroc/Fracture"])
    assert rows[-1]["auroc"] == rows[-1]["auroc/Cardiomegaly"]


def test_on_step_is_called_after_every_step(make_run: Make, tmp_path: Path) -> None:
    config: Any = make_run()
    calls: list[tuple[int, int]] = []
    list(fit(config, prepared(config), tmp_path, lambda done, total: calls.append((done, total))))
    assert calls == [(step, 6) for step in range(1, 7)]


def test_a_row_whose_cells_are_all_ignored_is_not_trained_on(make_run: Make) -> None:
    kept = {policy: len(prepared(make_run({"policy.default": policy})).rows) for policy in ("zeros", "ones", "ignore")}
    assert kept == {"zeros": 24, "ones": 24, "ignore": 20}


@pytest.mark.parametrize(
    "policy",
    [
        "multiclass",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in POLICIES
            if name not in (*TABLE_POLICIES, "multiclass")
        ),
    ],
)
def test_a_run_learns_under_every_policy_and_mixed_ones(make_run: Make, tmp_path: Path, policy: str) -> None:
    mixed = {"data.observations": ["Cardiomegaly", "Edema"], "policy": {"default": "zeros", "Cardiomegaly": policy}}
    rows = run(make_run(mixed | {"schedule.epochs": 6}), tmp_path)
    assert rows[-1]["best_auroc"] == 1
    _, about = checkpoint.load_weights(tmp_path / run_folder.WEIGHTS)
    assert about["multiclass"] == ("Cardiomegaly" if policy == "multiclass" else "")


def test_a_killed_run_under_drawn_targets_resumes_bit_for_bit(make_run: Make, tmp_path: Path) -> None:
    config = make_run({"policy.default": "smoothed_ones", "data.eval_unit": "study"})
    interrupted = fit(config, prepared(config), tmp_path / "cut")
    next(interrupted)
    interrupted.close()
    assert_same(run(config, tmp_path / "cut")[-1:], run(config, tmp_path / "whole")[-1:])


def test_study_scoring_keeps_one_prediction_a_study(make_run: Make, tmp_path: Path) -> None:
    rows = run(make_run({"data.eval_unit": "study"}), tmp_path)
    kept = pd.read_csv(tmp_path / run_folder.PREDICTIONS)
    assert kept["Path"].tolist() == [f"valid/patient{number:05d}/study1" for number in range(101, 107)]
    _, truth, probability = prediction_files.load_predictions(tmp_path / run_folder.PREDICTIONS, ("Cardiomegaly",))
    assert auroc(truth[:, 0], probability[:, 0]) == rows[-1]["best_auroc"]


def test_recalibrating_batch_norm_does_not_change_training(make_run: Make, tmp_path: Path) -> None:
    rows = [run(make_run({"model.bn_recalibration_images": images}), tmp_path / str(images)) for images in (0, 24)]
    assert [row["train_loss"] for row in rows[0]] == [row["train_loss"] for row in rows[1]]
    assert rows[0][0]["valid_loss"] != rows[1][0]["valid_loss"]


@pytest.mark.parametrize("balance", ["none", "oversample", "undersample"])
def test_batch_norm_is_recalibrated_on_rows_drawn_once_per_phase_from_its_training_rows(
    make_run: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, balance: str
) -> None:
    config = make_run({"sampling.balance": balance, "model.bn_recalibration_images": 12, "phases": [{}, {"epochs": 1}]})
    data, taken = prepared(config), list[np.ndarray]()

    def noted(images: np.ndarray, rows: np.ndarray, *how: Any) -> torch.Tensor:
        taken.append(rows)
        return load_batch(images, rows, *how)

    monkeypatch.setattr("chex.training.trainer.load_batch", noted)  # validation has its own
    phases = [report.phase for report in fit(config, data, tmp_path)]
    drawn = np.concatenate(taken).reshape(len(phases), 12)
    assert phases.count(1) > 1
    for number, rows in zip(phases, drawn, strict=True):
        assert rows.tolist() == drawn[phases.index(number)].tolist()
    assert sorted(drawn[0]) != sorted(drawn[-1])
    positive = data.targets.values[:, 0] > 0.5
    assert 0.2 < positive[drawn[0]].mean() < 0.8


@pytest.mark.parametrize(
    "values",
    [
        {"batches.size": 7, "batches.micro_batch_size": 2},
        {"batches.size": 3, "batches.micro_batch_size": 2, "model.final_batch_norm": True},
        {"batches.size": 5, "batches.micro_batch_size": 4, "model.bn_recalibration_images": 9},
        {"batches.size": 4096, "sampling.fraction": 0.13, "batches.micro_batch_size": 2},
    ],
)
def test_no_pass_is_left_with_one_image_that_batch_norm_would_refuse(
    make_run: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, values: dict[str, Any]
) -> None:
    forward, passed = Classifier.forward, list[int]()

    def noted(self: Classifier, images: torch.Tensor) -> torch.Tensor:
        if self.training:
            passed.append(len(images))
        return forward(self, images)

    monkeypatch.setattr(Classifier, "forward", noted)
    rows = run(make_run({"schedule.epochs": 1, "reports": 1} | values), tmp_path)
    assert rows[-1]["percent"] == 100
    assert min(passed) >= 2


def test_a_run_may_be_scored_with_averaged_weights(make_run: Make, tmp_path: Path) -> None:
    plain, averaged = (run(make_run({"model.ema_decay": ema}), tmp_path / f"{ema}") for ema in (0.0, 0.9))
    assert [row["train_loss"] for row in plain] == [row["train_loss"] for row in averaged]
    assert plain[-1]["valid_loss"] != averaged[-1]["valid_loss"]
    assert averaged[-1]["best_auroc"] > 0.9


def test_a_set_momentum_reaches_the_optimizer(make_run: Make, tmp_path: Path) -> None:
    config = make_run({"optimizer.name": "sgd", "optimizer.momentum": 0.7, "schedule.shape": "constant"})
    data = prepared(config)
    training = Trainer(config, data, tmp_path / "run")
    with closing(training.batches()) as batches:
        training.train_step(*next(batches))
    assert {group["momentum"] for group in training.optimizer.param_groups} == {0.7}


def test_gradients_of_micro_batches_are_those_of_the_whole_batch(make_run: Make, tmp_path: Path) -> None:
    config = make_run({"model.backbone": "test_vit", "image.size": 160, "policy.default": "ignore"})  # no batch norm
    small = config.model_copy(update={"batches": config.batches.model_copy(update={"micro_batch_size": 3})})
    first, second = run(config, tmp_path / "whole"), run(small, tmp_path / "parts")
    assert [row["train_loss"] for row in first] == pytest.approx([row["train_loss"] for row in second], rel=1e-3)
    assert [row["micro_batch_size"] for row in first + second] == [8] * 4 + [3] * 4


def test_a_pass_that_does_not_fit_the_memory_is_halved_and_the_report_says_so(
    make_run: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = Classifier.forward

    def small_memory(self: Classifier, images: torch.Tensor) -> torch.Tensor:
        if self.training and len(images) > 4:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(self, images)

    monkeypatch.setattr(Classifier, "forward", small_memory)
    rows = run(make_run({"model.bn_recalibration_images": 4}), tmp_path)
    assert [row["micro_batch_size"] for row in rows] == [4, 4, 4, 4]
    assert [row["images_seen"] for row in rows] == [16, 24, 40, 48]
    assert rows[-1]["best_auroc"] > 0.9


def test_memory_that_never_suffices_ends_the_run(
    make_run: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = list[int]()

    def no_memory(self: Classifier, images: torch.Tensor) -> torch.Tensor:
        tried.append(len(images))
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Classifier, "forward", no_memory)
    message = (
        r"the GPU has too little memory for test_resnet at 32 px, even with the smallest micro-batch \(CUDA out of "
        r"memory\); lower image.size, choose a smaller model.backbone, or in a search raise resources.gpus_per_trial"
    )
    with pytest.raises(InputError, match=message):
        run(make_run(), tmp_path)
    assert tried == [8, 4, 2]


def test_the_memory_of_a_failed_pass_is_freed_before_the_next_one(
    make_run: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward, left, alive = Classifier.forward, list[weakref.ref[torch.Tensor]](), list[bool]()

    def small_memory(self: Classifier, images: torch.Tensor) -> torch.Tensor:
        if self.training and len(images) > 2:
            activations = torch.zeros(3)
            left.append(weakref.ref(activations))
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(self, images)

    monkeypatch.setattr(Classifier, "forward", small_memory)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: alive.append(left[-1]() is not None))
    run(make_run({"model.bn_recalibration_images": 0}), tmp_path)
    assert alive == [False, False]


def test_validation_that_does_not_fit_the_memory_is_done_in_smaller_passes(
    make_run: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward, tried = Classifier.forward, list[int]()
    config = make_run({"model.bn_recalibration_images": 0, "reports": 1})
    whole = run(config, tmp_path / "whole")

    def small_memory(self: Classifier, images: torch.Tensor) -> torch.Tensor:
        if not self.training:
            tried.append(len(images))
            if len(images) > 5:
                raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(self, images)

    monkeypatch.setattr(Classifier, "forward", small_memory)
    rows = run(config, tmp_path / "parts")
    assert tried == [12, 12, 12, 12, 8, 4, 4, 4]  # 128 images at a time, 64, 32, 16, 8 and 4
    assert rows[-1]["valid_loss"] == pytest.approx(whole[-1]["valid_loss"], rel=1e-4)


def test_validation_of_an_image_that_does_not_fit_the_memory_is_refused(
    make_run: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = Classifier.forward

    def no_memory(self: Classifier, images: torch.Tensor) -> torch.Tensor:
        if not self.training:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(self, images)

    monkeypatch.setattr(Classifier, "forward", no_memory)
    message = (
        r"the GPU has too little memory for one image of 32 px at a time \(CUDA out of memory\); use smaller images"
    )
    with pytest.raises(InputError, match=message):
        run(make_run({"model.bn_recalibration_images": 0}), tmp_path)


@pytest.mark.parametrize("damage", [lambda content: content[:-100], lambda content: content[:50] + b"x" + content[51:]])
def test_a_damaged_checkpoint_is_replaced_by_the_one_before(
    make_run: Make, tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    config = make_run()
    whole = run(config, tmp_path / "whole")
    cut = fit(config, prepared(config), tmp_path / "cut")
    rows = [next(cut).row() for _ in range(3)]
    cut.close()
    state = tmp_path / "cut" / run_folder.STATE
    state.write_bytes(damage(state.read_bytes()))
    assert_same(rows[:2] + run(config, tmp_path / "cut"), whole)


def test_a_run_that_is_asked_to_pause_saves_where_it_is_and_goes_on_from_there(make_run: Make, tmp_path: Path) -> None:
    config = make_run({"reports": 2, "model.ema_decay": 0.5})
    whole = run(config, tmp_path / "whole")
    rows, pauses = [], 0
    while not rows or rows[-1]["percent"] < 100:
        try:
            for report in fit(config, prepared(config), tmp_path / "cut", should_pause=lambda: True):
                rows.append(report.row())
        except TrainingPaused:
            pauses += 1
    assert pauses == 4  # after each step but those that end with a report
    assert_same(rows, whole)


def test_a_full_disk_leaves_the_checkpoint_before(
    make_run: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_run()
    cut = fit(config, prepared(config), tmp_path / "cut")
    next(cut)
    before = checkpoint.read_state(tmp_path / "cut", torch.device("cpu"))

    def full(self: Path, content: bytes) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(OSError, match="No space left"):
            list(cut)
    after = checkpoint.read_state(tmp_path / "cut", torch.device("cpu"))
    assert before is not None
    assert after is not None
    assert before["progress"] == after["progress"]
    assert run(config, tmp_path / "cut")[-1]["percent"] == 100
