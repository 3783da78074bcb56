"""What a share of a GPU is worth: the same trials at once, each with its part of the GPU, and one after another.

    python tests/bench/bench_share.py TREE [--trials 4] [--backbone densenet121] [--size 320] [--batch 32] [--epochs 24]
                                           [--greedy 512] [--mps] [--cpu]

Each leg is a search with Ray, over seeds alone; its images are decoded before. images/s is the sum over trials that run
at once, from a trial's first report to its last, so that starts are not in it; a leg's seconds are the command's from
start to end. Memory is what nvidia-smi saw the GPU's processes take, once a second. In the greedy leg every other trial
asks for batches of `--greedy` images, which are meant to need more than its share: `at once` says how many of them pass
through the network together in the end. `--mps` repeats the shared leg under NVIDIA's Multi-Process Service. `--cpu`
tries the bench itself where there is no GPU. Ends with the same figures as a line of JSON. The aim: shared / alone of
1.5 or more.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"

import pandas as pd
import yaml

MIB = 2**20


class Watched:
    """The most memory that the GPU and any one process on it had, in MiB, and how busy it was, as nvidia-smi says."""

    def __init__(self) -> None:
        self.total = self.card = self.process = 0.0
        self.busy: list[float] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> "Watched":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(1):
            if asked := nvidia_smi("--query-gpu=memory.total,memory.used,utilization.gpu"):
                self.total, self.card = asked[0][0], max(self.card, asked[0][1])
                self.busy.append(asked[0][2])
            self.process = max([self.process, *(row[0] for row in nvidia_smi("--query-compute-apps=used_memory"))])


def nvidia_smi(query: str) -> list[list[float]]:
    """The numbers of each line of its answer; nothing where it has none."""
    try:
        told = subprocess.run(["nvidia-smi", query, "--format=csv,noheader,nounits"], capture_output=True, text=True)
    except FileNotFoundError:
        return []
    return [
        [float(cell) for cell in line.split(", ")] for line in told.stdout.splitlines() if not set(line) & set("[N")
    ]


def search(options: argparse.Namespace, scratch: Path, share: float, greedy: bool) -> dict[str, Any]:
    """A search over seeds, and in the greedy leg over the batch size too."""
    space: dict[str, Any] = {"seed": {"int": [0, options.trials // (1 + greedy) - 1]}}
    if greedy:
        space["batches.size"] = {"choice": [options.batch, options.greedy]}
    return {
        "base": {
            "data": {"root": str(options.tree), "observations": "five"},
            "image": {"size": options.size, "cache_dir": str(scratch / "cache")},
            "model": {"backbone": options.backbone},
            "batches": {"size": options.batch},
            "schedule": {"epochs": options.epochs},
            "policy": {"default": "zeros"},
        },
        "space": space,
        "sampler": {"kind": "grid"},
        "budget": {"trials": options.trials},
        "pruning": None,
        "resources": {"gpus_per_trial": 0 if options.cpu else share, "max_concurrent_trials": round(1 / share)},
    }


def leg(options: argparse.Namespace, scratch: Path, name: str, share: float, greedy: bool = False) -> dict[str, Any]:
    """Runs a search of its own, and says how quick it was and what it took."""
    (scratch / f"{name}.yaml").write_text(yaml.safe_dump(search(options, scratch, share, greedy)))
    given = [str(scratch / f"{name}.yaml"), "--results", str(scratch), "--name", name]
    started = time.monotonic()
    with Watched() as watched:
        ran = subprocess.run([sys.executable, "-m", "search", "run", *given], capture_output=True, text=True)
    seconds = time.monotonic() - started
    trials = [pd.read_csv(path) for path in sorted((scratch / name / "trials").glob("*/reports.csv"))]
    if ran.returncode or len(trials) < options.trials:
        told = ran.stdout[-3000:] + ran.stderr[-3000:]
        raise SystemExit(f"{name}: {len(trials)} trials, exit {ran.returncode}\n{told}")
    speeds = [steady(trial) for trial in trials]
    figures = {"images/s": sum(speeds) / len(speeds) / share, "seconds": seconds, "card MiB": watched.card}
    busy = sorted(watched.busy)[len(watched.busy) // 2 :]
    figures |= {"process MiB": watched.process, "share MiB": watched.total * share}
    figures |= {
        "busy %": sum(busy) / len(busy) if busy else 0,
        "at once": max(t["micro_batch_size"].min() for t in trials),
    }
    print(f"{name:<14}" + "".join(f"{value:>14,.0f}" for value in figures.values()), flush=True)
    return {key: float(value) for key, value in figures.items()}


def steady(reports: pd.DataFrame) -> float:
    """Images a second between a trial's first report and its last, validation included."""
    first, last = reports.iloc[0], reports.iloc[-1]
    return float((last["images_seen"] - first["images_seen"]) / (last["seconds"] - first["seconds"]))


@contextmanager
def multi_process_service(scratch: Path) -> Iterator[None]:
    """NVIDIA's MPS for what is started in the block: kernels of several processes run side by side."""
    where = {"CUDA_MPS_PIPE_DIRECTORY": str(scratch / "mps"), "CUDA_MPS_LOG_DIRECTORY": str(scratch / "mps-log")}
    os.environ |= where
    try:
        subprocess.run(["nvidia-cuda-mps-control", "-d"], check=True)
        yield
    finally:
        subprocess.run(["nvidia-cuda-mps-control"], input="quit\n", text=True, check=False)
        for name in where:
            del os.environ[name]


def main(options: argparse.Namespace) -> None:
    share, found = 1 / options.trials, dict[str, Any]()
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        print(
            f"{options.trials} trials: {options.backbone}, {options.size} px, {options.batch}, {options.epochs} epochs"
        )
        titles = ("images/s", "seconds", "card MiB", "process MiB", "share MiB", "busy %", "at once")
        print(" " * 14 + "".join(f"{title:>14}" for title in titles))
        warm = argparse.Namespace(**vars(options) | {"trials": 2, "epochs": 2})
        leg(warm, scratch, "warm-up", 1)
        found["alone"] = leg(options, scratch, "alone", 1)
        found["shared"] = leg(options, scratch, "shared", share)
        if options.mps:
            with multi_process_service(scratch):
                found["shared, MPS"] = leg(options, scratch, "shared-mps", share)
        if options.greedy:
            found["greedy"] = leg(options, scratch, "greedy", share, greedy=True)
    for each in found.keys() - {"alone", "greedy"}:
        found[each] |= {f"{what} ratio": found[each][what] / found["alone"][what] for what in ("images/s", "seconds")}
        print(
            f"{each} / alone: images/s {found[each]['films/s ratio']:.2f}, seconds {found[each]['seconds ratio']:.2f}"
        )
    about = {name: getattr(options, name) for name in ("trials", "backbone", "size", "batch", "epochs")}
    print(json.dumps(about | found))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("tree", type=Path)
    parser.add_argument("--backbone", default="densenet121")
    for name, default in (("trials", 4), ("size", 320), ("batch", 32), ("epochs", 24), ("greedy", 0)):
        parser.add_argument(f"--{name}", type=int, default=default)
    for name in ("mps", "cpu"):
        parser.add_argument(f"--{name}", action="store_true")
    main(parser.parse_args())
