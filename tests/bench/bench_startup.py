"""How long commands take to answer, beside `python -c pass` and `import torch` in the same run.

Each command is run ROUNDS times in turn with the others, so that they meet the same load; medians are reported, and the
spread from the fastest to the slowest run. Targets on a quiet machine: help .3 s, a mistake .5 s, status, logs
and list 1.5 s.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.made_search import made_search

ROUNDS = 5
PYTHON = [sys.executable, "-c"]


def commands(folder: Path) -> dict[str, list[str]]:
    """Returns what is measured, by name. `folder` holds a finished search."""
    here = Path(sys.executable).parent
    chex, search = [str(here / "chex")], [str(here / "chex-search")]
    return {
        "python -c pass": [*PYTHON, "pass"],
        "import torch": [*PYTHON, "import torch"],
        "chex --help": [*chex, "--help"],
        "chex-search --help": [*search, "--help"],
        "chex train, no such file": [*chex, "train", "nothere.yaml"],
        "chex train, wrong value": [*chex, "train", "configs/run/densenet121.yaml", "--set", "optimizer.lr=fast"],
        "chex-search run, no such file": [*search, "run", "nothere.yaml"],
        "chex-search status": [*search, "status", str(folder)],
        "chex-search logs": [*search, "logs", str(folder), "1"],
        "chex-search list": [*search, "list", "--results", str(folder.parent)],
        "chex-search verdict": [*search, "verdict", str(folder)],
    }


def seconds(command: list[str]) -> float:
    """Returns the wall time of a command in seconds."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    start = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False, env=environment)
    return time.perf_counter() - start


def measure() -> dict[str, list[float]]:
    """Returns the wall times of every command, in seconds, after one run that fills caches."""
    with TemporaryDirectory() as place:
        folder = Path(place) / "made"
        made_search(folder, 12, space={"optimizer.lr": {"loguniform": [1e-4, 1e-2]}})
        every = commands(folder)
        for command in every.values():
            seconds(command)
        times: dict[str, list[float]] = {name: [] for name in every}
        for _ in range(ROUNDS):
            for name, command in every.items():
                times[name].append(seconds(command))
    return times


def main() -> None:
    """Prints a table, and its figures as JSON."""
    times = measure()
    median = {name: statistics.median(values) for name, values in times.items()}
    print(f"{'':<32}{'s':>7}{'min':>7}{'max':>7}{'of pass':>9}{'of torch':>9}")
    for name, values in times.items():
        of_pass, of_torch = median[name] / median["python -c pass"], median[name] / median["import torch"]
        print(f"{name:<32}{median[name]:>7.2f}{min(values):>7.2f}{max(values):>7.2f}{of_pass:>9.1f}{of_torch:>9.2f}")
    print(json.dumps({name: [round(value, 3) for value in values] for name, values in times.items()}))


if __name__ == "__main__":
    main()
