"""Real searches of small runs: the product's default against random search and TPE without stopping.

    python tests/bench/bench_search_real.py FOLDER [--seeds 8] [--runs 8] [--processes 2]

FOLDER holds a phantom tree of 1,000 + 1,000 images. Trials run one at a time; every method gets the images of `runs`
runs of all images and six epochs. Proposals and cuts are the product's. The winner is the trial with the highest value
on the images that a search sees, and its quality the AUROC of the weights that it keeps on the others, which no search
sees. Ends with the same figures as a line of JSON.
"""

import argparse
import itertools
import json
import math
import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import torch
from optuna.trial import FrozenTrial, TrialState, create_trial

from search.optimize.pruning import PruningConfig, should_prune
from search.optimize.samplers import SamplerConfig, propose
from search.space.space import Space
from tests.bench.curve_task import ONE_POLICY, base_run, curve
from tests.bench.search_arena import Arena, Point, Sample, Trial, highest

METHODS = {
    "random": (SamplerConfig(kind="random"), None),
    "TPE": (SamplerConfig(), None),
    "TPE, ASHA at 25, 50 %": (SamplerConfig(), PruningConfig()),
}
STATES = {
    "running": TrialState.RUNNING,
    "finished": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}


@dataclass
class RealTask:
    """Trials that really train; `others` are the AUROCs that no search sees, by trial."""

    base: dict[str, Any]
    space: Space
    others: list[dict[int, float]] = field(default_factory=list)

    def run(self, sample: Sample, seed: int) -> Iterator[Point]:
        self.others.append({})
        seen = self.others[-1]
        for row in curve(ONE_POLICY, self.base, sample, seed):
            seen[int(row["percent"])] = row["others Cardiomegaly"]
            yield Point(int(row["percent"]), int(row["images"]), row["searched Cardiomegaly"])


@dataclass
class Product:
    """The product's proposals and cuts."""

    sampler: SamplerConfig
    rule: PruningConfig | None
    space: Space

    def propose(self, trials: Sequence[Trial], spent: float) -> Sample:
        return propose(self.sampler, self.space, [], [self._told(trial) for trial in trials])

    def stops(self, trial: Trial, trials: Sequence[Trial]) -> bool:
        curves = {other.number: other.lifted for other in trials if other.lifted}
        return self.rule is not None and should_prune(self.rule, trial.number, curves)

    def ended(self, trial: Trial) -> None:
        pass

    def leader(self, trials: Sequence[Trial]) -> Trial | None:
        return highest([trial for trial in trials if trial.state != "running"])

    def _told(self, trial: Trial) -> FrozenTrial:
        state = STATES[trial.state]
        return create_trial(
            state=state,
            value=trial.value if state == TrialState.COMPLETE else None,
            params=trial.sample,
            distributions={path: self.space[path].domain for path in trial.sample},
            intermediate_values={point.percent: point.value for point in trial.lifted},
        )


def searched(job: tuple[Path, str, int, int]) -> tuple[str, int, float, int, int]:
    """Method, seed, quality of the winner, trials and finished trials of one search."""
    folder, name, seed, runs = job
    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    sampler, rule = METHODS[name]
    task = RealTask(base_run(ONE_POLICY, folder), ONE_POLICY.space)
    product = Product(sampler.model_copy(update={"seed": seed}), rule, task.space)
    outcome = Arena(task, product, budget=runs * ONE_POLICY.longest, workers=1, seed=seed).play()
    lead = outcome.leads[-1] if outcome.leads else None
    quality = task.others[lead.trial][lead.percent] if lead else math.nan
    finished = sum(trial.state == "finished" for trial in outcome.trials)
    return name, seed, quality, len(outcome.trials), finished


def interval(values: np.ndarray) -> tuple[float, float]:
    """95 % bootstrap interval of the mean."""
    drawn = np.random.default_rng(0).choice(values, (2000, len(values))).mean(axis=1)
    return float(np.quantile(drawn, 0.025)), float(np.quantile(drawn, 0.975))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    for name, value in (("--seeds", 8), ("--runs", 8), ("--processes", 2)):
        parser.add_argument(name, type=int, default=value)
    given = parser.parse_args()
    jobs = [(given.folder, name, seed, given.runs) for seed, name in itertools.product(range(given.seeds), METHODS)]
    found: dict[str, dict[int, tuple[float, int, int]]] = {name: {} for name in METHODS}
    with ProcessPoolExecutor(given.processes, multiprocessing.get_context("spawn")) as pool:
        for name, seed, quality, trials, finished in pool.map(searched, jobs):
            found[name][seed] = quality, trials, finished
            print(f"{name:<24} seed {seed}  {quality:.4f}  {trials} trials, {finished} finished", flush=True)
    table = []
    for name, rows in found.items():
        qualities = np.array([rows[seed][0] for seed in sorted(rows)])
        gains = qualities - np.array([found["random"][seed][0] for seed in sorted(rows)])
        low, high = interval(gains)
        trials, finished = (float(np.mean([row[k] for row in rows.values()])) for k in (1, 2))
        table.append(
            {"method": name, "seeds": len(rows), "quality": float(qualities.mean()), "gain": float(gains.mean())}
            | {"low": low, "high": high, "trials": trials, "finished": finished}
        )
        print(
            f"{name:<24}{qualities.mean():.4f}   over random {gains.mean():+.4f} ({low:+.4f} to {high:+.4f})   "
            f"{trials:.0f} trials, {finished:.0f} finished"
        )
    print(json.dumps({"runs": given.runs, "methods": table}))


if __name__ == "__main__":
    main()
