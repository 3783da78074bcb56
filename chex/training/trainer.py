"""Trains one run as a generator of reports, without a logger, a console or a search."""

import math
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch.optim.swa_utils import AveragedModel

from chex.cohort.patients_seen import KEY, dump_provenance
from chex.config import RunConfig
from chex.data import prediction_files
from chex.data.batches import augment, load_batch, random_batches, split_micro_batches
from chex.data.data_config import batch_size
from chex.data.prefetch import prefetch
from chex.errors import InputError
from chex.models import checkpoint
from chex.models.batch_norm import recalibrate_batch_norm
from chex.models.classifier import Classifier, build_model
from chex.models.ema import averaged_model
from chex.models.heads import HeadLayout
from chex.models.inference import predict
from chex.models.layer_groups import freeze, layer_groups, train_mode
from chex.models.loss import masked_loss
from chex.optimization.lr_schedule import lr_and_momentum
from chex.optimization.optimizer import build_optimizer, layer_lrs, set_lr
from chex.runtime import atomic_io, run_folder
from chex.runtime.device import autocast, gradient_scaler, pick_device
from chex.runtime.rng import rng_for, seed_for
from chex.statistics.metrics import Scores, nanmean, observation_scores
from chex.training.report import Report
from chex.training.resume import config_fingerprint, load_state
from chex.training.run_data import RunData
from chex.training.run_tables import provenance
from chex.training.training_plan import PhaseSteps, TrainingPlan

FLUSH_EVERY = 16
"""The losses of this many steps are read from the device together, because each read waits for the device."""
MIN_MICRO_BATCH = 2
"""Batch norm cannot be trained on a single image."""

OnStep = Callable[[int, int], None]
"""A function that is called with (steps done, steps in total)."""

ShouldPause = Callable[[], bool]
"""A function that is called after each step without a report. If it returns True, the run is saved and stops."""

BatchTargets = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
"""The fields of Targets (values, weights, uncertain_class) for a batch, each (B, K)."""


class TrainingDiverged(RuntimeError):
    """The training or validation loss is infinite or NaN."""


class TrainingPaused(Exception):
    """The run was asked to stop; its folder has all that a resume needs."""


def fit(
    config: RunConfig,
    data: RunData,
    folder: Path,
    on_step: OnStep | None = None,
    should_pause: ShouldPause = lambda: False,
) -> Generator[Report, None, None]:
    """Trains a run, and yields its reports: `config.reports` at equal distances, and one at the end of each phase.

    `folder` has the checkpoint of each report before the report is yielded (see chex.models.checkpoint); a run resumes
    from the checkpoint that it finds there. Close the generator if it is not exhausted, to end its thread and free
    its memory. Raises InputError for a checkpoint of another config or of other data and for a GPU with too little
    memory, TrainingPaused where `should_pause` returns True, and TrainingDiverged for a loss that is not finite.
    """
    with oom_as_input_error(config):
        yield from _train(Trainer(config, data, folder), on_step, should_pause)


def _train(trainer: "Trainer", on_step: OnStep | None, should_pause: ShouldPause) -> Iterator[Report]:
    with closing(trainer.batches()) as batches:
        while trainer.progress.step < trainer.plan.steps:
            started = time.monotonic()
            trainer.train_step(*next(batches))
            trainer.progress.seconds += time.monotonic() - started
            if on_step:
                on_step(trainer.progress.step, trainer.plan.steps)
            if trainer.progress.step in trainer.report_steps:
                yield trainer.report()
            elif should_pause():
                trainer.save()
                raise TrainingPaused


def check_resumable(config: RunConfig, data: RunData, folder: Path) -> None:
    """Raises InputError where `folder` has the state of a run with another config, or on other data."""
    load_state(folder, config, data, torch.device("cpu"))


