"""Whether a verdict holds: the product's own searches on trials with known truth, and what `verdict` says of them.

    python tests/bench/bench_verdict.py [--searches 100] [--seed 2000] [--processes 2] [--scenarios NAME;NAME]

Ends with the same figures as a line of JSON.
"""

import argparse
import json
import multiprocessing
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np
import optuna
import torch

from search.analysis.ensemble import Reports, chosen_by, ensemble, mean_report_auroc
from search.analysis.strategies import Strategies, ValueEffect
from search.analysis.verdict import Verdict, analyze
from tests.bench.simulated_search import POLICIES, Scenario, Simulated, simulate

SCENARIOS = (
    Scenario("no effect"),
    Scenario("one policy +.03", planted=0.03),
    Scenario("policies sd .012", spread=0.012),
    Scenario("policies sd .02, cross-talk .004", spread=0.02, cross_talk=0.004),
    Scenario("one policy +.03, TPE", planted=0.03, sampler="tpe"),
    Scenario("one policy +.03, random", planted=0.03, sampler="random"),
    Scenario("one policy +.03, not pruned", planted=0.03, pruning=False),
    Scenario("one observation", observations=1, policies=2),
    Scenario("one observation, +.02", observations=1, policies=2, planted=0.02),
    Scenario("one observation, +.02, random", observations=1, policies=2, planted=0.02, sampler="random"),
    Scenario("one observation, 8 policies sd .012", observations=1, spread=0.012),
)
BASE = {"sampling.balance": "none"}
UNSEEN = 4000
ENSEMBLES = 0.2
"""The share of searches in which ensembles are judged too."""
Figures = dict[str, float]


def judged(job: tuple[Scenario, int, bool]) -> Figures:
    """Errors and hits of one search."""
    scenario, seed, with_ensemble = job
    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    found = simulate(scenario, seed)
    base = BASE | {f"policy.{name}": "zeros" for name in scenario.names}
    started = time.monotonic()
    verdict = analyze(found.rows, found.predictions, found.space, base, seed, {})
    assert verdict
    seconds = time.monotonic() - started
    figures = {"seconds": seconds, "pruned": verdict.pruned, **of_winner(found, verdict)}
    figures |= of_strategies(scenario, found, verdict.strategies)
    return figures | (of_ensembles(found, np.random.default_rng([seed, 2])) if with_ensemble else {})


def of_winner(found: Simulated, verdict: Verdict) -> Figures:
    trial = next(row for row in found.rows if row.number == verdict.winner)
    kept = max(trial.reports, key=lambda report: float(report["auroc"]))["images_seen"]
    place = np.flatnonzero((found.predictions.trials == trial.number) & (found.predictions.images == kept))[0]
    true, naive, right = float(found.true[place]), verdict.naive_auroc, verdict.debiased_auroc
    return {
        "naive_error": naive.value - true,
        "naive_covers": naive.low <= true <= naive.high,
        "error": right.value - true,
        "covers": right.low <= true <= right.high,
        "width": right.high - right.low,
        "again_error": (again := verdict.strategies.config_aurocs[verdict.winner]).value
        - (config := found.config_true[verdict.winner]),
        "again_covers": again.low <= config <= again.high,
    }


def of_strategies(scenario: Scenario, found: Simulated, table: Strategies) -> Figures:
    rows = [(each, *truths(found, scenario, table, each)) for each in table.values]
    against = [(each, true) for each, true, _ in rows if each.value != each.reference]
    claimed = [(each, others) for each, _, others in rows if each.claim]
    sets = [table.of(param) for param in table.params if param.startswith("policy.")]
    best = [[truth_of(found, scenario, each) for each in values] for values in sets]
    holds = [
        any(each.may_be_best and true >= max(trues) - 1e-9 for each, true in zip(values, trues, strict=True))
        for values, trues in zip(sets, best, strict=True)
    ]
    figures = {
        "effect_error": mean([each.effect.value - true for each, true in against]),
        "effect_covers": mean([each.effect.low <= true <= each.effect.high for each, true in against]),
        "others_error": mean([each.over_others.value - others for each, _, others in rows]),
        "others_covers": mean([each.over_others.low <= others <= each.over_others.high for each, _, others in rows]),
        "false_claim": any(others * (1 if each.claim == "better" else -1) <= 1e-9 for each, others in claimed),
        "best_in_set": mean(holds),
        "set_size": mean([sum(each.may_be_best for each in values) for values in sets]),
        "sure": mean([max(each.probability for each in values) for values in sets]),
        "right": mean(
            [
                trues[int(np.argmax([each.probability for each in values]))] >= max(trues) - 1e-9
                for values, trues in zip(sets, best, strict=True)
            ]
        ),
    }
    if scenario.planted:
        figures["power"] = mean(
            [
                any(
                    each.claim == "better" and true >= max(trues) - 1e-9
                    for each, true in zip(values, trues, strict=True)
                )
                for values, trues in zip(sets, best, strict=True)
            ]
        )
    return figures


