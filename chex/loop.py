"""One run: a generator of reports. It knows no logger, no console and no search."""

import math
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from chex import checkpoint
from chex.averaging import averaged
from chex.batch_norm import refresh_statistics
from chex.batches import augmented, batch_size, drawn, load_batch, passes
from chex.config import RunConfig
from chex.device import autocast, gradient_scaler, pick_device
from chex.errors import InputError
from chex.inference import predict
from chex.layers import freeze, layer_groups, train_mode
from chex.loss import masked_loss
from chex.metrics import Scores, mean_defined, score
from chex.model import Classifier, build_model
from chex.optimizer import build_optimizer, group_rates, set_rate
from chex.outputs import Outputs
from chex.prepare import Prepared, provenance
from chex.provenance import KEY, dump
from chex.reader import prefetched
from chex.resume import identity, load_state
from chex.schedule import rate_and_momentum
from chex.seeds import stream, stream_seed
from chex.stages import Stage, Stages

LOSSES_AT_ONCE = 16
"""Losses are read off the device after so many steps: reading each would make every step wait."""
SMALLEST_PASS = 2


OnStep = Callable[[int, int], None]
"""Hears of progress: how many steps or films are done and how many there are."""

ShouldPause = Callable[[], bool]
"""Is asked after each step whether to save and stop."""


class Diverged(RuntimeError):
    """The training or validation loss is no longer a number."""


@dataclass(frozen=True)
class Report:
    """A point inside a run where metrics are known and a checkpoint exists.

    Scores are on the validation split, averaged over the observations where they are defined.
    """

    step: int
    """Steps of the run that are done: no two reports of a run have the same."""
    steps: int
    """Steps of the whole run; the last report has them done."""
    percent: float
    """Of the run's steps, above 0 up to 100."""
    round: int
    """From 1."""
    epoch: float
    images_seen: int
    seconds: float
    """Of training and validation, over all resumes."""
    micro: int
    """Films that pass through the network at once; less than asked for where the GPU's memory did not suffice."""
    lr: float
    """Of the head."""
    train_loss: float
    """Mean since the last report."""
    valid_loss: float
    auroc: float
    recall: float
    precision: float
    """Over the observations with a positive call, which may be others in another report."""
    error_rate: float
    best_auroc: float
    """The highest auroc so far in the run: that of best.safetensors."""
    observations: dict[str, Scores]

    def row(self) -> dict[str, float]:
        """Flat figures; per-observation ones are named `auroc/Edema` and are there when the run has several."""
        flat = {name: value for name, value in vars(self).items() if name != "observations"}
        if len(self.observations) > 1:
            for name, scores in self.observations.items():
                flat |= {f"{figure}/{name}": value for figure, value in asdict(scores).items()}
        return flat


@dataclass
class _Progress:
    micro: int
    step: int = 0
    images_seen: int = 0
    seconds: float = 0.0
    best_auroc: float = -math.inf
    loss_sum: float = 0.0
    losses: int = 0
    """Since the last report."""


_Cells = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
"""Values, weights and doubt of a batch, each (B, K)."""


class Paused(Exception):
    """The run was asked to stop; its folder holds all that it needs to go on."""


def fit(
    config: RunConfig,
    data: Prepared,
    folder: Path,
    on_step: OnStep | None = None,
    should_pause: ShouldPause = lambda: False,
) -> Generator[Report, None, None]:
    """Trains and yields a report at equal distances and at the end of each round.

    Before each, `folder` holds its checkpoint (see checkpoint.py), and a checkpoint that is there is gone on from.
    Raises InputError for a checkpoint of another config and for a GPU whose memory does not suffice, Paused where
    `should_pause` says yes, and Diverged when the loss stops being a finite number. Close it where it is not read to
    its end: its thread and its memory go with it.
    """
    with memory_said(config):
        yield from _fit(Training(config, data, folder), on_step, should_pause)


def _fit(run: "Training", on_step: OnStep | None, should_pause: ShouldPause) -> Iterator[Report]:
    with closing(run.batches()) as batches:
        while run.progress.step < run.stages.steps:
            started = time.monotonic()
            run.train_step(*next(batches))
            run.progress.seconds += time.monotonic() - started
            if on_step:
                on_step(run.progress.step, run.stages.steps)
            if run.progress.step in run.report_steps:
                yield run.report()
            elif should_pause():
                run.save()
                raise Paused


