"""What both commands show of long work."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.spinner import Spinner

Advance = Callable[[int, int], None]
"""Hears of progress: what is done and the total."""


class _Line:
    """The line at the foot of a terminal that says what is being done; a process has one at most."""

    def __init__(self) -> None:
        self.shown = False
        self.live: Live | None = None

    def say(self, what: str) -> None:
        console = Console(stderr=True)
        if not self.shown or not console.is_terminal:
            return
        if self.live is None:
            self.live = Live(console=console, transient=True, redirect_stdout=False)
            self.live.start()
        self.live.update(Spinner("dots", what))

    def clear(self) -> None:
        if self.live:
            self.live.stop()
        self.live = None


_LINE = _Line()


@contextmanager
def telling_what_is_done() -> Iterator[None]:
    """While the block runs, what `doing` is given is shown on stderr where that is a terminal."""
    _LINE.shown = True
    try:
        yield
    finally:
        _LINE.clear()
        _LINE.shown = False


def doing(what: str) -> None:
    """Says what is being done now, until the next call, `done`, or a bar; nothing where no command shows it."""
    _LINE.say(what)


def done() -> None:
    """Takes the line away, before anything else is written to the terminal."""
    _LINE.clear()


@contextmanager
def progress_bar(what: str) -> Iterator[Advance]:
    """A function of (done, total) that draws a bar on stderr from its first call until the block ends."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
    task = bar.add_task(what, total=None)

    def advance(completed: int, total: int) -> None:
        done()
        bar.start()
        bar.update(task, completed=completed, total=total)

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
