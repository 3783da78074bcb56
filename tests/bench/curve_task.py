"""The task on which searches are compared: a small phantom run, its space, and its curve on two sets of images."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
import torch

from chex.config import RunConfig, apply_overrides, validate
from chex.statistics.metrics import auroc
from chex.training.run_data import RunData, load_run_data
from chex.training.run_tables import load_run_tables
from chex.training.trainer import Trainer, TrainingDiverged

REPORTS = 8
PERCENTS = tuple(100 * number // REPORTS for number in range(1, REPORTS + 1))
FILMS = 1000
"""In the training split. As many are scored: a quarter of the patients for the search, the others for the truth."""
SEARCHED_SHARE = 0.25
SPACE = {
    "optimizer.lr": {"loguniform": [1e-4, 1e-1]},
    "optimizer.weight_decay": {"loguniform": [1e-4, 1.0]},
    "model.dropout": {"uniform": [0.0, 0.6]},
    "sampling.fraction": {"uniform": [0.1, 1.0]},
    "sampling.balance": {"choice": ["none", "over"]},
    "schedule.epochs": {"int": [1, 6]},
    "policy.default": {"choice": ["zeros", "ones", "ignore"]},
}


class Observed(Trainer):
    """A run whose last probabilities can be seen."""

    def _validate(self, model: torch.nn.Module) -> tuple[np.ndarray, float]:
        self.probability, loss = super()._validate(model)
        return self.probability, loss


def base_run(folder: Path) -> dict[str, Any]:
    """The run that all trials vary, on the phantom tree in `folder`."""
    values = {
        "data.root": str(next(folder.glob("CheXpert*")).resolve()),
        "data.observations": ["Cardiomegaly"],
        "image.size": 64,
        "image.cache_dir": str((folder / "cache").resolve()),
        "model.backbone": "test_resnet",
        "model.bn_recalibration_images": 128,
        "reports": REPORTS,
        "device": {"kind": "cpu", "threads": 1, "amp": "off"},
    }
    return apply_overrides({}, values)


def curve(base: dict[str, Any], sample: dict[str, Any], seed: int) -> Iterator[dict[str, float]]:
    """Trains one sample as far as it is read; per report percent, images, and AUROC on the search's images and on the
    others.

    A run that diverges ends with a report of NaN.
    """
    config = validate(RunConfig, apply_overrides(base, sample | {"seed": seed}), "curve")
    data = load_run_data(config, load_run_tables(config))
    searched = searched_films(data)
    with tempfile.TemporaryDirectory() as name:
        run = Observed(config, data, Path(name))
        try:
            with closing(run.batches()) as batches:
                while run.progress.step < run.plan.steps:
                    run.train_step(*next(batches))
                    if run.progress.step in run.report_steps:
                        report = run.report()
                        truth, probability = data.scored.truth[:, 0], run.probability[:, 0]
                        on_searched, on_others = (
                            auroc(truth[part], probability[part]) for part in (searched, ~searched)
                        )
                        yield row(report.percent, report.images_seen, on_searched, on_others)
        except TrainingDiverged:
            done = 100 * run.progress.step // run.plan.steps
            yield row(max(1, done), run.progress.images_seen, np.nan, np.nan)


def row(percent: int, images: int, searched: float, others: float) -> dict[str, float]:
    return {"percent": percent, "images": images, "searched": round(searched, 4), "others": round(others, 4)}


def searched_films(data: RunData) -> np.ndarray:
    """bool (N_valid,): the scored images that a search sees: those of the first quarter of the patients."""
    patients = np.unique(data.scored.patients)
    return np.isin(data.scored.patients, patients[: round(SEARCHED_SHARE * len(patients))])
