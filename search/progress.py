"""The live table of a search: pure rendering of rows, and the two ways to show it."""

import math
import time
from collections.abc import Sequence
from typing import Any, Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from chex.console import decimal, done
from search.budget import Budget
from search.ledger import ENDED, TrialRow, best
from search.steps import Step, Steps

STATE_STYLE = {"waiting": "dim", "running": "bold cyan", "finished": "", "stopped": "yellow", "failed": "red"}


WIDE = 110
"""Characters from which there is place for bars."""
FRAME = 3
"""Characters between two columns."""
OTHERS, OTHERS_NARROW = 71, 53
"""What the columns beside the knobs take, with bars and without."""
BESIDE = 9
"""Lines beside the trials: 2 of the headline, 4 of the table's frame, 2 that name what is left out, and a free one."""
BASIS_SECONDS = 3.0
"""Of training at least, before it is told how long the rest may take."""
NO_STEPS: Steps = {}


class Display(Protocol):
    """Shows the rows of a running search."""

    def update(self, rows: Sequence[TrialRow]) -> None:
        """The rows are now these."""

    def stepped(self, steps: Steps) -> None:
        """Trials under way are so far."""

    def say(self, line: str) -> None:
        """Says something besides."""

    def close(self) -> None:
        """The search has ended."""


def display(budget: Budget, console: Console, rows: Sequence[TrialRow] = (), seconds: float = 0.0) -> Display:
    """A live table on a terminal; elsewhere a line per ended trial.

    `rows` and `seconds` are what a search that goes on had before.
    """
    return LiveTable(budget, console, seconds) if console.is_terminal else Lines(budget.trials, console, rows)


class LiveTable:
    """The table, redrawn in place four times a second."""

    def __init__(self, budget: Budget, console: Console, seconds: float):
        self.budget, self.started, self.rows = budget, time.monotonic() - seconds, list[TrialRow]()
        self.steps: Steps = {}
        self.pace, self.over = Pace(), False
        self.console = console
        self.live = Live(get_renderable=self._render, console=console, refresh_per_second=4)
        done()
        self.live.start()

    def update(self, rows: Sequence[TrialRow]) -> None:
        self.rows = list(rows)

    def stepped(self, steps: Steps) -> None:
        self.steps = steps

    def say(self, line: str) -> None:
        self.console.print(Text(line), soft_wrap=True)

    def close(self) -> None:
        self.over = True
        self.live.stop()

    def _render(self) -> RenderableType:
        rows, steps, seconds = self.rows, self.steps, time.monotonic() - self.started
        room = max(3, self.console.height - BESIDE)
        end = "" if self.over else self._end(rows, steps, seconds)
        return render(rows, self.budget.trials, seconds, room, self.console.width, steps, end)

    def _end(self, rows: Sequence[TrialRow], steps: Steps, seconds: float) -> str:
        rate = self.pace.rate(images_done(rows, steps), seconds)
        if not steps and not any(row.reports for row in rows):
            return "starting trial processes"
        return left_told(time_left(rows, steps, self.budget, seconds, rate))


class Pace:
    """How many images a second a search learns from, since they were first seen to become more."""

    def __init__(self) -> None:
        self.before: int | None = None
        self.first: tuple[int, float] | None = None

    def rate(self, images: int, seconds: float) -> float | None:
        """Images a second, now that `images` are done after `seconds`; None while there is too little to tell from."""
        if self.before is None:
            self.before = images
        if self.first is None:
            self.first = (images, seconds) if images > self.before else None
            return None
        more, passed = images - self.first[0], seconds - self.first[1]
        return more / passed if more > 0 and passed >= BASIS_SECONDS else None


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

    def stepped(self, steps: Steps) -> None:
        pass

    def say(self, line: str) -> None:
        self.console.print(Text(line), soft_wrap=True)

    def close(self) -> None:
        pass


