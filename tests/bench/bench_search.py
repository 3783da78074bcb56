"""Which sampler and stopping rule find the best AUROC in a given number of training images.

    python tests/bench/bench_search.py [--task by-observation [--without-effects]] [--seeds 50] [--processes 2]
        [--workers 4] [--methods NAME;NAME]

The model is calibrated on the task's table of real runs (observation_curve_model.py, curve_model.py), and says first
how well. Every method gets the images of 50 runs (25 with one policy) of all images and the most epochs, and does not
know when they end. A winner is the trial with the best value, as in the product; regret is how far its quality without
noise, of the weights that it keeps, lies below the best of the space. Ends with the same figures as a line of JSON.
"""

import argparse
import json
import math
import multiprocessing
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from chex.errors import InputError
from chex.runtime.rng import rng_for
from chex.schema.labels import FIVE
from search.space.space import Space
from tests.bench import curve_model, observation_curve_model
from tests.bench.curve_table import load_curves
from tests.bench.curve_task import ONE_POLICY, PERCENTS, TASKS, CurveTask
from tests.bench.optuna_methods import (
    Method,
    as_complete,
    asha,
    by_observation,
    envelope,
    extrapolated,
    gp,
    left_out,
    median_rule,
    optuna_default,
    random,
    tpe,
)
from tests.bench.points import draw, near
from tests.bench.search_arena import Arena, Opening, Outcome, Sample, Task

CHECKPOINTS = {"one-policy": (25,), "by-observation": (12, 25, 50)}
"""Runs whose images are the budgets; the last is that of the search, which does not know it."""
MOMENTS = np.linspace(0.02, 1, 50)
"""Shares of the budget at which the leader is looked at."""
BASELINE, PEER, DEFAULT = "random", "Optuna TPE", "by observation, percent 25 x2"
DRAWS = 2000
ONE_POLICY_METHODS: dict[str, Opening] = {
    method.name: method
    for method in (
        Method("random", random),
        Method("random, percent 25 x2", random, asha(25, 2)),
        Method("random, percent 25 x3", random, asha(25, 3)),
        Method("TPE", tpe(10)),
        Method("TPE, startup 20", tpe(20)),
        Method("TPE, univariate", tpe(10, multivariate=False)),
        Method("TPE, images 500 x2", tpe(10), asha(500, 2, "images_seen")),
        Method("TPE, images 500 x3", tpe(10), asha(500, 3, "images_seen")),
        Method("TPE, percent 12 x2", tpe(10), asha(12, 2)),
        Method("TPE, percent 12 x3", tpe(10), asha(12, 3)),
        Method("TPE, percent 25 x2", tpe(10), asha(25, 2)),
        Method("TPE, percent 25 x3", tpe(10), asha(25, 3)),
        Method("TPE, percent 50 x2", tpe(10), asha(50, 2)),
        Method("TPE, percent 25 x2, current value", tpe(10), asha(25, 2), current=True),
        Method("TPE, percent 25 x2, left out", tpe(10), asha(25, 2), left_out),
        Method("TPE, percent 25 x2, told complete", tpe(10), asha(25, 2), as_complete),
        Method("TPE, percent 25 x2, extrapolated", tpe(10), asha(25, 2), extrapolated),
        Method("TPE, median rule", tpe(10), median_rule(25, 5)),
        Method("TPE, below the best three", tpe(10), envelope(25, 3)),
        Method("TPE, percent 25 x2, confirmed", tpe(10), asha(25, 2), confirm=(0.8, 3)),
        Method("TPE, cheap start", tpe(10), startup=10, frugal=4),
        Method("GP", gp(10)),
        Method("GP, cheap start", gp(1), startup=10, frugal=4),
        Method("GP, percent 25 x2, left out", gp(10), asha(25, 2), left_out),
        Method("GP, percent 25 x2, extrapolated", gp(10), asha(25, 2), extrapolated),
        Method("GP, percent 50 x2, extrapolated", gp(10), asha(50, 2), extrapolated),
        Method("GP, below the best three, extrapolated", gp(10), envelope(25, 3), extrapolated),
        Method("GP, below the best three, confirmed", gp(10), envelope(25, 3), extrapolated, confirm=(0.8, 3)),
    )
}

OBSERVATION_METHODS: dict[str, Opening] = {
    method.name: method
    for method in (
        Method("random", random),
        Method("Optuna TPE", optuna_default),
        Method("TPE, with a condition", tpe(10, group=True), condition=True),
        Method("by observation", by_observation(FIVE), one_seed=True),
        Method("by observation, with a condition", by_observation(FIVE), one_seed=True, condition=True),
        Method("random, percent 25 x2", random, asha(25, 2)),
        Method("Optuna TPE, percent 25 x2", optuna_default, asha(25, 2)),
        Method("by observation, percent 25 x2", by_observation(FIVE), asha(25, 2), one_seed=True),
    )
}
METHODS = {"one-policy": ONE_POLICY_METHODS, "by-observation": OBSERVATION_METHODS}


