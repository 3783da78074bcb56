"""Progress on the terminal, and number formats, for both commands."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.spinner import Spinner

if TYPE_CHECKING:
    from chex.statistics.intervals import Estimate


ProgressCallback = Callable[[int, int], None]
"""A function that is called with (units of work done, units in total)."""


class _ActivityLine:
    """The line at the bottom of the terminal that names the current activity; a process has one at most."""

    def __init__(self) -> None:
        self.enabled = False
        """Whether a command shows the line."""
        self.live: Live | None = None
        """The display on the terminal; None while there is nothing to show."""

    def show(self, activity: str) -> None:
        console = Console(stderr=True)
        if not self.enabled or not console.is_terminal:
            return
        if self.live is None:
            self.live = Live(console=console, transient=True, redirect_stdout=False)
            self.live.start()
        self.live.update(Spinner("dots", activity))

    def clear(self) -> None:
        if self.live:
            self.live.stop()
        self.live = None


_LINE = _ActivityLine()


@contextmanager
def activity_line() -> Iterator[None]:
    """Enables `show_activity` while the block runs."""
    _LINE.enabled = True
    try:
        yield
    finally:
        _LINE.clear()
        _LINE.enabled = False


def show_activity(activity: str) -> None:
    """Shows `activity` on stderr until the next call, `clear_activity` or a progress bar.

    Does nothing outside `activity_line` or if stderr is not a terminal.
    """
    _LINE.show(activity)


def clear_activity() -> None:
    """Removes the line of `show_activity`. Call it before anything else is written to the terminal."""
    _LINE.clear()


@contextmanager
def progress_bar(title: str) -> Iterator[ProgressCallback]:
    """Yields a function of (done, total) that shows a progress bar on stderr until the block ends."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
    task = bar.add_task(title, total=None)

    def advance(completed: int, total: int) -> None:
        clear_activity()
        bar.start()
        bar.update(task, completed=completed, total=total)

    try:
        yield advance
    finally:
        bar.stop()


def format_decimal(value: float) -> str:
    """Formats a value in [0, 1] with three decimals and no leading zero; NaN as `-`."""
    return "-" if value != value else f"{value:.3f}".removeprefix("0")


def format_percent(share: float) -> str:
    """Formats a share in [0, 1] in percent with one decimal; NaN as `-`, and less than .05 % as `under 0.1 %`."""
    if share != share:
        return "-"
    return "under 0.1 %" if 0 < share < 0.0005 else f"{100 * share:.1f} %"


def with_interval(figure: "Estimate") -> str:
    """Returns a value in [0, 1] with its 95 % interval, in words."""
    return (
        f"{format_decimal(figure.value)} (95 % interval {format_decimal(figure.low)} to {format_decimal(figure.high)})"
    )
