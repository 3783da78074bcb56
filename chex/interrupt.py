"""Ctrl-C that lets the step in hand be finished."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def first_interrupt() -> Iterator[Callable[[], bool]]:
    """Within the block the first Ctrl-C is kept: what comes back says whether it came. A second one is as ever."""
    came = False
    before = signal.getsignal(signal.SIGINT)

    def keep(number: int, frame: FrameType | None) -> None:
        nonlocal came
        came = True
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, keep)
    try:
        yield lambda: came
    finally:
        signal.signal(signal.SIGINT, before)
