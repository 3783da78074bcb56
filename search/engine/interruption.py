"""Errors that say why a search stops before its end."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from search.storage.disk_full import disk_full_reason


class SearchInterrupted(Exception):
    """The search stopped before its end for the reason in the message; `chex-search resume` continues it."""


class TooManyFailures(Exception):
    """The search stopped because too many trials in a row failed."""


@contextmanager
def report_disk_full(folder: Path) -> Iterator[None]:
    """Converts disk-full errors inside the block to SearchInterrupted: nothing in `folder` is lost.

    Keeps threads from printing a traceback of these errors: TensorBoard writes in a thread of its own.
    """
    original_hook = threading.excepthook
    threading.excepthook = lambda arguments: (
        None if arguments.exc_value and disk_full_reason(arguments.exc_value) else original_hook(arguments)
    )
    try:
        yield
    except Exception as error:
        if not (reason := disk_full_reason(error)):
            raise
        raise SearchInterrupted(f"{folder} cannot be written ({reason}); free disk space there") from error
    finally:
        threading.excepthook = original_hook
