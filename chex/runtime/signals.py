"""Handles Ctrl-C so that the current step can finish, and handles SIGTERM like Ctrl-C."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


def interrupts_are_ignored() -> bool:
    """Returns whether this process was started with Ctrl-C (SIGINT) ignored.

    A shell script starts its background jobs (`&`) in this way, so that Ctrl-C ends the script and not the jobs.
    """
    return signal.getsignal(signal.SIGINT) is signal.SIG_IGN


@contextmanager
def first_interrupt() -> Iterator[Callable[[], bool]]:
    """Catches the first Ctrl-C in the block, and yields a function that returns whether Ctrl-C was pressed.

    A second Ctrl-C has its usual effect. SIGTERM counts as Ctrl-C. If the process ignores Ctrl-C, only SIGTERM counts.
    """
    interrupted = False
    numbers = [signal.SIGTERM, *([] if interrupts_are_ignored() else [signal.SIGINT])]
    handlers = {number: signal.getsignal(number) for number in numbers}

    def restore() -> None:
        for number, handler in handlers.items():
            signal.signal(number, handler)

    def catch(number: int, frame: FrameType | None) -> None:
        nonlocal interrupted
        interrupted = True
        restore()

    for number in numbers:
        signal.signal(number, catch)
    try:
        yield lambda: interrupted
    finally:
        restore()


@contextmanager
def sigterm_as_interrupt() -> Iterator[None]:
    """Makes SIGTERM in the block do what Ctrl-C does at that moment, or raise KeyboardInterrupt if Ctrl-C is ignored.

    Clusters, systemd and SLURM stop a process with SIGTERM. Does nothing outside the main thread.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    earlier = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, earlier)


@contextmanager
def restore_sigterm() -> Iterator[None]:
    """Restores the handler of SIGTERM after the block. In the block a library such as Ray may set its own handler.

    Raises KeyboardInterrupt if the library's handler raises SystemExit(SIGTERM) in the block.
    """
    earlier = signal.getsignal(signal.SIGTERM)
    try:
        yield
    except SystemExit as end:
        if end.code != signal.SIGTERM:
            raise
        raise KeyboardInterrupt from None
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, earlier)


def _interrupt(number: int, frame: FrameType | None) -> None:
    handler = signal.getsignal(signal.SIGINT)
    if not callable(handler):
        raise KeyboardInterrupt
    handler(signal.SIGINT, frame)