def check_goes_on(config: RunConfig, data: Prepared, folder: Path) -> None:
    """Raises InputError where `folder` holds the state of a run with another config, or on other data."""
    load_state(folder, config, data, torch.device("cpu"))


@contextmanager
def memory_said(config: RunConfig) -> Iterator[None]:
    """Where the GPU's memory does not suffice for what the block does, an InputError says so."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise InputError(
            f"the GPU's memory does not suffice for {config.model.backbone} at {config.image.size} px, however few "
            f"films pass at once ({error}); lower image.size, choose a smaller model.backbone, or in a search raise "
            "resources.gpus_per_trial"
        ) from error


class Training:
    """The state of one run: model, optimizer and how far it is."""

    def __init__(self, config: RunConfig, data: Prepared, folder: Path):
        self.config, self.data, self.folder = config, data, folder
        self.device = pick_device(config.device)
        self.size = batch_size(config.batches)
        self.stages = Stages(config.stages(), data.samples, self.size, config.seed)
        self.report_steps = self.stages.report_steps(config.reports)
        self.model = build_model(config.model, data.outputs.count, config.seed).to(self.device)
        self.groups = layer_groups(self.model)
        for stage in self.stages.all:
            freeze(self.groups, stage.plan.frozen)
        self.forward = torch.compile(self.model) if config.model.compile else self.model
        self.scaler = gradient_scaler(config.device, self.device)
        self.progress = _Progress(micro=config.batches.micro or self.size)
        self.rows: list[dict[str, float]] = []
        self.probabilities: dict[int, np.ndarray] = {}
        """Images seen at each report to what it gave the scored units, (U, K)."""
        self.pending: list[torch.Tensor] = []
        folder.mkdir(parents=True, exist_ok=True)
        self._resume()

    def batches(self) -> Generator[tuple[np.ndarray, torch.Tensor], None, None]:
        """The training rows and the films of each step that is left, fetched ahead; close it."""
        rows = self.stages.rows_to_come(self.progress.step)
        return prefetched(self.data.images, rows, self.model.normalisation, self.device)

    def train_step(self, rows: np.ndarray, films: torch.Tensor, factor: float | None = None) -> None:
        """Takes one step on the normalised `films` of `rows`, at the schedule's rate or `factor` times the peak."""
        step, stage = self.progress.step, self.stages.at(self.progress.step)
        if step == stage.first:
            self._arrange(stage)
        scheduled, momentum = rate_and_momentum(
            stage.plan.shape, stage.done(step), stage.plan.warmup, self.config.optimizer.momentum
        )
        set_rate(self.optimizer, scheduled if factor is None else factor, momentum)
        black = self.model.normalisation.black
        self._learn(augmented(films, black, self.config.batches, self.config.seed, step), self._cells(rows))
        if self.average:
            self.average.update_parameters(self.model)
        self.progress.step, self.progress.images_seen = step + 1, self.progress.images_seen + len(rows)
        if len(self.pending) == LOSSES_AT_ONCE:
            self._settle_losses()

    def last_loss(self) -> float:
        """The loss of the last step. Raises Diverged where it is no number."""
        self._settle_losses()
        return float(self.loss)

    def _take_best(self) -> None:
        """Goes on from the best weights so far, as each round but the first does.

        This is done before the checkpoint at the end of a round is written, and not when the next one begins: the file
        of the best weights may be a report ahead of the checkpoint that a killed run goes on from.
        """
        weights, _ = checkpoint.load_weights(self.folder / checkpoint.WEIGHTS)
        self.model.load_state_dict(weights)

    def _arrange(self, stage: Stage) -> None:
        """Starts or goes on with a round, which has an optimizer and an average of its own."""
        freeze(self.groups, stage.plan.frozen)
        rates = group_rates(stage.plan.lr_low, stage.plan.lr, len(self.groups))
        self.optimizer = build_optimizer(self.groups, rates, self.config.optimizer)
        self.average = averaged(self.model, self.config.model.ema) if self.config.model.ema else None

    def _learn(self, films: torch.Tensor, cells: _Cells) -> None:
        """One step of the optimizer; where the GPU's memory does not suffice, in smaller passes from here on."""
        while not self._gathered(films, cells):
            self.progress.micro //= 2
            torch.cuda.empty_cache()
        self.pending.append(self.loss)
        self.scaler.step(self.optimizer)
        self.scaler.update()

    def _gathered(self, films: torch.Tensor, cells: _Cells) -> bool:
        """Whether the gradients could be gathered in the memory there is. Raises OutOfMemoryError for the last size."""
        try:
            self.optimizer.zero_grad(set_to_none=True)
            self.loss = self._gradients(films, cells)
        except torch.OutOfMemoryError:  # which keeps the failed pass in memory until this function is left
            if self.progress.micro < 2 * SMALLEST_PASS:
                raise
            return False
        return True

    def _gradients(self, films: torch.Tensor, cells: _Cells) -> torch.Tensor:
        """Gathers the gradients of the batch, pass by pass; its loss."""
        train_mode(self.model)
        torch.manual_seed(stream_seed(self.config.seed, "dropout", self.progress.step))
        total = cells[1].sum()
        loss = torch.zeros((), device=self.device)
        for piece in passes(len(films), self.progress.micro):
            with autocast(self.config.device, self.device):
                raw = self.forward(films[piece])
            values, weights, doubt = (each[piece] for each in cells)
            part = masked_loss(raw, self.data.outputs, values, weights, doubt, total)
            self.scaler.scale(part).backward()  # type: ignore[no-untyped-call]
            loss += part.detach()
        return loss

    def report(self) -> Report:
        """Scores the validation split, writes the checkpoint and returns what was found."""
        started = time.monotonic()
        self._settle_losses()
        scored = self.average.module if self.average else self.model
        assert isinstance(scored, Classifier)
        self._refresh_statistics(scored)
        probability, valid_loss = self._validate(scored)
        scores = {
            name: score(self.data.scored.truth[:, k], probability[:, k])
            for k, name in enumerate(self.data.observations)
        }
        means = {
            name: mean_defined([getattr(each, name) for each in scores.values()]) for name in Scores.__annotations__
        }
        if means["auroc"] > self.progress.best_auroc:
            self.progress.best_auroc = means["auroc"]
            self._keep_best(scored, probability)
        self.progress.seconds += time.monotonic() - started
        progress = self.progress
        stage = self.stages.at(progress.step - 1)
        report = Report(
            step=progress.step,
            steps=self.stages.steps,
            percent=100 * progress.step / self.stages.steps,
            round=stage.number + 1,
            epoch=stage.epoch(progress.step),
            images_seen=progress.images_seen,
            seconds=progress.seconds,
            micro=progress.micro,
            lr=self.optimizer.param_groups[-1]["lr"],
            train_loss=progress.loss_sum / progress.losses,
            valid_loss=valid_loss,
            best_auroc=progress.best_auroc,
            observations=scores,
            **means,
        )
        self.rows.append(report.row())
        self.probabilities[progress.images_seen] = probability
        checkpoint.save_probabilities(
            self.folder, self.data.observations, self.probabilities, self.data.scored.digest(self.data.observations)
        )
        progress.loss_sum, progress.losses = 0.0, 0
        if progress.step == stage.end < self.stages.steps:
            self._take_best()
        self.save()
        return report

    def _cells(self, rows: np.ndarray) -> _Cells:
        cells = self.data.targets
        chosen = cells.values[rows], cells.weights[rows], cells.doubt[rows]
        values, weights, doubt = (torch.from_numpy(each).to(self.device) for each in chosen)
        return values, weights, doubt

    def _settle_losses(self) -> None:
        """Reads the losses of the last steps off the device; one that is no number ends the run."""
        first = self.progress.step - len(self.pending)
        for number, loss in enumerate(torch.stack(self.pending).tolist() if self.pending else [], start=1):
            self.progress.loss_sum += self._finite(loss, "training", first + number)
            self.progress.losses += 1
        self.pending = []

    def _finite(self, loss: float, kind: str, step: int) -> float:
        if math.isfinite(loss):
            return loss
        rate = self.optimizer.param_groups[-1]["lr"]
        raise Diverged(
            f"the {kind} loss became {loss} at step {step} of {self.stages.steps}, "
            f"at a learning rate of {rate:.3g}; lower optimizer.lr"
        )

    def _refresh_statistics(self, model: Classifier) -> None:
        """From rows drawn at random, because a sample may be in the order of its classes; the same all through a round.

        A simple random draw is what each batch of training is, too. Which classes to stratify by is not defined for
        several observations.
        """
        count, stage = self.config.model.statistics_films, self.stages.at(self.progress.step - 1)
        if count == 0:
            return
        rng = stream(self.config.seed, "rows for statistics", stage.number)
        torch.manual_seed(stream_seed(self.config.seed, "statistics"))  # dropout before a final batch norm
        batches = drawn(stage.rows, count, min(self.size, self.progress.micro), rng)
        images, normalisation = self.data.images, model.normalisation
        refresh_statistics(model, (load_batch(images, rows, normalisation, self.device) for rows in batches))

    def _validate(self, model: Classifier) -> tuple[np.ndarray, float]:
        """Probabilities (U, K) of what is scored, and the loss over its films."""
        scored = self.data.scored
        data, device = self.data, self.config.device
        logits = predict(model, data.outputs, data.images, scored.films, device, self.device)
        truth = scored.truth[scored.unit]
        known = torch.from_numpy(~np.isnan(truth)).float()
        outputs = Outputs(len(self.data.observations))
        values = torch.from_numpy(np.nan_to_num(truth))
        loss = masked_loss(logits, outputs, values, known, torch.zeros_like(values))
        return scored.pooled(logits.sigmoid().numpy()), self._finite(loss.item(), "validation", self.progress.step)

    def _keep_best(self, model: Classifier, probability: np.ndarray) -> None:
        data, scored = self.data, self.data.scored
        about = {
            "backbone": self.config.model.backbone,
            "observations": ",".join(data.observations),
            "multiclass": ",".join(data.observations[column] for column in data.outputs.multiclass),
            "image_size": str(self.config.image.size),
            "resize": self.config.image.resize,
            "mean": str(model.normalisation.mean),
            "std": str(model.normalisation.std),
            "started_from": Path(model.origin.source).name if model.origin else "random weights",
            "started_from_sha256": model.origin.sha256 if model.origin else "",
            KEY: self.provenance,
        }
        checkpoint.save_weights(self.folder, model.state_dict(), about)
        checkpoint.save_predictions(
            self.folder, scored.paths, scored.patients, data.observations, scored.truth, probability
        )

    @cached_property
    def provenance(self) -> str:
        """Whom the weights have seen, as they carry it."""
        return dump(provenance(self.config, self.data))

    def save(self) -> None:
        """Writes all that a resume needs."""
        self._settle_losses()
        checkpoint.save_table(self.folder / checkpoint.REPORTS, pd.DataFrame(self.rows))
        state: dict[str, Any] = {
            **identity(self.config, self.data),
            "progress": vars(self.progress),
            "rows": self.rows,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": self.average.state_dict() if self.average else None,
            "scaler": self.scaler.state_dict(),
        }
        checkpoint.save_state(self.folder, state)

    def _resume(self) -> None:
        state = load_state(self.folder, self.config, self.data, self.device)
        if state is None:
            return
        self.progress, self.rows = _Progress(**state["progress"]), state["rows"]
        if self.rows:
            kept, _ = checkpoint.load_probabilities(self.folder / checkpoint.PROBABILITIES, self.data.observations)
            self.probabilities = {int(row["images_seen"]): kept[int(row["images_seen"])] for row in self.rows}
        self.model.load_state_dict(state["model"])
        self.scaler.load_state_dict(state["scaler"])
        stage = self.stages.at(self.progress.step)
        if self.progress.step > stage.first:  # else the next step begins a round
            self._arrange(stage)
            self.optimizer.load_state_dict(state["optimizer"])
            if self.average:
                self.average.load_state_dict(state["average"])
