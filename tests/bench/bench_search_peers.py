"""The default search against other tools', on the same model of curves and images as bench_search.py.

    python tests/bench/bench_search_peers.py PYTHON [--seeds 50] ...

PYTHON is that of an environment with syne-tune[basic], huggingface_hub and nothing of ours; `make
bench-search-peers` makes it.
"""

import sys
from functools import partial
from pathlib import Path

from search.space.space import Space
from tests.bench.bench_search import ONE_POLICY_METHODS, report
from tests.bench.peer_methods import HyperbandSearcher, SyneTuneSearcher
from tests.bench.search_arena import Opening, Searcher

OURS = ("random", "TPE, percent 25 x2", "GP", "GP, below the best three, extrapolated")
SYNE_TUNE = ("ASHA", "ASHABORE", "ASHACQR", "BOHB", "CQR")


def syne_tune(python: Path, name: str, space: Space, seed: int) -> Searcher:
    return SyneTuneSearcher(python, name, seed)


if __name__ == "__main__":
    peer = Path(sys.argv.pop(1))
    theirs: dict[str, Opening] = {f"Syne Tune {name}": partial(syne_tune, peer, name) for name in SYNE_TUNE}
    ours = {name: ONE_POLICY_METHODS[name] for name in OURS}
    report({"one-policy": ours | {"Optuna TPE and Hyperband": HyperbandSearcher} | theirs}, calibrate=False)
