"""Ends the command where Ray dies under it: Tune would wait for up to a minute, and then end it in Ray's words."""

import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console

EVERY_SECONDS = 1.0
REFUSALS = 3
"""In turn, after which nobody listens there any more."""


def listens(address: str) -> bool:
    """Whether anybody takes connections at "host:port"; a host that does not answer in time has not refused."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=EVERY_SECONDS).close()
    except ConnectionRefusedError:
        return False
    except OSError:
        return True
    return True


@contextmanager
def tied_to(
    addresses: Sequence[str], last_words: str, code: int, leave: Callable[[int], None] = os._exit
) -> Iterator[None]:
    """While the block runs, says `last_words` on stderr and leaves with `code` once nobody listens at one address.

    Leaves without any tidying: the thread that would do it waits for what has died.
    """
    over = threading.Event()
    thread = threading.Thread(
        target=_watch, args=(over, addresses, last_words, code, leave), name="lifeline", daemon=True
    )
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _watch(
    over: threading.Event, addresses: Sequence[str], last_words: str, code: int, leave: Callable[[int], None]
) -> None:
    refused = 0
    while not over.wait(EVERY_SECONDS):
        refused = 0 if all(map(listens, addresses)) else refused + 1
        if refused == REFUSALS:
            console = Console(stderr=True)
            console.show_cursor()  # which a live table hides
            print(f"\n{last_words}", file=sys.stderr, flush=True)
            leave(code)
            return
