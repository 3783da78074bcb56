"""One run: a generator of reports. It knows no logger, no console and no search."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from chex import checkpoint
from chex.batch_norm import refresh_statistics
from chex.batches import augmented, epoch_batches, in_order, load_batch, steps_per_epoch
from chex.config import RunConfig, dump
from chex.device import autocast, pick_device
from chex.loss import masked_loss
from chex.metrics import Scores, mean_defined, score
from chex.model import build_model
from chex.optimizer import build_optimizer, set_rate
from chex.outputs import Outputs
from chex.prepare import Prepared
from chex.reader import prefetched
from chex.schedule import one_cycle
from chex.seeds import stream_seed

VALID_BATCH = 128


OnStep = Callable[[int, int], None]
"""Hears of each step: how many are done and how many there are."""


class Diverged(RuntimeError):
    """The training or validation loss is no longer a number."""


@dataclass(frozen=True)
class Report:
    """A point inside a run where metrics are known and a checkpoint exists.

    Scores are on the validation split, averaged over the observations where they are defined.
    """

    percent: int
    """Of the run's steps, 1 to 100; the last report has 100."""
    epoch: float
    images_seen: int
    seconds: float
    """Of training and validation, over all resumes."""
    lr: float
    train_loss: float
    """Mean since the last report."""
    valid_loss: float
    auroc: float
    recall: float
    precision: float
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


@torch.no_grad()
def predict(
    model: torch.nn.Module, data: Prepared, films: np.ndarray, config: RunConfig, device: torch.device
) -> torch.Tensor:
    """float32 (V, K) on the CPU: the logits of positive of the images `films` (int64 (V,), rows of `data.images`)."""
    model.eval()
    logits = []
    for piece in in_order(len(films), VALID_BATCH):
        batch = load_batch(data.images, films[piece], device)
        with autocast(config.device, device):
            raw = model(batch)
        logits.append(data.outputs.logits(raw.float()).cpu())
    return torch.cat(logits)


@dataclass
class _Progress:
    step: int = 0
    images_seen: int = 0
    seconds: float = 0.0
    best_auroc: float = -math.inf


def fit(config: RunConfig, data: Prepared, folder: Path, on_step: OnStep | None = None) -> Iterator[Report]:
    """Trains and yields a report at equal distances; before each, `folder` holds its checkpoint (see checkpoint.py).

    Goes on from the checkpoint in `folder` where there is one. Raises InputError for a checkpoint of another config,
    and Diverged when the loss stops being a finite number.
    """
    run = _Run(config, data, folder)
    losses: list[float] = []
    with closing(prefetched(data.images, run.rows_to_come(), run.device)) as batches:
        for step in range(run.progress.step, run.steps):
            started = time.monotonic()
            losses.append(run.train_step(step, *next(batches)))
            run.progress.seconds += time.monotonic() - started
            if on_step:
                on_step(step + 1, run.steps)
            if step + 1 in run.report_steps:
                yield run.report(float(np.mean(losses)))
                losses = []


