"""Trains the runs that the curve model is calibrated on, about 40 minutes on two cores, and writes curves.csv.

    python tests/bench/collect_curves.py FOLDER PART PARTS      trains every PARTS-th run; FOLDER holds the phantom tree
    python tests/bench/collect_curves.py FOLDER                 gathers what the parts left into tests/bench/curves.csv

First come configs drawn at random, then some near the best so far, then some of both again under other seeds.
A part that is started again goes on.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from chex.config import RunConfig
from chex.runtime.rng import rng_for
from search.space.space import Space, build_space
from tests.bench.curve_model import TABLE
from tests.bench.curve_task import SPACE, base_run, curve
from tests.bench.points import draw, near

RANDOM, NEAR, REPEATED, SEEDS = 220, 24, 16, 2
BEST = 15
PARAMS = list(SPACE)


def collect(folder: Path, part: int, parts: int) -> None:
    base = base_run(folder)
    space = build_space(SPACE, RunConfig().model_dump(mode="json"))
    mine = folder / f"curves-{part}.csv"
    done = set(pd.read_csv(mine)["run"]) if mine.exists() else set()
    for number in range(part, RANDOM + NEAR + REPEATED * SEEDS, parts):
        if number in done:
            continue
        config, sample = planned(folder, space, number)
        rows = [{"run": number, "config": config} | sample | found for found in curve(base, sample, seed=number)]
        pd.DataFrame(rows).to_csv(mine, mode="a", header=not mine.exists(), index=False)
        print(number, rows[-1]["images"], rows[-1]["others"], flush=True)


def planned(folder: Path, space: Space, number: int) -> tuple[int, dict[str, Any]]:
    """Which config (the number of its first run) a run trains, and the config."""
    rng = rng_for(number, "curves")
    if number < RANDOM:
        return number, draw(space, rng)
    ends = gathered(folder).groupby("run").last()
    ends = ends[ends["config"] == ends.index].sort_values("others", ascending=False)
    if number < RANDOM + NEAR:
        return number, near(space, sample_of(ends.iloc[int(rng.integers(BEST))]), rng)
    again = (number - RANDOM - NEAR) // SEEDS
    config = again if again < REPEATED // 2 else int(ends.index[2 * (again - REPEATED // 2)])
    return config, sample_of(ends.loc[config])


def sample_of(row: pd.Series) -> dict[str, Any]:
    sample = {param: row[param] for param in PARAMS}
    return {param: value.item() if isinstance(value, np.generic) else value for param, value in sample.items()}


def gathered(folder: Path) -> pd.DataFrame:
    tables = [pd.read_csv(path, keep_default_na=False, na_values=[""]) for path in sorted(folder.glob("curves-*.csv"))]
    return pd.concat(tables).sort_values(["run", "percent"], kind="stable").reset_index(drop=True)


if __name__ == "__main__":
    if len(sys.argv) > 2:
        collect(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
    else:
        gathered(Path(sys.argv[1])).to_csv(TABLE, index=False, float_format="%.5g")