@dataclass(frozen=True)
class Played:
    """What one search found."""

    quality: np.ndarray
    """float (50,): of the leader, without noise, at MOMENTS."""
    trials: int
    finished: int
    pruned: int
    seconds: float
    """Of everything but training."""


class Bench:
    """The model of a task, its space, and the best of the space."""

    def __init__(self, name: str, runs: int, effects: bool):
        task = TASKS[name]
        self.checkpoints = CHECKPOINTS[name]
        self.runs, self.budget = runs, runs * task.longest
        self.space, self.trials, self.truth, self.calibration = (
            one_policy(task) if task is ONE_POLICY else by_observation_task(task, effects)
        )
        self.best = best_of(self.truth, self.space)

    def play(self, opening: Opening, seed: int, workers: int) -> Played:
        started = time.monotonic()
        searcher = opening(self.space, seed)
        try:
            outcome = Arena(self.trials, searcher, self.budget, workers, seed).play()
        finally:
            getattr(searcher, "close", lambda: None)()
        states = [trial.state for trial in outcome.trials]
        seconds = time.monotonic() - started
        return Played(self.qualities(outcome), len(states), states.count("finished"), states.count("pruned"), seconds)

    def qualities(self, outcome: Outcome) -> np.ndarray:
        curves = self.truth([lead.sample for lead in outcome.leads])
        found = [clean[PERCENTS.index(lead.percent)] for clean, lead in zip(curves, outcome.leads, strict=True)]
        since = [lead.images / self.budget for lead in outcome.leads]
        return np.array([([0.5, *found])[np.searchsorted(since, moment, side="right")] for moment in MOMENTS])


Truth = Callable[[list[Sample]], np.ndarray]
"""From configs, float (N, 8): their mean AUROC without noise at PERCENTS."""
Modelled = tuple[Space, Task, Truth, Callable[[], dict[str, Any]]]


def one_policy(task: CurveTask) -> Modelled:
    curves = load_curves(task)
    model = curve_model.CurveModel(curves)
    trials = curve_model.ModelTask(model, task.space)
    return task.space, trials, model.curves, lambda: curve_model.calibration(curves)


def by_observation_task(task: CurveTask, effects: bool) -> Modelled:
    curves = load_curves(task)
    model = observation_curve_model.ObservationCurveModel(task, curves, effects)
    trials = observation_curve_model.ObservationTask(model)
    truth = lambda samples: model.curves(samples).mean(axis=1)  # noqa: E731
    return task.space, trials, truth, lambda: observation_curve_model.calibration(task, curves)


def best_of(truth: Truth, space: Space) -> float:
    """The highest quality of 20,000 points, improved near the best forty in a few rounds."""
    rng = rng_for(0, "best of the space")
    points = [draw(space, rng) for _ in range(20_000)]
    for _ in range(6):
        quality = np.concatenate([truth(points[at : at + 1000]).max(axis=1) for at in range(0, len(points), 1000)])
        top = [points[at] for at in np.argsort(-quality)[:40]]
        points = top + [near(space, point, rng) for point in top for _ in range(50)]
    return float(quality.max())


BENCH: Bench
OPENINGS: Mapping[str, Opening]
"""Both are made before processes fork."""


def prepare(task: str, methods: Mapping[str, Opening], effects: bool = True) -> None:
    global BENCH, OPENINGS
    warnings.simplefilter("ignore")
    BENCH, OPENINGS = Bench(task, CHECKPOINTS[task][-1], effects), methods


def played(job: tuple[str, int, int]) -> Played:
    name, seed, workers = job
    return BENCH.play(OPENINGS[name], seed, workers)


def play_all(names: Sequence[str], seeds: int, workers: int, processes: int) -> dict[str, list[Played]]:
    """Every method at every seed; says each method's line as it is there."""
    found: dict[str, list[Played]] = {}
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("fork")) as pool:
        for name in names:
            found[name] = list(pool.map(played, [(name, seed, workers) for seed in range(seeds)]))
            print(line(name, figures(found, name)), flush=True)
    return found


