"""Whether a verdict holds: searches with known true AUROCs, and what `chex-search verdict` says of them.

python tests/bench/bench_verdict.py [SEARCHES [SEED [OBSERVATIONS ...]]]
"""

import json
import sys
from collections.abc import Iterator

import numpy as np

from chex.statistics.bootstrap import PLAIN, BootstrapScores, bootstrap_scores, draw_bootstrap
from chex.statistics.delong import auroc_influences, auroc_intervals
from search.analysis.best_set import best_set
from search.analysis.ensemble import Reports, chosen_by, ensemble, mean_report_auroc
from search.analysis.selection import choose
from search.analysis.selection_bootstrap import SelectionBootstrap, bootstrap_selection, debiased_auroc
from search.analysis.value_comparison import compare_values
from tests.bench.simulated_search import PARAM, Scenario, Simulated, simulate

SCENARIOS = (
    Scenario("all equal"),
    Scenario("sd .01", spread=0.01),
    Scenario("sd .03", spread=0.03),
    Scenario("one leads by .05", lead=0.05),
    Scenario("sd .01, value +.01", spread=0.01, effect=0.01),
    Scenario("sd .01, value +.02", spread=0.01, effect=0.02),
)
UNSEEN = 4000
Figures = dict[str, float]


def judged(scenario: Scenario, found: Simulated, rng: np.random.Generator) -> Figures:
    """Errors and hits of one search."""
    columns = range(found.truth.shape[1])
    metric_areas = auroc_influences(found.truth, found.probability, found.patients, columns)
    drawn = draw_bootstrap(len(metric_areas.influence), rng)
    metric = bootstrap_scores("mean", metric_areas, drawn)
    held = bootstrap_selection(metric, found.trials, found.rows)
    choice = choose(metric_areas.auroc[None], found.trials)
    winner, kept = int(choice.winner[0]), choice.kept[0]
    true = found.true[winner]
    naive = auroc_intervals(found.truth, found.probability[winner][None], found.patients)[0].mean
    right = debiased_auroc(held, metric, naive)
    there = best_set(metric_areas.select(kept), rng)
    return {
        "naive_error": naive.value - true,
        "naive_covers": naive.low <= true <= naive.high,
        "error": right.value - true,
        "covers": right.low <= true <= right.high,
        "width": right.high - right.low,
        **_others(metric, held, metric_areas.auroc[winner], kept, drawn, true),
        **_compared(scenario, found, held, metric, kept),
        "ties_hold_best": there[np.argmax(found.true[kept])],
        "ties": there.sum(),
    }


def _others(
    metric: BootstrapScores, held: SelectionBootstrap, naive: float, kept: np.ndarray, drawn: np.ndarray, true: float
) -> Figures:
    """What was tried too: plain bags out of which the patients not drawn score, and shrinkage to the mean trial."""
    chosen = held.choices[PLAIN].winner
    left = (drawn == 0) / (drawn == 0).mean(axis=1, keepdims=True) - 1
    scored = metric.areas.auroc[chosen] + (left * metric.areas.influence[:, chosen].T).sum(axis=1)
    low, high = np.percentile(scored, [2.5, 97.5])
    values, influence = metric.areas.auroc[kept], metric.areas.influence[:, kept]
    noise = ((influence - influence.mean(axis=1, keepdims=True)) ** 2).sum(axis=0).mean()
    shrunk = values.mean() + max(0.0, 1 - noise / values.var(ddof=1)) * (naive - values.mean())
    return {"bbc_error": scored.mean() - true, "bbc_covers": low <= true <= high, "shrunk_error": shrunk - true}


