"""The live table of a search: pure rendering of rows, and the two ways to show it."""

import time
from collections.abc import Sequence
from typing import Any, Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from chex.console import decimal
from search.ledger import ENDED, TrialRow, best

STATE_STYLE = {"waiting": "dim", "running": "bold cyan", "finished": "", "stopped": "yellow", "failed": "red"}


WIDE = 110
"""Characters from which there is place for bars."""
FRAME = 3
"""Characters between two columns."""
OTHERS, OTHERS_NARROW = 71, 53
"""What the columns beside the knobs take, with bars and without."""


class Display(Protocol):
    """Shows the rows of a running search."""

    def update(self, rows: Sequence[TrialRow]) -> None:
        """The rows are now these."""

    def close(self) -> None:
        """The search has ended."""


def display(total: int, console: Console, rows: Sequence[TrialRow] = (), seconds: float = 0.0) -> Display:
    """A live table on a terminal; elsewhere a line per ended trial.

    `rows` and `seconds` are what a search that goes on had before.
    """
    return LiveTable(total, console, seconds) if console.is_terminal else Lines(total, console, rows)


class LiveTable:
    """The table, redrawn in place four times a second."""

    def __init__(self, total: int, console: Console, seconds: float):
        self.total, self.started, self.rows = total, time.monotonic() - seconds, list[TrialRow]()
        self.console = console
        self.live = Live(get_renderable=self._render, console=console, refresh_per_second=4)
        self.live.start()

    def update(self, rows: Sequence[TrialRow]) -> None:
        self.rows = list(rows)

    def close(self) -> None:
        self.live.stop()

    def _render(self) -> RenderableType:
        room = max(3, self.console.height - 6)
        return render(self.rows, self.total, time.monotonic() - self.started, room, self.console.width)


class Lines:
    """A line when a trial ends, for logs and pipes."""

    def __init__(self, total: int, console: Console, rows: Sequence[TrialRow]):
        self.total, self.console = total, console
        self.told = {row.number for row in rows if row.state in ENDED}

    def update(self, rows: Sequence[TrialRow]) -> None:
        leader = best(rows)
        for row in rows:
            if row.state in ENDED and row.number not in self.told:
                self.told.add(row.number)
                top = f"best {decimal(leader.value)} (trial {leader.number})" if leader else "no result yet"
                knobs = "  ".join(f"{short_name(path)} {shown(value)}" for path, value in row.knobs.items())
                line = f"trial {row.number:>3} of {self.total}  {knobs}  {ending(row)}  {top}"
                self.console.print(Text(line), soft_wrap=True)

    def close(self) -> None:
        pass


def render(rows: Sequence[TrialRow], total: int, seconds: float, room: int, width: int = WIDE) -> Group:
    """The headline, and a table of at most `room` trials: running ones first, then the best.

    In a terminal of `width` characters, the knobs that there is no place for are left out and named below it.
    """
    leader = best(rows)
    knobs = list(dict.fromkeys(path for row in rows for path in row.knobs))
    shown_knobs = fitting(knobs, rows, width)
    wide = width >= WIDE
    table = Table(expand=False)
    for name in (
        "trial",
        *map(short_name, shown_knobs),
        "progress",
        *([""] if wide else []),
        "AUROC",
        "best so far",
        "ETA",
    ):
        table.add_column(name, justify="left" if name in ("policy", "progress") else "right", no_wrap=True)
    for row in sorted(rows, key=_importance)[:room]:
        table.add_row(*_cells(row, shown_knobs, row is leader, wide), style=STATE_STYLE[row.state])
    table.caption = " · ".join(_captions(rows, total, room, knobs[len(shown_knobs) :])) or None
    return Group(Text(headline(rows, total, seconds), style="bold"), table)


def fitting(knobs: Sequence[str], rows: Sequence[TrialRow], width: int) -> list[str]:
    """The first knobs that there is place for beside the other columns."""
    left = width - (OTHERS if width >= WIDE else OTHERS_NARROW)
    chosen: list[str] = []
    for path in knobs:
        cells = [short_name(path), *(shown(row.knobs[path]) for row in rows if path in row.knobs)]
        left -= max(map(len, cells)) + FRAME
        if left < 0:
            break
        chosen.append(path)
    return chosen


def _captions(rows: Sequence[TrialRow], total: int, room: int, left_out: Sequence[str]) -> list[str]:
    ended = sum(row.state in ENDED for row in rows)
    more = [f"and {len(rows) - room} more trials; {ended} of {total} have ended"] if len(rows) > room else []
    return [*more, *([f"not shown: {', '.join(map(short_name, left_out))}"] if left_out else [])]


def headline(rows: Sequence[TrialRow], total: int, seconds: float) -> str:
    """How far the search is, its best, and when it may end."""
    leader = best(rows)
    states = [row.state for row in rows]
    ended = sum(state in ENDED for state in states)
    top = f"best AUROC {decimal(leader.value)} (trial {leader.number})" if leader else "no result yet"
    parts = [f"{ended} of {total} trials", top, f"{states.count('stopped')} stopped early"]
    if "failed" in states:
        parts.append(f"{states.count('failed')} failed")
    left = time_left(rows, total, seconds)
    parts += [f"{clock(seconds)} gone", f"about {clock(left)} left" if left is not None else "estimating"]
    return " · ".join(parts)


def time_left(rows: Sequence[TrialRow], total: int, seconds: float) -> float | None:
    """Seconds until all trials have ended, if they go on as so far; None before anything is known."""
    ended = [row for row in rows if row.state in ENDED]
    done = len(ended) + sum(row.percent / 100 for row in rows if row.state == "running")
    return seconds * (total - done) / done if done > 0 else None


def short_name(path: str) -> str:
    """A column's head: the last part of a dotted path, and `policy` for policy.default."""
    return "policy" if path == "policy.default" else path.rpartition(".")[2]


def shown(value: Any) -> str:
    """A knob's value in few characters."""
    if isinstance(value, float):
        return f"{value:.1e}" if value and abs(value) < 0.01 else f"{value:.2f}"
    return str(value)


def ending(row: TrialRow) -> str:
    """How a trial ended, in words."""
    if row.state == "failed":
        return f"failed: {row.error or 'undefined metric'}"
    how = f"stopped at {row.percent} %" if row.state == "stopped" else "finished"
    return f"AUROC {decimal(row.value)}  {how}"


def clock(seconds: float) -> str:
    """12 s, 3:05 min or 2:07 h."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, left = divmod(whole, 60)
    return f"{minutes}:{left:02d} min" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02d} h"


def _cells(row: TrialRow, knobs: Sequence[str], leads: bool, wide: bool) -> list[RenderableType]:
    bar: list[RenderableType] = [ProgressBar(total=100, completed=row.percent, width=16)] if wide else []
    auroc = Text(decimal(row.report.get("auroc", float("nan"))))
    so_far = Text(decimal(row.value) + (" ◀" if leads else "  "), style="bold" if leads else "")
    values = [shown(row.knobs[path]) if path in row.knobs else "" for path in knobs]
    return [str(row.number), *values, *bar, f"{row.percent} %", auroc, so_far, _eta(row)]


def _eta(row: TrialRow) -> str:
    if row.state != "running":
        return row.state
    seconds = row.report.get("seconds")
    return clock(seconds * (row.report["steps"] - row.step) / row.step) if seconds and row.step else "..."


def _importance(row: TrialRow) -> tuple[bool, float]:
    value = row.value
    return row.state not in ("running", "waiting"), -value if value == value else 1.0
