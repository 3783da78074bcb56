"""The tasks on which searches are compared: small phantom runs, their spaces, and their curves."""

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
import torch

from chex.config import RunConfig, apply_overrides, validate
from chex.schema.labels import FIVE
from chex.statistics.metrics import auroc
from chex.training.run_data import RunData, load_run_data
from chex.training.run_tables import load_run_tables
from chex.training.trainer import Trainer, TrainingDiverged
from search.space.space import Space, build_space

REPORTS = 8
PERCENTS = tuple(100 * number // REPORTS for number in range(1, REPORTS + 1))
SEARCHED_SHARE = 0.25
"""The share of the validation patients on whose images a search judges its trials; the others tell the truth."""


@dataclass(frozen=True)
class CurveTask:
    """What the runs of a table have in common."""

    name: str
    images: int
    """In the training split. As many are validation images."""
    observations: tuple[str, ...]
    parameters: Mapping[str, Any]
    """The space, as in a search's file."""
    table: Path
    """The CSV file of the runs' curves."""
    batch: int = 32
    backbone: str = "test_resnet"
    pretrained: bool = False
    """Whether runs start from a backbone that knows another phantom, as real ones start from ImageNet weights."""

    @cached_property
    def space(self) -> Space:
        return build_space(dict(self.parameters), RunConfig().model_dump(mode="json"))

    @property
    def longest(self) -> int:
        """Training images of the longest run: full batches of all images, and the most epochs."""
        return int((self.images - self.images % self.batch) * self.parameters["schedule.epochs"]["int"][1])

    @property
    def policy_choices(self) -> list[list[str]]:
        """The policies that each policy of the space chooses from."""
        return [domain["choice"] for name, domain in self.parameters.items() if name.startswith("policy.")]

    @cached_property
    def columns(self) -> dict[str, list[str]]:
        """The columns of AUROC on the images of the search and on the others, in the order of the observations."""
        return {images: [f"{images} {name}" for name in self.observations] for images in ("searched", "others")}


ONE_POLICY = CurveTask(
    name="one-policy",
    images=1000,
    observations=("Cardiomegaly",),
    parameters={
        "optimizer.lr": {"loguniform": [1e-4, 1e-1]},
        "optimizer.weight_decay": {"loguniform": [1e-4, 1.0]},
        "model.dropout": {"uniform": [0.0, 0.6]},
        "sampling.fraction": {"uniform": [0.1, 1.0]},
        "sampling.balance": {"choice": ["none", "oversample"]},
        "schedule.epochs": {"int": [1, 6]},
        "policy.default": {"choice": ["zeros", "ones", "ignore"]},
    },
    table=Path(__file__).with_name("curves.csv"),
)
POLICIES = ["zeros", "ones", "ignore", "multiclass", "smoothed_ones", "self_trained"]
BY_OBSERVATION = CurveTask(
    name="by-observation",
    images=2000,
    observations=FIVE,
    parameters={
        **{f"policy.{name}": {"choice": POLICIES} for name in FIVE},
        "optimizer.lr": {"loguniform": [1e-3, 3e-2]},
        "model.dropout": {"uniform": [0.0, 0.5]},
        "sampling.fraction": {"uniform": [0.25, 1.0]},
        "schedule.epochs": {"int": [1, 4]},
    },
    batch=8,
    pretrained=True,
    table=Path(__file__).with_name("observation_curves.csv"),
)
DENSENET121 = replace(BY_OBSERVATION, name="densenet121", backbone="densenet121")
"""The same with the default backbone; nobody has collected a table of it."""
TASKS = {task.name: task for task in (ONE_POLICY, BY_OBSERVATION, DENSENET121)}


class ObservedTrainer(Trainer):
    """A run whose last probabilities can be read."""

    def _validate(self, model: torch.nn.Module) -> tuple[np.ndarray, float]:
        self.probability, loss = super()._validate(model)
        return self.probability, loss


def base_run(task: CurveTask, folder: Path) -> dict[str, Any]:
    """Returns the run that all trials vary, on the phantom tree in `folder`."""
    values = {
        "data.root": str(next(folder.glob("CheXpert*")).resolve()),
        "data.observations": list(task.observations),
        "image.size": 64,
        "image.cache_dir": str((folder / "cache").resolve()),
        "model.backbone": task.backbone,
        "model.bn_recalibration_images": 128,
        "batches.size": task.batch,
        "reports": REPORTS,
        "device": {"kind": "cpu", "threads": 1, "amp": "off"},
    }
    return apply_overrides({}, values)


def curve(task: CurveTask, base: dict[str, Any], sample: dict[str, Any], seed: int) -> Iterator[dict[str, float]]:
    """Trains one sample and yields a row per report: percent, images, and AUROC in the task's columns.

    A run that diverges ends with a report of NaN.
    """
    config = validate(RunConfig, apply_overrides(base, sample | {"seed": seed}), "curve")
    data = load_run_data(config, load_run_tables(config))
    parts = dict(zip(task.columns, (searched_images(data), ~searched_images(data)), strict=True))
    with tempfile.TemporaryDirectory() as name:
        run = ObservedTrainer(config, data, Path(name))
        try:
            with closing(run.batches()) as batches:
                while run.progress.step < run.plan.steps:
                    run.train_step(*next(batches))
                    if run.progress.step in run.report_steps:
                        report = run.report()
                        row = {"percent": report.percent, "images": report.images_seen}
                        for images, columns in task.columns.items():
                            truth, probability = data.scored.truth[parts[images]], run.probability[parts[images]]
                            row |= {
                                column: round(auroc(truth[:, k], probability[:, k]), 4)
                                for k, column in enumerate(columns)
                            }
                        yield row
        except TrainingDiverged:
            done = 100 * run.progress.step // run.plan.steps
            undefined = dict.fromkeys([*task.columns["searched"], *task.columns["others"]], np.nan)
            yield {"percent": max(1, done), "images": run.progress.images_seen} | undefined


def searched_images(data: RunData) -> np.ndarray:
    """Returns bool (N_valid,): the validation images that a search sees, those of the first quarter of the patients."""
    patients = np.unique(data.scored.patients)
    return np.isin(data.scored.patients, patients[: round(SEARCHED_SHARE * len(patients))])