def _compared(
    scenario: Scenario, found: Simulated, held: SelectionBootstrap, metric: BootstrapScores, kept: np.ndarray
) -> Figures:
    pair = compare_values(held, PARAM, metric, tests=1)[0]  # ones - zeros
    ones = np.array([row.params[PARAM] == "ones" for row in found.rows])
    best = [places[np.argmax(metric.areas.auroc[places])] for places in (kept[ones], kept[~ones])]
    gap = found.true[best[0]] - found.true[best[1]]
    return {
        "best_naive_error": metric.areas.auroc[best[0]] - metric.areas.auroc[best[1]] - gap,
        "best_error": pair.best.value - gap,
        "best_covers": pair.best.low <= gap <= pair.best.high,
        "average_error": pair.average.value - scenario.effect,
        "average_covers": pair.average.low <= scenario.effect <= pair.average.high,
        "different": pair.verdict == "different",
    }


def gained(found: Simulated, rng: np.random.Generator) -> Figures:
    """What ensembles were said to gain over the winner, and what they gain on UNSEEN images."""
    images = np.arange(len(found.trials))
    reports = Reports(found.truth, found.probability, found.trials, images, found.patients)
    whole = np.ones(len(found.truth))
    unseen = Reports(*found.unseen(UNSEEN, rng), found.trials, images, np.arange(UNSEEN).astype(str))
    members, top = chosen_by(reports, whole)
    scores = [mean_report_auroc(unseen, chosen, np.ones(UNSEEN)) for chosen in (top[:1], members, top)]
    said = ensemble(reports, rng, lambda bag, of: None)
    naive = mean_report_auroc(reports, members, whole) - mean_report_auroc(reports, top[:1], whole)
    truly, top_truly = scores[1] - scores[0], scores[2] - scores[0]
    return {
        "gain": truly,
        "gain_naive_error": naive - truly,
        "gain_error": said.gain.value - truly,
        "gain_covers": said.gain.low <= truly <= said.gain.high,
        "top_gain": top_truly,
        "top_gain_error": said.top_gain.value - top_truly,
        "top_gain_covers": said.top_gain.low <= top_truly <= said.top_gain.high,
    }


def _mean(rows: Iterator[Figures]) -> Figures:
    each = list(rows)
    return {name: round(float(np.mean([row[name] for row in each])), 4) for name in each[0]}


def main(searches: int = 500, seed: int = 2000, *observations: int) -> None:
    """Prints the tables, then one line of JSON."""
    told: dict[str, Figures] = {}
    heads = ("bias", "naive", "BBC", "shrunk", "covers", "naive", "BBC", "width")
    heads += ("differ", "avg.bias", "covers", "best.bias", "naive", "covers", "has best", "ties")
    shown = ("error", "naive_error", "bbc_error", "shrunk_error", "covers", "naive_covers", "bbc_covers", "width")
    shown += ("different", "average_error", "average_covers", "best_error", "best_naive_error", "best_covers")
    shown += ("ties_hold_best", "ties")
    for count in observations or (1, 5):
        print(f"\n{count} observation{'s' if count > 1 else ''}, {searches} searches a row")
        print(f"{'':<20}" + "".join(f"{head:>10}" for head in heads))
        for place, scenario in enumerate(SCENARIOS):
            streams = (np.random.default_rng([seed, count, place, search]) for search in range(searches))
            row = _mean(judged(scenario, simulate(scenario, count, rng), rng) for rng in streams)
            told[f"{scenario.name}, {count}"] = row
            print(f"{scenario.name:<20}" + "".join(f"{row[name]:>10.4g}" for name in shown), flush=True)
    print(f"\nensembles over the winner, {max(1, searches // 10)} searches a row")
    for count in observations or (1, 5):
        for place, scenario in enumerate(SCENARIOS[:3]):
            streams = (
                np.random.default_rng([seed, count, place, search, 1]) for search in range(max(1, searches // 10))
            )
            row = _mean(gained(simulate(scenario, count, rng), rng) for rng in streams)
            told[f"{scenario.name}, {count}"] |= row
            print(f"{scenario.name:<20}" + "  ".join(f"{name} {value:.4g}" for name, value in row.items()), flush=True)
    print(json.dumps(told))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