class _Run:
    """The state of one training: model, optimizer and how far it is."""

    def __init__(self, config: RunConfig, data: Prepared, folder: Path):
        self.config, self.data, self.folder = config, data, folder
        self.device = pick_device(config.device)
        self.epoch_steps = steps_per_epoch(len(data.rows), config.batches.size)
        self.steps = self.epoch_steps * config.schedule.epochs
        self.report_steps = {math.ceil(self.steps * k / config.reports) for k in range(1, config.reports + 1)}
        self.model = build_model(config.model, data.outputs.count, config.seed).to(self.device)
        self.optimizer = build_optimizer(self.model.parameters(), config.optimizer)
        self.digest = checkpoint.digest(dump(config) + data.digest)
        self.progress = _Progress()
        self.rows: list[dict[str, float]] = []
        folder.mkdir(parents=True, exist_ok=True)
        self._resume()

    def train_step(self, step: int, rows: np.ndarray, films: torch.Tensor) -> float:
        """Takes one step on the normalised `films` of the training `rows` and returns its loss."""
        config = self.config
        rate, momentum = one_cycle(step / max(1, self.steps - 1), config.schedule.warmup)
        set_rate(self.optimizer, config.optimizer.lr * rate, momentum)
        films = augmented(films, config.batches, config.seed, step)
        torch.manual_seed(stream_seed(config.seed, "dropout", step))
        self.model.train()
        with autocast(config.device, self.device):
            raw = self.model(films)
        loss = masked_loss(raw.float(), self.data.outputs, *self._cells(rows))
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.progress.step, self.progress.images_seen = step + 1, self.progress.images_seen + len(rows)
        return self._finite(loss.item(), "training")

    def rows_to_come(self) -> Iterator[np.ndarray]:
        """The rows of each step that is left."""
        epoch, position = divmod(self.progress.step, self.epoch_steps)
        while epoch < self.config.schedule.epochs:
            yield from epoch_batches(self.data.rows, self.config.batches.size, self.config.seed, epoch)[position:]
            epoch, position = epoch + 1, 0

    def report(self, train_loss: float) -> Report:
        """Scores the validation split, writes the checkpoint and returns what was found."""
        started = time.monotonic()
        self._refresh_statistics()
        probability, valid_loss = self._validate()
        scores = {
            name: score(self.data.scored.truth[:, k], probability[:, k])
            for k, name in enumerate(self.data.observations)
        }
        means = {
            name: mean_defined([getattr(each, name) for each in scores.values()]) for name in Scores.__annotations__
        }
        if means["auroc"] > self.progress.best_auroc:
            self.progress.best_auroc = means["auroc"]
            self._keep_best(probability)
        self.progress.seconds += time.monotonic() - started
        progress = self.progress
        report = Report(
            percent=100 * progress.step // self.steps,
            epoch=progress.step / self.epoch_steps,
            images_seen=progress.images_seen,
            seconds=progress.seconds,
            lr=self.optimizer.param_groups[0]["lr"],
            train_loss=train_loss,
            valid_loss=valid_loss,
            best_auroc=progress.best_auroc,
            observations=scores,
            **means,
        )
        self.rows.append(report.row())
        self._save()
        return report

    def _cells(self, rows: np.ndarray) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        cells = self.data.targets
        chosen = cells.values[rows], cells.weights[rows], cells.doubt[rows]
        values, weights, doubt = (torch.from_numpy(each).to(self.device) for each in chosen)
        return values, weights, doubt

    def _finite(self, loss: float, kind: str) -> float:
        if math.isfinite(loss):
            return loss
        rate = self.optimizer.param_groups[0]["lr"]
        raise Diverged(
            f"the {kind} loss became {loss} at step {self.progress.step} of {self.steps}, "
            f"at a learning rate of {rate:.3g}; lower optimizer.lr"
        )

    def _refresh_statistics(self) -> None:
        size = self.config.batches.size
        rows = self.data.rows[: self.config.model.statistics_films]
        torch.manual_seed(stream_seed(self.config.seed, "statistics"))  # dropout before a final batch norm
        pieces = [rows[piece] for piece in in_order(len(rows), size) if len(piece) == min(size, len(rows))]
        if pieces:
            refresh_statistics(self.model, (load_batch(self.data.images, piece, self.device) for piece in pieces))

    def _validate(self) -> tuple[np.ndarray, float]:
        """Probabilities (U, K) of what is scored, and the loss over its films."""
        scored = self.data.scored
        logits = predict(self.model, self.data, scored.films, self.config, self.device)
        truth = scored.truth[scored.unit]
        known = torch.from_numpy(~np.isnan(truth)).float()
        outputs = Outputs(len(self.data.observations))
        values = torch.from_numpy(np.nan_to_num(truth))
        loss = masked_loss(logits, outputs, values, known, torch.zeros_like(values))
        return scored.pooled(logits.sigmoid().numpy()), self._finite(loss.item(), "validation")

    def _keep_best(self, probability: np.ndarray) -> None:
        data, scored = self.data, self.data.scored
        about = {
            "backbone": self.config.model.backbone,
            "observations": ",".join(data.observations),
            "multiclass": ",".join(data.observations[column] for column in data.outputs.multiclass),
            "image_size": str(self.config.image.size),
        }
        checkpoint.save_weights(self.folder, self.model.state_dict(), about)
        checkpoint.save_predictions(
            self.folder, scored.paths, scored.patients, data.observations, scored.truth, probability
        )

    def _save(self) -> None:
        checkpoint.save_table(self.folder / checkpoint.REPORTS, pd.DataFrame(self.rows))
        state: dict[str, Any] = {
            "config": self.digest,
            "progress": vars(self.progress),
            "rows": self.rows,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        checkpoint.save_state(self.folder, state)

    def _resume(self) -> None:
        state = checkpoint.load_state(self.folder, self.digest, self.device)
        if state is None:
            return
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.progress, self.rows = _Progress(**state["progress"]), state["rows"]
