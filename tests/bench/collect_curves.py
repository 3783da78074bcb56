"""Trains the runs that a curve model is calibrated on, and writes their table.

    python tests/bench/collect_curves.py TASK FOLDER PART PARTS  trains every PARTS-th run; FOLDER has the phantom
    python tests/bench/collect_curves.py TASK FOLDER             gathers what the parts have into the task's table

TASK is `one-policy` (about 40 minutes on two cores) or `by-observation` (about 3 hours). First come configs drawn at
random, then some near the best so far, then some of both again with other seeds. A part that is started again goes on.
"""

import fcntl
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from safetensors.torch import load_file, save_file

from chex.config import RunConfig, apply_overrides, validate
from chex.phantom.write import PhantomConfig, write_phantom
from chex.runtime.rng import rng_for
from chex.runtime.run_folder import WEIGHTS
from chex.training.preflight import teacher_config
from chex.training.report import Report
from chex.training.run_data import load_run_data
from chex.training.run_tables import load_run_tables
from chex.training.teacher import train_teacher
from chex.training.trainer import fit
from chex.uncertainty.probability_tables import TABLE
from tests.bench.curve_task import BY_OBSERVATION, ONE_POLICY, TASKS, CurveTask, base_run, curve
from tests.bench.points import draw, near

BEST = 15
"""Configs are drawn near one of so many best ones."""


@dataclass(frozen=True)
class Numbers:
    """How many runs of each kind a table has."""

    random: int
    near: int
    repeated: int
    """Configs that run again, half of them from those drawn at random, half from the best."""
    seeds: int
    """How often each of them runs again."""

    @property
    def runs(self) -> int:
        return self.random + self.near + self.repeated * self.seeds


NUMBERS = {ONE_POLICY.name: Numbers(220, 24, 16, 2), BY_OBSERVATION.name: Numbers(340, 40, 20, 2)}


def collect(task: CurveTask, folder: Path, part: int, parts: int) -> None:
    """Trains the runs of a part that are not in its file yet."""
    base, numbers = prepared_base(task, folder), NUMBERS[task.name]
    mine = folder / f"curves-{part}.csv"
    done = set(pd.read_csv(mine)["run"]) if mine.exists() else set()
    for number in range(part, numbers.runs, parts):
        if number in done:
            continue
        config, sample = planned(task, folder, number)
        rows = [{"run": number, "config": config} | sample | found for found in curve(task, base, sample, seed=number)]
        pd.DataFrame(rows).to_csv(mine, mode="a", header=not mine.exists(), index=False)
        print(number, rows[-1]["images"], round(final_auroc(task, pd.DataFrame(rows)).iloc[-1], 3), flush=True)


def prepared_base(task: CurveTask, folder: Path) -> dict[str, Any]:
    """Returns the base run with the weights to start from and the teacher's table, if the task's runs read them.

    The first part makes both, while the others wait.
    """
    base = base_run(task, folder)
    with (folder / "prepare.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if task.pretrained:
            base = apply_overrides(base, {"model.pretrained_file": str(pretrained_backbone(base, folder))})
        if any("self_trained" in choices for choices in task.policy_choices):
            base = apply_overrides(base, {"relabel.self_trained": str(teachers_table(base, folder))})
    return base


def pretrained_backbone(base: dict[str, Any], folder: Path) -> Path:
    """Returns a file of backbone weights that have learnt two other observations on another phantom."""
    path = (folder / "pretrained.safetensors").resolve()
    if not path.exists():
        run: dict[str, Any] = {
            "data.observations": ["No Finding", "Lung Opacity"],
            "schedule.epochs": 8,
            "optimizer.lr": 5e-3,
        }
        config = validate(
            RunConfig, apply_overrides(base, run | {"data.root": str(phantom(folder / "other"))}), "first"
        )
        train(config, folder / "pretraining", fit)
        weights, prefix = load_file(folder / "pretraining" / WEIGHTS), "backbone."
        kept = {name.removeprefix(prefix): array for name, array in weights.items() if name.startswith(prefix)}
        save_file(kept, path)
    return path


def phantom(folder: Path) -> Path:
    """Returns the tree of a phantom of 4,000 training images with another seed than that of the runs."""
    if not folder.exists():
        write_phantom(folder, PhantomConfig(train=4000, valid=200, seed=1))
    return next(folder.glob("CheXpert*")).resolve()


def teachers_table(base: dict[str, Any], folder: Path) -> Path:
    path = (folder / "teacher" / TABLE).resolve()
    if not path.exists():
        run = {"schedule.epochs": 4, "optimizer.lr": 5e-3}
        train(teacher_config(validate(RunConfig, apply_overrides(base, run), "teacher")), path.parent, train_teacher)
    return path


def train(config: RunConfig, folder: Path, trained: Callable[..., Iterator[Report]]) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for report in trained(config, load_run_data(config, load_run_tables(config)), folder):
        print(folder.name, round(report.percent), round(report.auroc, 3), flush=True)


def planned(task: CurveTask, folder: Path, number: int) -> tuple[int, dict[str, Any]]:
    """Returns which config (the number of its first run) a run trains, and the config."""
    rng, numbers, space = rng_for(number, "curves"), NUMBERS[task.name], task.space
    if number < numbers.random:
        return number, draw(space, rng)
    ends = gathered(folder).groupby("run").last()
    ends = ends[ends["config"] == ends.index]
    best = ends.loc[final_auroc(task, ends).sort_values(ascending=False).index]
    if number < numbers.random + numbers.near:
        return number, near(space, sample_of(task, best.iloc[int(rng.integers(BEST))]), rng)
    again = (number - numbers.random - numbers.near) // numbers.seeds
    config = again if again < numbers.repeated // 2 else int(best.index[2 * (again - numbers.repeated // 2)])
    return config, sample_of(task, ends.loc[config])


def final_auroc(task: CurveTask, rows: pd.DataFrame) -> pd.Series:
    """Returns the mean AUROC over the observations on the images that a search does not see, of each row."""
    return rows[task.columns["others"]].mean(axis=1)


def sample_of(task: CurveTask, row: pd.Series) -> dict[str, Any]:
    sample = {param: row[param] for param in task.space}
    return {param: value.item() if isinstance(value, np.generic) else value for param, value in sample.items()}


def gathered(folder: Path) -> pd.DataFrame:
    tables = [pd.read_csv(path, keep_default_na=False, na_values=[""]) for path in sorted(folder.glob("curves-*.csv"))]
    return pd.concat(tables).sort_values(["run", "percent"], kind="stable").reset_index(drop=True)


if __name__ == "__main__":
    task, folder = {name: TASKS[name] for name in NUMBERS}[sys.argv[1]], Path(sys.argv[2])
    if len(sys.argv) > 3:
        collect(task, folder, int(sys.argv[3]), int(sys.argv[4]))
    else:
        gathered(folder).to_csv(task.table, index=False, float_format="%.5g")
