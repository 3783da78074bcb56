"""Real searches of small runs: the product's samplers and stopping rule against random search.

    python tests/bench/bench_search_real.py FOLDER [--task by-observation] [--seeds 8] [--runs 8] [--processes 2]
        [--methods NAME;NAME]

FOLDER holds a phantom tree with the task's images. Trials run one at a time; every method gets the images of `runs`
runs of all images and the most epochs. Proposals and cuts are the product's. The winner is the trial with the highest
value on the images that a search sees, and its quality the mean AUROC of the weights that it keeps on the others, which
no search sees. Each search and each run that ends is kept in FOLDER, so that a bench that is started again goes on, and
searches with the same first trials train them once. Ends with the same figures as a line of JSON.
"""

import argparse
import hashlib
import itertools
import json
import math
import multiprocessing
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
import torch

from chex.runtime.atomic_io import write_text
from search.optimize.pruning import PruningConfig
from search.optimize.samplers import SamplerConfig
from search.space.space import Space
from tests.bench.collect_curves import prepared_base
from tests.bench.curve_task import BY_OBSERVATION, DENSENET121, ONE_POLICY, TASKS, CurveTask, curve
from tests.bench.product_searcher import ProductSearcher
from tests.bench.search_arena import Arena, Point, Sample

RANDOM, TPE = SamplerConfig(kind="random"), SamplerConfig(kind="tpe")
BY_OBSERVATION_METHODS = {
    "random": (RANDOM, None),
    "TPE": (TPE, None),
    "by observation": (SamplerConfig(), None),
    "by observation, ASHA": (SamplerConfig(), PruningConfig()),
}
METHODS = {
    ONE_POLICY.name: {"random": (RANDOM, None), "TPE": (TPE, None), "TPE, ASHA": (TPE, PruningConfig())},
    BY_OBSERVATION.name: BY_OBSERVATION_METHODS,
    DENSENET121.name: BY_OBSERVATION_METHODS,
}
BASELINES = ("random", "TPE")


@dataclass
class RealTask:
    """Trials that really train; `others` are the mean AUROCs that no search sees, by trial and percentage."""

    task: CurveTask
    base: dict[str, Any]
    runs: Path
    """The folder where the curves of ended runs are kept."""
    others: list[dict[int, float]] = field(default_factory=list)

    @property
    def space(self) -> Space:
        return self.task.space

    def run(self, sample: Sample, seed: int) -> Iterator[Point]:
        self.others.append({})
        seen = self.others[-1]
        for row in self._curve(sample, seed):
            searched, others = ([row[column] for column in columns] for columns in self.task.columns.values())
            seen[int(row["percent"])] = float(np.mean(others))
            yield Point(int(row["percent"]), int(row["images"]), float(np.mean(searched)), tuple(searched))

    def _curve(self, sample: Sample, seed: int) -> Iterator[Mapping[str, float]]:
        name = hashlib.sha256(json.dumps([sample, seed], sort_keys=True).encode()).hexdigest()
        file = self.runs / f"{name}.json"
        if file.exists():
            yield from json.loads(file.read_text())
            return
        rows = []
        for row in curve(self.task, self.base, sample, seed):
            rows.append(row)
            yield row
        write_text(file, json.dumps(rows))


@dataclass(frozen=True)
class Search:
    """One search that has ended."""

    method: str
    seed: int
    runs: int
    quality: float
    """Of the winner."""
    trials: int
    finished: int


def searched(job: tuple[str, Path, str, int, int]) -> Search:
    task_name, folder, name, seed, runs = job
    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    task = TASKS[task_name]
    sampler, rule = METHODS[task_name][name]
    runs = folder / f"runs-{task_name}"
    runs.mkdir(exist_ok=True)
    real = RealTask(task, prepared_base(task, folder), runs)
    product = ProductSearcher(sampler.model_copy(update={"seed": seed}), rule, task.space, task.observations)
    outcome = Arena(real, product, budget=runs * task.longest, workers=1, seed=seed).play()
    lead = outcome.leads[-1] if outcome.leads else None
    quality = real.others[lead.trial][lead.percent] if lead else math.nan
    finished = sum(trial.state == "finished" for trial in outcome.trials)
    return Search(name, seed, runs, quality, len(outcome.trials), finished)


def known(file: Path) -> list[Search]:
    """Returns the searches in a file that an earlier bench has written."""
    return [Search(**row) for row in pd.read_csv(file).to_dict("records")] if file.exists() else []


def interval(values: np.ndarray) -> tuple[float, float]:
    """95 % bootstrap interval of the mean."""
    drawn = np.random.default_rng(0).choice(values, (2000, len(values))).mean(axis=1)
    return float(np.quantile(drawn, 0.025)), float(np.quantile(drawn, 0.975))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--task", choices=list(METHODS), default=ONE_POLICY.name)
    parser.add_argument("--methods", help="some of them, separated by semicolons; random is always there")
    for name, value in (("--seeds", 8), ("--runs", 8), ("--processes", 2)):
        parser.add_argument(name, type=int, default=value)
    given = parser.parse_args()
    wanted = given.methods.split(";") if given.methods else list(METHODS[given.task])
    names = list(dict.fromkeys([BASELINES[0], *wanted]))
    file = given.folder / f"searches-{given.task}.csv"
    ended = {(each.method, each.seed): each for each in known(file) if each.runs == given.runs}
    keys = list(itertools.product(names, range(given.seeds)))
    jobs = [
        (given.task, given.folder, name, seed, given.runs)
        for seed, name in itertools.product(range(given.seeds), names)
        if (name, seed) not in ended
    ]
    with ProcessPoolExecutor(given.processes, multiprocessing.get_context("spawn")) as pool:
        for each in pool.map(searched, jobs):
            ended[each.method, each.seed] = each
            pd.DataFrame([asdict(each)]).to_csv(file, mode="a", header=not file.exists(), index=False)
            shown = f"{each.quality:.4f}  {each.trials} trials, {each.finished} finished"
            print(f"{each.method:<24} seed {each.seed}  {shown}", flush=True)
    found = {name: [ended[name, seed] for name_, seed in keys if name_ == name] for name in names}
    table = [row_of(name, found) for name in names]
    for row in table:
        gains = "".join(
            f"   over {other} {row[f'over {other}']:+.4f} ({row[f'over {other} low']:+.4f} to "
            f"{row[f'over {other} high']:+.4f})"
            for other in BASELINES
            if other in found
        )
        print(
            f"{row['method']:<24}{row['quality']:.4f}{gains}   {row['trials']:.0f} trials, {row['finished']:.0f} ended"
        )
    print(json.dumps({"task": given.task, "runs": given.runs, "methods": table}))


def row_of(name: str, found: Mapping[str, Sequence[Search]]) -> dict[str, Any]:
    """Returns a method's mean quality, and its gain over each baseline with a paired 95 % interval."""
    qualities = {method: np.array([each.quality for each in searches]) for method, searches in found.items()}
    row: dict[str, Any] = {"method": name, "seeds": len(found[name]), "quality": float(qualities[name].mean())}
    for other in BASELINES:
        if other in found:
            gains = qualities[name] - qualities[other]
            low, high = interval(gains)
            row |= {f"over {other}": float(gains.mean()), f"over {other} low": low, f"over {other} high": high}
    trials, finished = (float(np.mean([getattr(each, key) for each in found[name]])) for key in ("trials", "finished"))
    return row | {"trials": trials, "finished": finished}


if __name__ == "__main__":
    main()
