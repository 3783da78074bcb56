"""How far trials are between two reports: told by their processes, kept by Ray in memory, read by the command.

Nothing is decided from it: it moves the bars. Where it cannot be told or read, they stand.
"""

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from ray.experimental import internal_kv

from chex.atomic import write_text
from chex.loop import OnStep

EVERY_SECONDS = 1.0
"""Between two tellings of a trial, and between two readings."""
PATIENCE_SECONDS = 2.0
"""How long the end of a search waits for a reading that Ray does not answer."""
STEPS = "steps.json"
"""The last steps, in a search's folder while it runs; in no storage."""
SPACE = b"chex-search"
"""The namespace of Ray's key-value store."""


@dataclass(frozen=True)
class Step:
    """How far a trial is."""

    share: float
    """The share of its steps that are done, from 0 to 1."""
    images: int
    """Training images seen so far."""
    left: float | None = None
    """Seconds until its end, if it goes on as in its process so far; None before that is known."""


Steps = Mapping[int, Step]
"""Each trial under way that has told its step, by its number."""


@contextmanager
def telling(folder: str, batch: int, tell: Callable[[bytes, bytes], object] | None = None) -> Iterator[OnStep]:
    """Gives what a run calls after each step, which costs it nothing: a thread tells the last one once a second.

    `folder` is the trial's, by which Ray's store names it; a step sees `batch` images. What goes wrong in telling is of
    no consequence.
    """
    over, told = threading.Event(), _Told(batch)

    def repeat() -> None:
        while not over.wait(EVERY_SECONDS):
            with suppress(Exception):
                if (step := told.last()).share:
                    (tell or _put)(_key(folder), json.dumps(asdict(step)).encode())

    threading.Thread(target=repeat, name="steps", daemon=True).start()
    try:
        yield told.step
    finally:
        over.set()


class _Told:
    """The last step of a run, and when and where its process began to count."""

    def __init__(self, batch: int, clock: Callable[[], float] = time.monotonic):
        self.batch, self.clock = batch, clock
        self.first = self.now = (0, 1, clock())
        """Steps done, steps in all, and when."""

    def step(self, done: int, total: int) -> None:
        self.now = done, total, self.clock()
        if self.first[0] == 0:
            self.first = self.now

    def last(self) -> Step:
        done, total, at = self.now
        before, _, since = self.first
        left = (at - since) * (total - done) / (done - before) if done > before > 0 else None
        return Step(done / total, done * self.batch, left)


@contextmanager
def following(folder: Path, running: Callable[[], Mapping[int, Path]], hear: Callable[[Steps], None]) -> Iterator[None]:
    """While the block runs, `hear` is called once a second, in a thread, with the steps of the trials under way.

    `running` gives the folder of each, below `folder`. Needs a running Ray.
    """
    over = threading.Event()

    def repeat() -> None:
        while not over.wait(EVERY_SECONDS):
            with suppress(Exception):
                hear(_read(running()))
        with suppress(Exception):
            internal_kv._internal_kv_del(_key(f"{folder}/"), del_by_prefix=True, namespace=SPACE)

    thread = threading.Thread(target=repeat, name="steps", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(PATIENCE_SECONDS)


def save(folder: Path, steps: Steps) -> None:
    """Writes STEPS into a search's `folder`, for `chex-search status`."""
    write_text(folder / STEPS, json.dumps({number: asdict(step) for number, step in steps.items()}))


def load(folder: Path) -> dict[int, Step]:
    """What `save` wrote last; nothing where that is gone or cannot be read."""
    try:
        content = json.loads((folder / STEPS).read_text(encoding="utf-8"))
        return {int(number): Step(**step) for number, step in content.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _read(folders: Mapping[int, Path]) -> dict[int, Step]:
    told = {
        number: internal_kv._internal_kv_get(_key(str(folder)), namespace=SPACE) for number, folder in folders.items()
    }
    return {number: Step(**json.loads(content)) for number, content in told.items() if content}


def _put(key: bytes, value: bytes) -> None:
    if internal_kv._internal_kv_initialized():
        internal_kv._internal_kv_put(key, value, namespace=SPACE)


def _key(folder: str) -> bytes:
    return f"steps {folder}".encode()
