"""Measures how fast the base run trains and scores on this machine, in a few steps on images of random pixels."""

import dataclasses
import statistics
import tempfile
import time
from contextlib import closing
from pathlib import Path

import numpy as np

from chex.config import RunConfig
from chex.models.inference import predict
from chex.runtime.device import pick_device
from chex.training.run_data import RunData
from chex.training.run_tables import RunTables
from chex.training.trainer import Trainer
from chex.uncertainty.targets import Targets
from search.planning.forecast import Speed

STEP_SECONDS, SECONDS = 1.0, 3.0
"""About how many seconds one measured step may take, and all measured steps together."""
MAX_STEPS = 8


def measure_speed(config: RunConfig, selection: RunTables) -> tuple[Speed, str]:
    """Returns the speed of one run alone, and in words how it was measured. Leaves no file behind.

    The network has random weights and no frozen layers. `config` must have no `auto` settings.
    """
    size = int(config.batches.size)
    first = _seconds(config, selection, images=2, steps=1)
    images = min(size, max(2, int(STEP_SECONDS / first)))
    steps = int(min(MAX_STEPS, max(2, SECONDS / (first * images))))
    trained = 1 / _seconds(config, selection, images, steps)
    scored = 1 / _seconds_to_score(config, selection, images)
    device = pick_device(config.device)
    where = "the CPU" if device.type == "cpu" else "one GPU"
    return Speed(trained, scored), f"{steps} steps of {images} random images on {where}"


def _seconds(config: RunConfig, selection: RunTables, images: int, steps: int) -> float:
    """Returns the median seconds per image of a training step; the first step is slower and does not count."""
    seconds = []
    with tempfile.TemporaryDirectory() as folder:
        run = _build_trainer(config, selection, images, Path(folder))
        with closing(run.batches()) as batches:
            for _ in range(steps + 1):
                started = time.perf_counter()
                run.train_step(*next(batches))
                run.last_loss()
                seconds.append(time.perf_counter() - started)
    return statistics.median(seconds[1:]) / images


def _seconds_to_score(config: RunConfig, selection: RunTables, images: int) -> float:
    seconds = []
    with tempfile.TemporaryDirectory() as folder:
        run = _build_trainer(config, selection, images, Path(folder))
        for _ in range(3):
            started = time.perf_counter()
            predict(run.model, run.data.outputs, run.data.images, np.arange(images), config.device, run.device)
            seconds.append(time.perf_counter() - started)
    return statistics.median(seconds[1:]) / images


def _build_trainer(config: RunConfig, selection: RunTables, images: int, folder: Path) -> Trainer:
    """Returns a trainer whose only data are `images` images of random pixels, all of them in each step."""
    rows = np.resize(selection.trainable, images)
    cells = selection.targets
    data = RunData(
        **vars(
            dataclasses.replace(
                selection,
                targets=Targets(cells.values[rows], cells.weights[rows], cells.uncertain_class[rows]),
                trainable=np.arange(images),
                samples=(np.arange(images),),
            )
        ),
        images=np.random.default_rng(0).integers(
            0, 256, size=(images, config.image.size, config.image.size), dtype=np.uint8
        ),
    )
    model = config.model.model_copy(update={"pretrained": False, "pretrained_file": None, "compile": False})
    update = {
        "model": model,
        "phases": (),
        "schedule": config.schedule.model_copy(update={"epochs": 100}),
        "batches": config.batches.model_copy(update={"size": images}),
    }
    return Trainer(config.model_copy(update=update), data, folder)
