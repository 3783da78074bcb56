"""Kills a run again and again, at random moments, and looks whether it ends as one that was left in peace.

    python tests/bench/kill_run.py KILLS SEED [FOLDER]

Each life of the run is a process of its own, which tells its parent of each step and each file that it puts in place;
the parent kills it (SIGKILL) at a number of those that it drew. Prints a line a life, and last a line of JSON: kills,
those that hit a file being put in place, and whether weights and reports are equal to the last bit.
"""

import json
import os
import random
import signal
import sys
import tempfile
from pathlib import Path
from unittest.mock import patch

from chex.runtime import run_folder

os.environ["HF_HUB_OFFLINE"] = "1"

import pandas as pd
import torch

from chex.config import RunConfig, apply_overrides, validate
from chex.models import checkpoint
from chex.training.run_data import RunData, load_run_data
from chex.training.run_tables import load_run_tables
from chex.training.trainer import fit
from tests.conftest import TREE, write_split

REPLACE = os.replace
MOST_EVENTS = 30
"""A life is killed at the latest after so many steps and files."""


def tiny(folder: Path) -> tuple[RunConfig, RunData]:
    """A run of 18 steps in two rounds on images written into `folder`."""
    write_split(folder / TREE, "train", range(1, 13), uncertain_every=5)
    write_split(folder / TREE, "valid", range(101, 107))
    values = {
        "data.root": str(folder / TREE),
        "image": {"size": 32, "cache_dir": str(folder / "cache")},
        "model": {"backbone": "test_resnet", "dropout": 0.3, "ema_decay": 0.8},
        "policy.default": "smoothed_ones",
        "batches.size": 4,
        "phases": [{"epochs": 2}, {"epochs": 1, "freeze": 2, "sample_seed": 1}],
        "reports": 6,
        "device": {"kind": "cpu", "threads": 1},
    }
    config = validate(RunConfig, apply_overrides({}, values), "kill_run")
    return config, load_run_data(config, load_run_tables(config))


def live(config: RunConfig, data: RunData, folder: Path, tell: int) -> None:
    """One life: goes on with the run to its end, telling of each step (`s`) and each file (`f`, then `F`)."""

    def replace(source: object, target: object) -> None:
        os.write(tell, b"f")
        REPLACE(source, target)  # type: ignore[type-var]
        os.write(tell, b"F")

    with patch("os.replace", replace):
        for _ in fit(config, data, folder, lambda done, total: os.write(tell, b"s") and None):
            pass


def kill_once(config: RunConfig, data: RunData, folder: Path, after: int) -> str:
    """Starts a life and kills it when it has told `after` things; what it told."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        live(config, data, folder, write)
        os._exit(0)
    os.close(write)
    told = b""
    while len(told) < after and (more := os.read(read, 1)):
        told += more
    os.kill(child, signal.SIGKILL)
    os.close(read)
    os.waitpid(child, 0)
    return told.decode()


def main(kills: int, seed: int, folder: Path) -> bool:
    config, data = tiny(folder)
    draw = random.Random(seed)
    done = inside = 0
    while done < kills:
        run = folder / f"run{done}"
        while True:  # one run, killed until it ends
            after = draw.randint(1, MOST_EVENTS)
            told = kill_once(config, data, run, after)
            if len(told) < after:
                break
            done, inside = done + 1, inside + told.endswith("f")
            print(f"kill {done:>3} after {after:>2}: {told}")
    if (child := os.fork()) == 0:
        with open(os.devnull, "wb") as nothing:
            live(config, data, folder / "peace", nothing.fileno())
        os._exit(0)
    os.waitpid(child, 0)
    same = all(equal(path, folder / "peace") for path in folder.glob("run*"))
    print(json.dumps({"kills": done, "while a file was put in place": inside, "seed": seed, "equal": same}))
    return same


def equal(run: Path, peace: Path) -> bool:
    states = [checkpoint.read_state(folder, torch.device("cpu")) for folder in (run, peace)]
    tables = [pd.read_csv(folder / run_folder.REPORTS).drop(columns="seconds") for folder in (run, peace)]
    best = [(folder / run_folder.WEIGHTS).read_bytes() for folder in (run, peace)]
    if states[0] is None or states[1] is None:
        return False
    weights = [state["model"] for state in states if state]
    return (
        tables[0].equals(tables[1])
        and best[0] == best[1]
        and all(torch.equal(tensor, weights[1][name]) for name, tensor in weights[0].items())
    )


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        sys.exit(not main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3] if len(sys.argv) > 3 else scratch)))
