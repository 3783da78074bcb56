"""What both commands show of long work."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

Advance = Callable[[int, int], None]
"""Hears of progress: what is done and the total."""


@contextmanager
def progress_bar(what: str) -> Iterator[Advance]:
    """A function of (done, total) that draws a bar on stderr from its first call until the block ends."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
    task = bar.add_task(what, total=None)

    def advance(done: int, total: int) -> None:
        bar.start()
        bar.update(task, completed=done, total=total)

    try:
        yield advance
    finally:
        bar.stop()


def decimal(value: float) -> str:
    """A figure in [0, 1] with three decimals and no leading zero; `-` where it is undefined."""
    return "-" if value != value else f"{value:.3f}".removeprefix("0")


def percent(share: float) -> str:
    """A share in [0, 1] in percent with one decimal; `-` where it is undefined."""
    if share != share:
        return "-"
    return "under 0.1 %" if 0 < share < 0.0005 else f"{100 * share:.1f} %"
