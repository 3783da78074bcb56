"""Publishes and reads the progress of running trials between two reports; Ray keeps it in memory.

It only moves progress bars; nothing is decided from it. If it cannot be published or read, the bars stand still.
"""

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path

from ray.experimental import internal_kv

from chex.training.trainer import OnStep
from search.trials.trial_progress import Step, Steps

UPDATE_SECONDS = 1.0
"""Seconds between two updates of a trial, and between two reads."""
JOIN_SECONDS = 2.0
"""How long the end of a search waits for a read that Ray does not answer."""
NAMESPACE = b"chex-search"
"""The namespace in Ray's key-value store."""


@contextmanager
def publish_steps(
    folder: str, batch_size: int, put: Callable[[bytes, bytes], object] | None = None
) -> Iterator[OnStep]:
    """Yields a function that a run calls after each step; a thread publishes the last step once a second.

    `folder` is the trial's folder, from which the key in Ray's store is made; each step uses `batch_size` images.
    Errors while publishing are ignored.
    """
    stopped, counter = threading.Event(), _StepCounter(batch_size)

    def repeat() -> None:
        while not stopped.wait(UPDATE_SECONDS):
            with suppress(Exception):
                if (step := counter.progress()).share:
                    (put or _put)(_key(folder), json.dumps(asdict(step)).encode())

    threading.Thread(target=repeat, name="steps", daemon=True).start()
    try:
        yield counter.step
    finally:
        stopped.set()


class _StepCounter:
    """Holds a run's last step and the first step of its process, to estimate the time left."""

    def __init__(self, batch_size: int, clock: Callable[[], float] = time.monotonic):
        self.batch_size, self.clock = batch_size, clock
        self.first_step = self.last_step = (0, 1, clock())
        """Each has the steps done, the steps in total, and the time in seconds."""

    def step(self, done: int, total: int) -> None:
        self.last_step = done, total, self.clock()
        if self.first_step[0] == 0:
            self.first_step = self.last_step

    def progress(self) -> Step:
        done, total, time_now = self.last_step
        first_done, _, first_time = self.first_step
        seconds_left = (time_now - first_time) * (total - done) / (done - first_done) if done > first_done > 0 else None
        return Step(done / total, done * self.batch_size, seconds_left)


@contextmanager
def follow_steps(
    folder: Path, running: Callable[[], Mapping[int, Path]], callback: Callable[[Steps], None]
) -> Iterator[None]:
    """Calls `callback` once a second in a thread, while the block runs, with the steps of the running trials.

    `running` returns the folder, below `folder`, of each running trial by number. Needs a running Ray.
    """
    stopped = threading.Event()

    def repeat() -> None:
        while not stopped.wait(UPDATE_SECONDS):
            with suppress(Exception):
                callback(_read_steps(running()))
        with suppress(Exception):
            internal_kv._internal_kv_del(_key(f"{folder}/"), del_by_prefix=True, namespace=NAMESPACE)

    thread = threading.Thread(target=repeat, name="steps", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join(JOIN_SECONDS)


def _read_steps(folders: Mapping[int, Path]) -> dict[int, Step]:
    contents = {
        number: internal_kv._internal_kv_get(_key(str(folder)), namespace=NAMESPACE)
        for number, folder in folders.items()
    }
    return {number: Step(**json.loads(content)) for number, content in contents.items() if content}


def _put(key: bytes, value: bytes) -> None:
    if internal_kv._internal_kv_initialized():
        internal_kv._internal_kv_put(key, value, namespace=NAMESPACE)


def _key(folder: str) -> bytes:
    return f"steps {folder}".encode()
