"""What a run's step costs beyond forward, backward and optimizer: images per second of both, side by side.

    python tests/bench/bench_step.py [BACKBONE] [SIZE] [BATCH]

The bare loop runs the same network, in the same process, on one batch that stays in memory. Legs of a few steps
alternate; the ratio of each pair is what counts. Ends with the same figures as a line of JSON. The aim: a median of
of .95 or more.
"""

import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

import torch

from chex.config import RunConfig, apply_overrides, validate
from chex.models.loss import masked_loss
from chex.runtime.device import autocast
from chex.training.run_data import load_run_data
from chex.training.run_tables import load_run_tables
from chex.training.trainer import Trainer
from tests.conftest import TREE, write_split

PAIRS, STEPS = 15, 4


def training(folder: Path, backbone: str, size: int, batch: int) -> Trainer:
    """A run of many steps over 128 images."""
    write_split(folder / TREE, "train", range(1, 65))
    write_split(folder / TREE, "valid", range(101, 107))
    values = {
        "data.root": str(folder / TREE),
        "image": {"size": size, "cache_dir": str(folder / "cache")},
        "model": {"backbone": backbone},
        "batches.size": batch,
        "schedule.epochs": 1000,
        "device.threads": 1,
    }
    config = validate(RunConfig, apply_overrides({}, values), "bench_step")
    return Trainer(config, load_run_data(config, load_run_tables(config)), folder / "run")


def bare_step(run: Trainer, films: torch.Tensor, cell: torch.Tensor) -> None:
    run.model.train()
    with autocast(run.config.device, run.device):
        raw = run.model(films)
    loss = masked_loss(raw.float(), run.data.outputs, cell, cell + 1, cell)
    run.optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    run.optimizer.step()
    loss.item()


def main(backbone: str, size: int, batch: int) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        run = training(Path(scratch), backbone, size, batch)
        films = torch.randn(batch, 1, size, size, device=run.device).to(memory_format=torch.channels_last)
        cell = torch.zeros(batch, len(run.data.observations), device=run.device)
        batches = run.batches()
        run.train_step(*next(batches))
        bare_step(run, films, cell)
        pairs = []
        for number in range(PAIRS):
            legs = [("loop", lambda: run.train_step(*next(batches))), ("bare", lambda: bare_step(run, films, cell))]
            speeds = {name: speed(step, run.device, batch) for name, step in (legs if number % 2 else legs[::-1])}
            pairs.append((speeds["loop"], speeds["bare"]))
            print(f"pair {number + 1:>2}: loop {speeds['loop']:7.1f}  bare {speeds['bare']:7.1f} images/s")
        batches.close()
    ratios = sorted(loop / bare for loop, bare in pairs)
    device = torch.cuda.get_device_name() if run.device.type == "cuda" else "CPU, 1 thread"
    print(f"{backbone} at {size} px, batch {batch}, {device}: loop / bare {statistics.median(ratios):.3f} (median),")
    print(f"{ratios[0]:.3f} to {ratios[-1]:.3f}")
    figures = {
        "backbone": backbone,
        "size": size,
        "batch": batch,
        "device": device,
        "median": statistics.median(ratios),
    }
    print(json.dumps(figures | {"least": ratios[0], "most": ratios[-1], "bare images/s": max(b for _, b in pairs)}))


def speed(step: object, device: torch.device, batch: int) -> float:
    started = time.perf_counter()
    for _ in range(STEPS):
        step()  # type: ignore[operator]
    if device.type == "cuda":
        torch.cuda.synchronize()
    return STEPS * batch / (time.perf_counter() - started)


if __name__ == "__main__":
    given = dict(enumerate(sys.argv))
    main(given.get(1, "densenet121"), int(given.get(2, 64)), int(given.get(3, 32)))