@contextmanager
def oom_as_input_error(config: RunConfig) -> Iterator[None]:
    """Converts a CUDA out-of-memory error inside the block to InputError."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise InputError(
            f"the GPU has too little memory for {config.model.backbone} at {config.image.size} px, even with the "
            f"smallest micro-batch ({error}); lower image.size, choose a smaller model.backbone, or in a search raise "
            "resources.gpus_per_trial"
        ) from error


@dataclass
class _Progress:
    """The counters of a run. The saved state has them under these names."""

    micro: int
    """The current micro-batch size."""
    step: int = 0
    """Steps that are done."""
    images_seen: int = 0
    seconds: float = 0.0
    best_auroc: float = -math.inf
    loss_sum: float = 0.0
    """The sum of the training losses since the last report."""
    losses: int = 0
    """How many losses are in the sum."""


class Trainer:
    """The state of one run: its model, optimizer and progress."""

    config: RunConfig
    data: RunData
    folder: Path
    device: torch.device
    batch_size: int
    plan: TrainingPlan
    report_steps: set[int]
    """For each report, the number of steps that are done."""
    model: Classifier
    layer_groups: list[list[torch.nn.Parameter]]
    forward: Callable[[torch.Tensor], torch.Tensor]
    """The model, compiled where the config asks for it."""
    scaler: torch.amp.GradScaler
    optimizer: torch.optim.Optimizer
    """The optimizer of the current phase; unset before the first step of a run that is not resumed inside a phase."""
    ema: AveragedModel | None
    """The averaged weights of the current phase, which are scored; None without `model.ema_decay`."""
    progress: _Progress
    loss: torch.Tensor
    """The training loss of the last step, a scalar on the device."""
    unread_losses: list[torch.Tensor]
    """The losses of the last steps, which have not been read from the device yet."""
    report_rows: list[dict[str, float]]
    """The reports so far, as rows of reports.csv."""
    probabilities: dict[int, np.ndarray]
    """The probabilities (U, K) of each report, by the number of images seen until then."""

    def __init__(self, config: RunConfig, data: RunData, folder: Path):
        self.config, self.data, self.folder = config, data, folder
        self.device = pick_device(config.device)
        self.batch_size = batch_size(config.batches)
        self.plan = TrainingPlan(config.resolved_phases(), data.samples, self.batch_size, config.seed)
        self.report_steps = self.plan.report_steps(config.reports)
        self.model = build_model(config.model, data.outputs.count, config.seed).to(self.device)
        self.layer_groups = layer_groups(self.model)
        for phase in self.plan.phases:
            freeze(self.layer_groups, phase.phase.freeze)  # raises for a depth that the model does not have
        self.forward = torch.compile(self.model) if config.model.compile else self.model
        self.scaler = gradient_scaler(config.device, self.device)
        self.ema = None
        self.progress = _Progress(micro=config.batches.micro_batch_size or self.batch_size)
        self.loss, self.unread_losses = torch.zeros(()), []
        self.report_rows, self.probabilities = [], {}
        folder.mkdir(parents=True, exist_ok=True)
        self._resume()

    def batches(self) -> Generator[tuple[np.ndarray, torch.Tensor], None, None]:
        """Yields the rows (B,) and normalized images (B, 1, H, W) of each remaining step. The caller must close it."""
        rows = self.plan.batches_from(self.progress.step)
        return prefetch(self.data.images, rows, self.model.normalization, self.device)

    def train_step(self, rows: np.ndarray, images: torch.Tensor, factor: float | None = None) -> None:
        """Takes one step on the normalized `images` of `rows`.

        The learning rate is that of the schedule, or `factor` times the peak of the phase.
        """
        step, phase = self.progress.step, self.plan.phase_at(self.progress.step)
        if step == phase.first:
            self._start_phase(phase)
        scheduled, momentum = lr_and_momentum(
            phase.phase.shape, phase.progress(step), phase.phase.warmup_fraction, self.config.optimizer.momentum
        )
        set_lr(self.optimizer, scheduled if factor is None else factor, momentum)
        black = self.model.normalization.black
        augmented = augment(images, black, self.config.batches, self.config.seed, step)
        self._optimizer_step(augmented, self._batch_targets(rows))
        if self.ema:
            self.ema.update_parameters(self.model)
        self.progress.step, self.progress.images_seen = step + 1, self.progress.images_seen + len(rows)
        if len(self.unread_losses) == FLUSH_EVERY:
            self._flush_losses()

    def last_loss(self) -> float:
        """Returns the loss of the last step. Raises TrainingDiverged where it is not finite."""
        self._flush_losses()
        return float(self.loss)

    def _start_phase(self, phase: PhaseSteps) -> None:
        """Freezes layers and makes the optimizer and the averaged model of `phase`."""
        freeze(self.layer_groups, phase.phase.freeze)
        lrs = layer_lrs(phase.phase.lr_stem, phase.phase.lr, len(self.layer_groups))
        self.optimizer = build_optimizer(self.layer_groups, lrs, self.config.optimizer)
        self.ema = averaged_model(self.model, self.config.model.ema_decay) if self.config.model.ema_decay else None

    def _optimizer_step(self, images: torch.Tensor, targets: BatchTargets) -> None:
        """Takes one optimizer step. Out of memory, it halves the micro-batch size, retries, and keeps the new size."""
        while not self._try_backward(images, targets):
            self.progress.micro //= 2
            torch.cuda.empty_cache()
        self.unread_losses.append(self.loss)
        self.scaler.step(self.optimizer)
        self.scaler.update()

    def _try_backward(self, images: torch.Tensor, targets: BatchTargets) -> bool:
        """Accumulates the gradients. Returns False out of memory, or raises at the smallest micro-batch."""
        try:
            self.optimizer.zero_grad(set_to_none=True)
            self.loss = self._forward_backward(images, targets)
        except torch.OutOfMemoryError:  # the error keeps the failed pass in memory until this function returns
            if self.progress.micro < 2 * MIN_MICRO_BATCH:
                raise
            return False
        return True

    def _forward_backward(self, images: torch.Tensor, targets: BatchTargets) -> torch.Tensor:
        """Accumulates the gradients of the batch over its micro-batches, and returns its loss."""
        train_mode(self.model)
        torch.manual_seed(seed_for(self.config.seed, "dropout", self.progress.step))
        total_weight = targets[1].sum()
        loss = torch.zeros((), device=self.device)
        for piece in split_micro_batches(len(images), self.progress.micro):
            with autocast(self.config.device, self.device):
                raw = self.forward(images[piece])
            values, weights, uncertain_class = (each[piece] for each in targets)
            part = masked_loss(raw, self.data.outputs, values, weights, uncertain_class, total_weight)
            self.scaler.scale(part).backward()  # type: ignore[no-untyped-call]
            loss += part.detach()
        return loss

    def _batch_targets(self, rows: np.ndarray) -> BatchTargets:
        targets = self.data.targets
        chosen = targets.values[rows], targets.weights[rows], targets.uncertain_class[rows]
        values, weights, uncertain_class = (torch.from_numpy(each).to(self.device) for each in chosen)
        return values, weights, uncertain_class

    def _flush_losses(self) -> None:
        """Reads the unread losses from the device. Raises TrainingDiverged for a loss that is not finite."""
        first = self.progress.step - len(self.unread_losses)
        losses = torch.stack(self.unread_losses).tolist() if self.unread_losses else []
        for number, loss in enumerate(losses, start=1):
            self.progress.loss_sum += self._check_finite(loss, "training", first + number)
            self.progress.losses += 1
        self.unread_losses = []

    def _check_finite(self, loss: float, kind: str, step: int) -> float:
        if math.isfinite(loss):
            return loss
        lr = self.optimizer.param_groups[-1]["lr"]
        raise TrainingDiverged(
            f"the {kind} loss became {loss} at step {step} of {self.plan.steps}, "
            f"at a learning rate of {lr:.3g}; lower optimizer.lr"
        )

    def report(self) -> Report:
        """Scores the validation split, writes the checkpoint and returns the report."""
        started = time.monotonic()
        self._flush_losses()
        model = self.ema.module if self.ema else self.model
        assert isinstance(model, Classifier)
        self._recalibrate_batch_norm(model)
        probability, valid_loss = self._validate(model)
        scores = {
            name: observation_scores(self.data.scored.truth[:, k], probability[:, k])
            for k, name in enumerate(self.data.observations)
        }
        means = {name: nanmean([getattr(each, name) for each in scores.values()]) for name in Scores.__annotations__}
        if means["auroc"] > self.progress.best_auroc:
            self.progress.best_auroc = means["auroc"]
            self._save_best(model, probability)
        self.progress.seconds += time.monotonic() - started
        progress = self.progress
        phase = self.plan.phase_at(progress.step - 1)
        report = Report(
            step=progress.step,
            steps=self.plan.steps,
            percent=100 * progress.step / self.plan.steps,
            phase=phase.number + 1,
            epoch=phase.epoch(progress.step),
            images_seen=progress.images_seen,
            seconds=progress.seconds,
            micro_batch_size=progress.micro,
            lr=self.optimizer.param_groups[-1]["lr"],
            train_loss=progress.loss_sum / progress.losses,
            valid_loss=valid_loss,
            best_auroc=progress.best_auroc,
            observations=scores,
            **means,
        )
        self.report_rows.append(report.row())
        self.probabilities[progress.images_seen] = probability
        prediction_files.save_probabilities(
            self.folder, self.data.observations, self.probabilities, self.data.scored.digest(self.data.observations)
        )
        progress.loss_sum, progress.losses = 0.0, 0
        if progress.step == phase.end < self.plan.steps:
            self._load_best_weights()
        self.save()
        return report

    def _recalibrate_batch_norm(self, model: Classifier) -> None:
        """Computes the statistics of batch norm from rows drawn at random, the same rows throughout a phase.

        The draw is random, as each batch of training is, because a sample may be sorted by class. It is not stratified,
        because strata are not defined for several observations.
        """
        count, phase = self.config.model.bn_recalibration_images, self.plan.phase_at(self.progress.step - 1)
        if count == 0:
            return
        rng = rng_for(self.config.seed, "rows for statistics", phase.number)
        torch.manual_seed(seed_for(self.config.seed, "statistics"))  # dropout before a final batch norm
        batches = random_batches(phase.rows, count, min(self.batch_size, self.progress.micro), rng)
        images, normalization = self.data.images, model.normalization
        recalibrate_batch_norm(model, (load_batch(images, rows, normalization, self.device) for rows in batches))

    def _validate(self, model: Classifier) -> tuple[np.ndarray, float]:
        """Returns the probabilities (U, K) of the scored units, and the validation loss over their images."""
        data, scored = self.data, self.data.scored
        logits = predict(model, data.outputs, data.images, scored.images, self.config.device, self.device)
        truth = scored.truth[scored.unit_of_image]
        weights = torch.from_numpy(~np.isnan(truth)).float()
        values = torch.from_numpy(np.nan_to_num(truth))
        binary = HeadLayout(len(data.observations))
        loss = masked_loss(logits, binary, values, weights, torch.zeros_like(values)).item()
        return scored.max_over_study(logits.sigmoid().numpy()), self._check_finite(
            loss, "validation", self.progress.step
        )

    def _save_best(self, model: Classifier, probability: np.ndarray) -> None:
        data, scored = self.data, self.data.scored
        metadata = {
            "backbone": self.config.model.backbone,
            "observations": ",".join(data.observations),
            "multiclass": ",".join(data.observations[column] for column in data.outputs.multiclass),
            "image_size": str(self.config.image.size),
            "resize": self.config.image.resize,
            "mean": str(model.normalization.mean),
            "std": str(model.normalization.std),
            "started_from": Path(model.origin.source).name if model.origin else "random weights",
            "started_from_sha256": model.origin.sha256 if model.origin else "",
            KEY: self.provenance,
        }
        checkpoint.save_weights(self.folder, model.state_dict(), metadata)
        prediction_files.save_predictions(
            self.folder, scored.paths, scored.patients, data.observations, scored.truth, probability
        )

    def _load_best_weights(self) -> None:
        """Loads the best weights so far, from which each phase but the first starts.

        The trainer loads them before it writes the checkpoint at the end of a phase, not when the next phase begins: if
        a run is killed, the file of the best weights may be a report ahead of the checkpoint that it resumes from.
        """
        weights, _ = checkpoint.load_weights(self.folder / run_folder.WEIGHTS)
        self.model.load_state_dict(weights)

    @cached_property
    def provenance(self) -> str:
        """The record of the patients that the weights have seen, as text for the weights' metadata."""
        return dump_provenance(provenance(self.config, self.data))

    def save(self) -> None:
        """Writes the reports so far and the state that a resume needs."""
        self._flush_losses()
        atomic_io.write_csv(self.folder / run_folder.REPORTS, pd.DataFrame(self.report_rows))
        state: dict[str, Any] = {
            **config_fingerprint(self.config, self.data),
            "progress": vars(self.progress),
            "rows": self.report_rows,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": self.ema.state_dict() if self.ema else None,
            "scaler": self.scaler.state_dict(),
        }
        checkpoint.save_state(self.folder, state)

    def _resume(self) -> None:
        state = load_state(self.folder, self.config, self.data, self.device)
        if state is None:
            return
        self.progress, self.report_rows = _Progress(**state["progress"]), state["rows"]
        if self.report_rows:
            saved, _ = prediction_files.load_probabilities(
                self.folder / run_folder.PROBABILITIES, self.data.observations
            )
            reported = [int(row["images_seen"]) for row in self.report_rows]
            self.probabilities = {images_seen: saved[images_seen] for images_seen in reported}
        self.model.load_state_dict(state["model"])
        self.scaler.load_state_dict(state["scaler"])
        phase = self.plan.phase_at(self.progress.step)
        if self.progress.step > phase.first:  # otherwise the next step starts a phase
            self._start_phase(phase)
            self.optimizer.load_state_dict(state["optimizer"])
            if self.ema:
                self.ema.load_state_dict(state["average"])
