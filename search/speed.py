"""How fast the base run trains and scores on this machine, measured in a few steps on films of random pixels."""

import dataclasses
import statistics
import tempfile
import time
from contextlib import closing
from pathlib import Path

import numpy as np

from chex.config import RunConfig
from chex.device import pick_device
from chex.inference import predict
from chex.loop import Training
from chex.prepare import Prepared, Selection
from chex.uncertainty import Targets
from search.forecast import Speed

STEP_SECONDS, SECONDS = 1.0, 3.0
"""About how long a measured step, and all of them, may take."""
MOST_STEPS = 8


def measured(config: RunConfig, selection: Selection) -> tuple[Speed, str]:
    """The speed of one run alone, and in words how it was measured. Leaves no file behind.

    The network starts from random weights and nothing of it is frozen. `config` has no `auto` left.
    """
    size = int(config.batches.size)
    first = _seconds(config, selection, films=2, steps=1)
    films = min(size, max(2, int(STEP_SECONDS / first)))
    steps = int(min(MOST_STEPS, max(2, SECONDS / (first * films))))
    trained = 1 / _seconds(config, selection, films, steps)
    scored = 1 / _seconds_to_score(config, selection, films)
    device = pick_device(config.device)
    where = "the CPU" if device.type == "cpu" else "one GPU"
    return Speed(trained, scored), f"{steps} steps of {films} random films on {where}"


def _seconds(config: RunConfig, selection: Selection, films: int, steps: int) -> float:
    """Of a step, per film: the median, after one that is not counted."""
    taken = []
    with tempfile.TemporaryDirectory() as folder:
        run = _training(config, selection, films, Path(folder))
        with closing(run.batches()) as batches:
            for _ in range(steps + 1):
                started = time.perf_counter()
                run.train_step(*next(batches))
                run.last_loss()
                taken.append(time.perf_counter() - started)
    return statistics.median(taken[1:]) / films


def _seconds_to_score(config: RunConfig, selection: Selection, films: int) -> float:
    taken = []
    with tempfile.TemporaryDirectory() as folder:
        run = _training(config, selection, films, Path(folder))
        for _ in range(3):
            started = time.perf_counter()
            predict(run.model, run.data.outputs, run.data.images, np.arange(films), config.device, run.device)
            taken.append(time.perf_counter() - started)
    return statistics.median(taken[1:]) / films


def _training(config: RunConfig, selection: Selection, films: int, folder: Path) -> Training:
    """The run with steps of `films` films, of which its data has no more."""
    rows = np.resize(selection.trainable, films)
    cells = selection.targets
    data = Prepared(
        **vars(
            dataclasses.replace(
                selection,
                targets=Targets(cells.values[rows], cells.weights[rows], cells.doubt[rows]),
                trainable=np.arange(films),
                samples=(np.arange(films),),
            )
        ),
        images=np.random.default_rng(0).integers(
            0, 256, size=(films, config.image.size, config.image.size), dtype=np.uint8
        ),
    )
    model = config.model.model_copy(update={"pretrained": False, "weights": None, "compile": False})
    update = {
        "model": model,
        "rounds": (),
        "schedule": config.schedule.model_copy(update={"epochs": 100}),
        "batches": config.batches.model_copy(update={"size": films}),
    }
    return Training(config.model_copy(update=update), data, folder)
