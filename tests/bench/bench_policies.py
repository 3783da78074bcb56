"""What each policy is worth for each observation: a finished search of policies.yaml, judged image by image.

    python tests/bench/bench_policies.py results/policies

Prints the mean AUROC of each policy over the seeds, and its gain over `zeros` at the same seeds with a 95 % interval
for which patients and seeds are drawn anew. Ends with the same figures as a line of JSON.
"""

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from chex.data import prediction_files
from chex.reporting.console import format_decimal
from chex.runtime import run_folder
from chex.runtime.rng import rng_for
from chex.schema.labels import FIVE
from chex.statistics.metrics import auroc, patient_weights, weighted_auroc

BASELINE, DRAWS = "zeros", 1000
ONES_LIKE, ZEROS_LIKE = ("ones", "smoothed_ones"), ("zeros", "smoothed_zeros", "ignore")


def main(folder: Path) -> None:
    trials = pd.read_csv(folder / "trials.csv")
    trials = trials[trials["state"] == "finished"]
    policies, seeds = list(dict.fromkeys(trials["policy.default"])), sorted(set(trials["seed"]))
    numbers = trials.pivot(index="policy.default", columns="seed", values="trial").loc[policies, seeds]
    tables = {
        (policy, seed): prediction_files.load_predictions(predictions(folder, numbers.loc[policy, seed]), FIVE)
        for policy in policies
        for seed in seeds
    }
    patients, truth, _ = tables[policies[0], seeds[0]]
    rng = rng_for(0, "bench policies")
    films, drawn = patient_weights(patients, rng, DRAWS), rng.integers(len(seeds), size=(DRAWS, len(seeds)))
    result = {}
    for column, name in enumerate(FIVE):
        figures = {
            policy: [auroc(truth[:, column], tables[policy, seed][2][:, column]) for seed in seeds]
            for policy in policies
        }
        draws = {
            policy: redrawn(
                [weighted_auroc(truth[:, column], tables[policy, seed][2][:, column], films) for seed in seeds], drawn
            )
            for policy in policies
        }
        result[name] = {
            "policies": {policy: figures_of(policy, figures, draws) for policy in policies},
            "ones-like minus zeros-like": contrast(figures, draws),
        }
    show(result, len(truth), len(set(patients)), seeds)
    print(json.dumps({"films": len(truth), "seeds": len(seeds), "observations": result}))


def predictions(folder: Path, number: float) -> Path:
    return folder / "trials" / f"{int(number):03d}" / run_folder.PREDICTIONS


def redrawn(per_seed: list[np.ndarray], drawn: np.ndarray) -> np.ndarray:
    """float (D,): the mean over the seeds of each draw, on the images of that draw."""
    return np.take_along_axis(np.stack(per_seed, axis=1), drawn, axis=1).mean(axis=1)


def figures_of(policy: str, figures: dict[str, list[float]], draws: dict[str, np.ndarray]) -> dict[str, float]:
    gain = np.mean(figures[policy]) - np.mean(figures[BASELINE])
    low, high = np.percentile(draws[policy] - draws[BASELINE], [2.5, 97.5])
    values = {"auroc": np.mean(figures[policy]), "sd": np.std(figures[policy], ddof=1), "gain": gain}
    return {name: round(float(value), 4) for name, value in (values | {"low": low, "high": high}).items()}


def contrast(figures: dict[str, list[float]], draws: dict[str, np.ndarray]) -> dict[str, float]:
    sides = [[name for name in group if name in figures] for group in (ONES_LIKE, ZEROS_LIKE)]
    gain = np.subtract(*(np.mean([figures[name] for name in side]) for side in sides))
    low, high = np.percentile(
        np.subtract(*(np.mean([draws[name] for name in side], axis=0) for side in sides)), [2.5, 97.5]
    )
    return {"gain": round(float(gain), 4), "low": round(float(low), 4), "high": round(float(high), 4)}


def show(result: dict[str, dict], films: int, patients: int, seeds: list[int]) -> None:
    print(
        f"{films:,} validation images of {patients:,} patients, {len(seeds)} seeds; gain: over {BASELINE} at each seed"
    )
    for name, found in result.items():
        print(f"\n{name:<20}{'AUROC':>7}{'sd':>7}{'gain':>8}   95 % interval")
        for policy, row in sorted(found["policies"].items(), key=lambda item: -item[1]["auroc"]):
            print(
                f"  {policy:<18}{format_decimal(row['auroc']):>7}{format_decimal(row['sd']):>7}{row['gain']:>+8.3f}"
                f"   {interval(row)}"
            )
        row = found["ones-like minus zeros-like"]
        print(f"  {'ones-like minus zeros-like':<32}{row['gain']:>+8.3f}   {interval(row)}")


def interval(row: dict[str, float]) -> str:
    if row["low"] == row["high"] == 0:
        return "the baseline"
    verdict = "better" if row["low"] > 0 else "worse" if row["high"] < 0 else "tie"
    return f"{row['low']:+.3f} to {row['high']:+.3f}  {verdict}"


if __name__ == "__main__":
    main(Path(sys.argv[1]))
