"""Exits the command if Ray dies: Tune would wait for up to a minute and then end with Ray's own traceback."""

import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console

CHECK_SECONDS = 1.0
MAX_REFUSALS = 3
"""Refused connections in a row after which the address counts as dead."""


def is_listening(address: str) -> bool:
    """Returns whether anything accepts connections at "host:port"; a host that does not answer in time counts as
    listening.
    """
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=CHECK_SECONDS).close()
    except ConnectionRefusedError:
        return False
    except OSError:
        return True
    return True


@contextmanager
def exit_if_ray_dies(
    addresses: Sequence[str], message: str, exit_code: int, exit_process: Callable[[int], None] = os._exit
) -> Iterator[None]:
    """Prints `message` on stderr and exits with `exit_code` if an address stops listening while the block runs.

    Exits without any cleanup, because cleanup would wait for the dead Ray.
    """
    stopped = threading.Event()
    thread = threading.Thread(
        target=_watch, args=(stopped, addresses, message, exit_code, exit_process), name="ray watchdog", daemon=True
    )
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()


def _watch(
    stopped: threading.Event,
    addresses: Sequence[str],
    message: str,
    exit_code: int,
    exit_process: Callable[[int], None],
) -> None:
    refused = 0
    while not stopped.wait(CHECK_SECONDS):
        refused = 0 if all(map(is_listening, addresses)) else refused + 1
        if refused == MAX_REFUSALS:
            console = Console(stderr=True)
            console.show_cursor()  # the live table hides it
            print(f"\n{message}", file=sys.stderr, flush=True)
            exit_process(exit_code)
            return