def figures(found: Mapping[str, Sequence[Played]], name: str) -> dict[str, float]:
    """Regret in thousandths of AUROC, and beside random search's and Optuna's TPE's, with paired 95 % intervals.

    Without a number of runs in its name, a figure is of the whole budget.
    """
    ours, theirs = (np.array([each.quality for each in found[key]]) for key in (name, BASELINE))
    drawn = rng_for(0, "bench search").integers(len(ours), size=(DRAWS, len(ours)))
    gains = np.array([reached(ours[each], theirs[each]) for each in drawn])
    known = gains[~np.isnan(gains)]
    result: dict[str, float] = {}
    for runs in BENCH.checkpoints:
        moment = int(np.argmin(np.abs(MOMENTS - runs / BENCH.runs)))
        suffix = "" if runs == BENCH.runs else f" {runs}"
        regret = 1000 * (BENCH.best - ours[:, moment])
        result |= {f"regret{suffix}": regret.mean(), **interval(f"regret{suffix}", regret[drawn].mean(axis=1))}
        for other, ratio in ((BASELINE, "ratio"), (PEER, "of TPE")):
            if other in found:
                base = 1000 * (BENCH.best - np.array([each.quality for each in found[other]])[:, moment])
                draws = regret[drawn].mean(axis=1) / base[drawn].mean(axis=1)
                result |= {f"{ratio}{suffix}": regret.mean() / base.mean(), **interval(f"{ratio}{suffix}", draws)}
    return result | {
        "reached": reached(ours, theirs),
        "reached low": float(np.percentile(known, 2.5)) if len(known) else math.nan,
        "reached high": math.nan if len(known) < 0.975 * DRAWS else float(np.percentile(gains, 97.5)),
        **{key: float(np.mean([getattr(each, key) for each in found[name]])) for key in LAST},
    }


LAST = ("trials", "finished", "pruned", "seconds")


def interval(name: str, draws: np.ndarray) -> dict[str, float]:
    low, high = np.percentile(draws, [2.5, 97.5])
    return {f"{name} low": float(low), f"{name} high": float(high)}


def reached(ours: np.ndarray, theirs: np.ndarray) -> float:
    """The share of the budget after which the mean leader is as good as random search's at the end; NaN: never."""
    there = ours.mean(axis=0) >= theirs[:, -1].mean()
    return float(MOMENTS[there.argmax()]) if there.any() else math.nan


HEAD = (
    f"{'method':<40}{'regret x1000':>22}{'of random':>20}{'images to reach it':>22}"
    f"{'trials':>8}{'finished':>10}{'pruned':>9}{'s':>6}"
)


def line(name: str, row: Mapping[str, float]) -> str:
    regret = f"{row['regret']:.1f} ({row['regret low']:.1f} to {row['regret high']:.1f})"
    ratio = f"{row['ratio']:.2f} ({row['ratio low']:.2f} to {row['ratio high']:.2f})"
    images = (
        "never" if math.isnan(row["reached"]) else f"{row['reached']:.2f} ({row['reached low']:.2f} to {bound(row)})"
    )
    return (
        f"{name:<40}{regret:>22}{ratio:>20}{images:>22}{row['trials']:>8.0f}{row['finished']:>10.0f}"
        f"{row['pruned']:>9.0f}{row['seconds']:>6.1f}"
    )


def bound(row: Mapping[str, float]) -> str:
    return "never" if math.isnan(row["reached high"]) else f"{row['reached high']:.2f}"


def report(methods: Mapping[str, Mapping[str, Opening]], calibrate: bool = True) -> None:
    """Plays what the command line asks for and prints it. `methods` are those of each task."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--task", choices=list(methods), default=next(iter(methods)))
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--without-effects", action="store_true", help="every policy is worth the same")
    parser.add_argument("--methods", help="some of them, separated by semicolons; random is always there")
    given = parser.parse_args()
    try:
        prepare(given.task, methods[given.task], not given.without_effects)
    except InputError as error:
        raise SystemExit(str(error)) from None
    for name, value in BENCH.calibration().items() if calibrate and not given.without_effects else ():
        print(f"{name}: {value}")
    wanted = given.methods.split(";") if given.methods else list(methods[given.task])
    chosen = list(dict.fromkeys([BASELINE, *wanted]))
    budget = f"{BENCH.budget:,} images, {given.workers} workers, {given.seeds} seeds"
    print(f"\n{budget}, best of the space {BENCH.best:.4f}\n{HEAD}")
    found = play_all(chosen, given.seeds, given.workers, given.processes)
    rows = {name: rounded(figures(found, name)) for name in found}
    ours = {"by_observation": summary(rows[DEFAULT])} if DEFAULT in rows else {}
    settings = {"budget": BENCH.budget, "workers": given.workers, "seeds": given.seeds}
    print(json.dumps(settings | {"methods": rows} | ours))


def summary(row: Mapping[str, float | None]) -> dict[str, float | None]:
    """The figures of the product's default with a policy for each observation, by the names of their targets."""
    found = {"images_to_random": row["reached"]}
    for runs in BENCH.checkpoints:
        suffix = "" if runs == BENCH.runs else f" {runs}"
        found |= {f"ratio_random_{runs}{end}": row[f"ratio{suffix}{end.replace('_', ' ')}"] for end in ("", "_high")}
        found |= {f"ratio_tpe_{runs}{end}": row.get(f"of TPE{suffix}{end.replace('_', ' ')}") for end in ("", "_high")}
    return found


def rounded(row: Mapping[str, float]) -> dict[str, float | None]:
    return {key: None if math.isnan(value) else round(value, 3) for key, value in row.items()}


if __name__ == "__main__":
    report(METHODS)