def render(
    rows: Sequence[TrialRow],
    total: int,
    seconds: float,
    room: int,
    width: int = WIDE,
    steps: Steps = NO_STEPS,
    end: str = "",
) -> Group:
    """The headline, and a table of at most `room` trials: running ones first, then the best.

    In a terminal of `width` characters, the knobs that there is no place for are left out and named below it. `steps`
    are those of running trials, `end` says when all may be over.
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
        table.add_row(
            *_cells(row, shown_knobs, row is leader, wide, steps.get(row.number)), style=STATE_STYLE[row.state]
        )
    table.caption = " · ".join(_captions(rows, total, room, knobs[len(shown_knobs) :])) or None
    return Group(Text(headline(rows, total, seconds, end), style="bold"), table)


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


def headline(rows: Sequence[TrialRow], total: int, seconds: float, end: str = "") -> str:
    """How far the search is, its best, and when it may `end`."""
    leader = best(rows)
    states = [row.state for row in rows]
    ended = sum(state in ENDED for state in states)
    top = f"best AUROC {decimal(leader.value)} (trial {leader.number})" if leader else "no result yet"
    parts = [f"{ended} of {total} trials", top, f"{states.count('stopped')} stopped early"]
    if "failed" in states:
        parts.append(f"{states.count('failed')} failed")
    return " · ".join([*parts, f"{clock(seconds)} gone", *([end] if end else [])])


def left_told(seconds: float | None) -> str:
    """How long it may still take, in words; None: that is not known yet."""
    return "estimating" if seconds is None else f"about {clock(seconds)} left"


def time_left(
    rows: Sequence[TrialRow], steps: Steps, budget: Budget, seconds: float, rate: float | None
) -> float | None:
    """Seconds until the search ends, at `rate` images a second, after `seconds`; None before anything is known.

    Not before the trials under way, one of which may be alone at the end, and not after what `budget` allows.
    """
    left = images_left(rows, steps, budget)
    if left is None or not rate:
        return None
    alone = [steps[row.number].left or 0.0 for row in rows if row.state == "running" and row.number in steps]
    allowed = math.inf if budget.hours is None else budget.hours * 3600 - seconds
    return max(0.0, min(max(left / rate, *alone, 0.0), allowed))


def images_done(rows: Sequence[TrialRow], steps: Steps) -> int:
    """Training images that all trials have seen so far."""
    return sum(_images(row, steps) for row in rows)


def images_left(rows: Sequence[TrialRow], steps: Steps, budget: Budget) -> float | None:
    """Training images still to be seen; None where nothing tells how many a trial sees.

    A trial to come is taken to see as many as those that have ended did on average, stopped ones too; while there is
    none, as many as those under way would see to their ends.
    """
    begun = [row for row in rows if row.state not in ENDED and _share(row, steps)]
    whole = [_images(row, steps) / _share(row, steps) for row in begun]
    spent = [row.images for row in rows if row.state in ENDED and row.images] or whole
    if not spent:
        return None
    to_come = budget.trials - sum(row.state in ENDED for row in rows) - len(begun)
    under_way = sum(all_of_it * (1 - _share(row, steps)) for row, all_of_it in zip(begun, whole, strict=True))
    allowed = math.inf if budget.images is None else budget.images - images_done(rows, steps)
    return max(0.0, min(under_way + to_come * sum(spent) / len(spent), allowed))


def _images(row: TrialRow, steps: Steps) -> int:
    return max(row.images, steps[row.number].images if _under_way(row, steps) else 0)


def _share(row: TrialRow, steps: Steps) -> float:
    return max(row.percent / 100, steps[row.number].share if _under_way(row, steps) else 0.0)


def _under_way(row: TrialRow, steps: Steps) -> bool:
    return row.state == "running" and row.number in steps


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


def _cells(row: TrialRow, knobs: Sequence[str], leads: bool, wide: bool, step: Step | None) -> list[RenderableType]:
    share = _share(row, {row.number: step} if step else NO_STEPS)
    bar: list[RenderableType] = [ProgressBar(total=100, completed=100 * share, width=16)] if wide else []
    auroc = Text(decimal(row.report.get("auroc", float("nan"))))
    so_far = Text(decimal(row.value) + (" ◀" if leads else "  "), style="bold" if leads else "")
    values = [shown(row.knobs[path]) if path in row.knobs else "" for path in knobs]
    return [str(row.number), *values, *bar, f"{int(100 * share + 1e-9)} %", auroc, so_far, _eta(row, step)]


def _eta(row: TrialRow, step: Step | None) -> str:
    if row.state != "running":
        return row.state
    if step and step.left is not None:
        return clock(step.left)
    seconds = row.report.get("seconds")
    if seconds and row.step:
        return clock(seconds * (row.report["steps"] - row.step) / row.step)
    return "..." if step else "starting"


def _importance(row: TrialRow) -> tuple[bool, float]:
    value = row.value
    return row.state not in ("running", "waiting"), -value if value == value else 1.0
