"""Ctrl-C that lets the step in hand be finished, and SIGTERM that is taken as Ctrl-C."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


def interrupts_are_ignored() -> bool:
    """Whether this process was started with Ctrl-C switched off.

    A shell script does that for what it starts with `&`, so that Ctrl-C ends the script and not the job.
    """
    return signal.getsignal(signal.SIGINT) is signal.SIG_IGN


@contextmanager
def first_interrupt() -> Iterator[Callable[[], bool]]:
    """Keeps the first Ctrl-C within the block: the function that it gives returns whether it came.

    A second one is as ever. SIGTERM counts as Ctrl-C. Where the process ignores Ctrl-C, only SIGTERM counts.
    """
    came = False
    numbers = [signal.SIGTERM, *([] if interrupts_are_ignored() else [signal.SIGINT])]
    before = {number: signal.getsignal(number) for number in numbers}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def keep(number: int, frame: FrameType | None) -> None:
        nonlocal came
        came = True
        restore()

    for number in numbers:
        signal.signal(number, keep)
    try:
        yield lambda: came
    finally:
        restore()


@contextmanager
def terminable() -> Iterator[None]:
    """Within the block SIGTERM does what Ctrl-C does at that moment; where Ctrl-C is ignored, KeyboardInterrupt.

    Clusters, systemd and SLURM stop what they run by SIGTERM. Does nothing outside the main thread.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def sigterm_kept() -> Iterator[None]:
    """After the block SIGTERM does what it did before: what starts within may set a handler of its own, as Ray does.

    Raises KeyboardInterrupt where that handler ends the process by SystemExit(SIGTERM) within the block.
    """
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    except SystemExit as end:
        if end.code != signal.SIGTERM:
            raise
        raise KeyboardInterrupt from None
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


def _interrupt(number: int, frame: FrameType | None) -> None:
    handler = signal.getsignal(signal.SIGINT)
    if not callable(handler):
        raise KeyboardInterrupt
    handler(signal.SIGINT, frame)