def truths(found: Simulated, scenario: Scenario, table: Strategies, value: ValueEffect) -> tuple[float, float]:
    """The true difference of a value from its reference, and from the mean of the others."""
    values = table.of(value.param)
    by_value = {each.value: truth_of(found, scenario, each) for each in values}
    others = [true for name, true in by_value.items() if name != value.value]
    return by_value[value.value] - by_value[value.reference], by_value[value.value] - float(np.mean(others))


def truth_of(found: Simulated, scenario: Scenario, value: ValueEffect) -> float:
    name = value.param.removeprefix("policy.")
    if name not in scenario.names:
        return 0.0
    return float(found.effects[scenario.names.index(name), POLICIES.index(value.value)])


def of_ensembles(found: Simulated, rng: np.random.Generator) -> Figures:
    """What the greedy ensemble was said to gain over the winner, and what it gains on UNSEEN images."""
    told = found.predictions
    reports = Reports(told.truth, told.probability, told.trials, told.images, told.patients)
    unseen = Reports(*found.unseen(UNSEEN, rng), told.trials, told.images, np.arange(UNSEEN).astype(str))
    members, top = chosen_by(reports, np.ones(len(told.truth)))
    scores = [mean_report_auroc(unseen, chosen, np.ones(UNSEEN)) for chosen in (top[:1], members)]
    said, true = ensemble(reports, rng, lambda bag, of: None).gain, scores[1] - scores[0]
    return {"gain": true, "gain_error": said.value - true, "gain_covers": said.low <= true <= said.high}


def mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else float("nan")


HEAD = (
    ("bias", "error"),
    ("naive", "naive_error"),
    ("covers", "covers"),
    ("again", "again_error"),
    ("covers", "again_covers"),
    ("effect", "effect_error"),
    ("covers", "effect_covers"),
    ("others", "others_error"),
    ("covers", "others_covers"),
    ("false", "false_claim"),
    ("power", "power"),
    ("in set", "best_in_set"),
    ("size", "set_size"),
    ("sure", "sure"),
    ("right", "right"),
    ("gain", "gain_error"),
    ("covers", "gain_covers"),
    ("s", "seconds"),
)


def summary(rows: dict[str, Figures]) -> dict[str, Any]:
    """The figures by the names of their targets; coverage is the lowest and highest of all intervals and scenarios."""
    errors = [row["error"] for row in rows.values()]
    intervals = ("covers", "again_covers", "effect_covers", "others_covers", "gain_covers")
    covers = [row[name] for row in rows.values() for name in intervals]
    found = {
        "max_bias": max(map(abs, errors)),
        "mean_bias": abs(float(np.mean(errors))),
        "coverage_low": float(np.nanmin(covers)),
        "coverage_high": float(np.nanmax(covers)),
        "false_family": max(row["false_claim"] for row in rows.values()),
        "best_in_set": min(row["best_in_set"] for row in rows.values()),
    }
    named = {"power_02": ("one observation, +.02", "power"), "power_policy_03": ("one policy +.03", "power")}
    named["set_size"] = ("one policy +.03", "set_size")
    return found | {name: rows[scenario][key] for name, (scenario, key) in named.items() if scenario in rows}


def main() -> None:
    parser = argparse.ArgumentParser()
    for name, value in (("--searches", 100), ("--seed", 2000), ("--processes", 2)):
        parser.add_argument(name, type=int, default=value)
    parser.add_argument("--scenarios", help="some of them, separated by semicolons")
    given = parser.parse_args()
    wanted = given.scenarios.split(";") if given.scenarios else [scenario.name for scenario in SCENARIOS]
    print(f"{given.searches} searches a row\n{'':<38}" + "".join(f"{head:>8}" for head, _ in HEAD), flush=True)
    rows: dict[str, Figures] = {}
    with ProcessPoolExecutor(given.processes, multiprocessing.get_context("spawn")) as pool:
        for scenario in (each for each in SCENARIOS if each.name in wanted):
            jobs = [
                (scenario, given.seed + 1000 * SCENARIOS.index(scenario) + search, search < ENSEMBLES * given.searches)
                for search in range(given.searches)
            ]
            found = list(pool.map(judged, jobs))
            names = dict.fromkeys(name for each in found for name in each)
            row = {name: round(mean([each[name] for each in found if name in each]), 4) for name in names}
            rows[scenario.name] = row
            print(
                f"{scenario.name:<38}" + "".join(f"{row.get(name, float('nan')):>8.3f}" for _, name in HEAD), flush=True
            )
    print(json.dumps({"searches": given.searches, **summary(rows), "scenarios": rows}))


if __name__ == "__main__":
    main()
