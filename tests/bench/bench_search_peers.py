"""The default search against other tools', on the same models of curves and images as bench_search.py.

    python tests/bench/bench_search_peers.py PYTHON [--task by-observation] [--seeds 50] ...

PYTHON is that of an environment with syne-tune[basic], huggingface_hub and nothing of ours; `make
bench-search-peers` makes it.
"""

import sys
from functools import partial
from pathlib import Path

from search.space.space import Space
from tests.bench.bench_search import METHODS, report
from tests.bench.curve_task import TASKS, CurveTask
from tests.bench.peer_methods import HyperbandSearcher, SyneTuneSearcher
from tests.bench.search_arena import Opening, Searcher

OURS = {
    "one-policy": ("random", "TPE, percent 25 x2", "GP", "GP, below the best three, extrapolated"),
    "by-observation": ("random", "Optuna TPE", "by observation", "by observation, percent 25 x2"),
}
SYNE_TUNE = ("ASHA", "ASHABORE", "ASHACQR", "BOHB", "CQR")


def syne_tune(python: Path, name: str, task: CurveTask, space: Space, seed: int) -> Searcher:
    return SyneTuneSearcher(python, name, task.parameters, seed)


def methods(python: Path, task: CurveTask) -> dict[str, Opening]:
    """Our methods on the task and the others'."""
    theirs: dict[str, Opening] = {f"Syne Tune {name}": partial(syne_tune, python, name, task) for name in SYNE_TUNE}
    ours = {name: METHODS[task.name][name] for name in OURS[task.name]}
    return ours | {"Optuna TPE and Hyperband": HyperbandSearcher} | theirs


if __name__ == "__main__":
    python = Path(sys.argv.pop(1))
    report({name: methods(python, TASKS[name]) for name in OURS}, calibrate=False)
