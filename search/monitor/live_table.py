"""Renders the live table of a search, and shows it on a terminal or as log lines."""

import math
import time
from collections.abc import Sequence
from typing import Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from chex.reporting.console import clear_activity, format_decimal
from search.config.budget import Budget
from search.trials.trial import ENDED, TrialRecord, best
from search.trials.trial_progress import Step, Steps
from search.trials.trial_text import format_duration, format_ending, format_value, short_name

STATE_STYLE = {"pending": "dim", "running": "bold cyan", "finished": "", "pruned": "yellow", "failed": "red"}

WIDE_SCREEN = 110
"""The least width in characters for progress bars."""
COLUMN_PADDING = 3
"""Characters between two columns."""
OTHER_COLUMNS, OTHER_COLUMNS_NARROW = 71, 53
"""Width in characters of the columns other than parameters, with progress bars and without."""
RESERVED_LINES = 9
"""Lines around the trials: 2 of the headline, 4 of the table's frame, 2 of the caption and an empty one."""
MIN_SECONDS_FOR_RATE = 3.0
"""The least duration of training before the remaining time is estimated."""
NO_STEPS: Steps = {}


class ProgressReporter(Protocol):
    """Shows the progress of a running search."""

    def update(self, rows: Sequence[TrialRecord]) -> None:
        """Replaces the trials."""

    def on_step(self, steps: Steps) -> None:
        """Replaces the progress of running trials."""

    def print_line(self, line: str) -> None:
        """Prints a line above the table."""

    def close(self) -> None:
        """Ends the display."""


def progress_reporter(
    budget: Budget, console: Console, rows: Sequence[TrialRecord] = (), seconds: float = 0.0
) -> ProgressReporter:
    """Returns a live table for a terminal, or else a reporter that prints a line per ended trial.

    `rows` and `seconds` are the trials and the running time of a resumed search.
    """
    return LiveTable(budget, console, seconds) if console.is_terminal else LogReporter(budget.trials, console, rows)


class LiveTable:
    """A table that is redrawn in place four times per second."""

    def __init__(self, budget: Budget, console: Console, seconds: float):
        self.budget, self.started, self.trials = budget, time.monotonic() - seconds, list[TrialRecord]()
        self.steps: Steps = {}
        self.image_rate, self.closed = ImageRate(), False
        self.console = console
        self.live = Live(get_renderable=self._render, console=console, refresh_per_second=4)
        clear_activity()
        self.live.start()

    def update(self, rows: Sequence[TrialRecord]) -> None:
        self.trials = list(rows)

    def on_step(self, steps: Steps) -> None:
        self.steps = steps

    def print_line(self, line: str) -> None:
        self.console.print(Text(line), soft_wrap=True)

    def close(self) -> None:
        self.closed = True
        self.live.stop()

    def _render(self) -> RenderableType:
        rows, steps, seconds = self.trials, self.steps, time.monotonic() - self.started
        max_trials = max(3, self.console.height - RESERVED_LINES)
        time_left_text = "" if self.closed else self._time_left_text(rows, steps, seconds)
        return render(rows, self.budget.trials, seconds, max_trials, self.console.width, steps, time_left_text)

    def _time_left_text(self, rows: Sequence[TrialRecord], steps: Steps, seconds: float) -> str:
        rate = self.image_rate.rate(images_done(rows, steps), seconds)
        if not steps and not any(row.reports for row in rows):
            return "starting trial processes"
        return format_time_left(time_left(rows, steps, self.budget, seconds, rate))


class ImageRate:
    """The training images per second of a search, measured from the first time that their number increases."""

    def __init__(self) -> None:
        self.initial_images: int | None = None
        self.first_sample: tuple[int, float] | None = None

    def rate(self, images: int, seconds: float) -> float | None:
        """Returns images per second, given `images` done after `seconds`; None if the measurement is too short."""
        if self.initial_images is None:
            self.initial_images = images
        if self.first_sample is None:
            self.first_sample = (images, seconds) if images > self.initial_images else None
            return None
        added, elapsed = images - self.first_sample[0], seconds - self.first_sample[1]
        return added / elapsed if added > 0 and elapsed >= MIN_SECONDS_FOR_RATE else None


class LogReporter:
    """A reporter for logs and pipes that prints a line when a trial ends."""

    def __init__(self, total: int, console: Console, rows: Sequence[TrialRecord]):
        self.total, self.console = total, console
        self.reported = {row.number for row in rows if row.state in ENDED}

    def update(self, rows: Sequence[TrialRecord]) -> None:
        best_trial = best(rows)
        for row in rows:
            if row.state in ENDED and row.number not in self.reported:
                self.reported.add(row.number)
                best_text = (
                    f"best {format_decimal(best_trial.value)} (trial {best_trial.number})"
                    if best_trial
                    else "no result yet"
                )
                params = "  ".join(f"{short_name(path)} {format_value(value)}" for path, value in row.params.items())
                line = f"trial {row.number:>3} of {self.total}  {params}  {format_ending(row)}  {best_text}"
                self.console.print(Text(line), soft_wrap=True)

    def on_step(self, steps: Steps) -> None:
        pass

    def print_line(self, line: str) -> None:
        self.console.print(Text(line), soft_wrap=True)

    def close(self) -> None:
        pass


def render(
    rows: Sequence[TrialRecord],
    total: int,
    seconds: float,
    max_trials: int,
    width: int = WIDE_SCREEN,
    steps: Steps = NO_STEPS,
    time_left_text: str = "",
) -> Group:
    """Returns the headline and a table of at most `max_trials` trials: running ones first, then the best.

    Parameters that do not fit in a terminal of `width` characters are named below the table. `steps` is the progress
    of running trials, `time_left_text` the remaining time in words.
    """
    best_trial = best(rows)
    params = list(dict.fromkeys(path for row in rows for path in row.params))
    shown_params = params_that_fit(params, rows, width)
    wide = width >= WIDE_SCREEN
    table = Table(expand=False)
    for name in (
        "trial",
        *map(short_name, shown_params),
        "progress",
        *([""] if wide else []),
        "AUROC",
        "best so far",
        "ETA",
    ):
        table.add_column(name, justify="left" if name in ("policy", "progress") else "right", no_wrap=True)
    for row in sorted(rows, key=_sort_key)[:max_trials]:
        table.add_row(
            *_cells(row, shown_params, row is best_trial, wide, steps.get(row.number)), style=STATE_STYLE[row.state]
        )
    table.caption = " · ".join(_captions(rows, total, max_trials, params[len(shown_params) :])) or None
    return Group(Text(headline(rows, total, seconds, time_left_text), style="bold"), table)


def params_that_fit(params: Sequence[str], rows: Sequence[TrialRecord], width: int) -> list[str]:
    """Returns the first parameters that fit beside the other columns."""
    left = width - (OTHER_COLUMNS if width >= WIDE_SCREEN else OTHER_COLUMNS_NARROW)
    shown: list[str] = []
    for path in params:
        cells = [short_name(path), *(format_value(row.params[path]) for row in rows if path in row.params)]
        left -= max(map(len, cells)) + COLUMN_PADDING
        if left < 0:
            break
        shown.append(path)
    return shown


def _captions(rows: Sequence[TrialRecord], total: int, max_trials: int, hidden_params: Sequence[str]) -> list[str]:
    ended = sum(row.state in ENDED for row in rows)
    hidden_trials = (
        [f"and {len(rows) - max_trials} more trials; {ended} of {total} trials have ended"]
        if len(rows) > max_trials
        else []
    )
    return [*hidden_trials, *([f"not shown: {', '.join(map(short_name, hidden_params))}"] if hidden_params else [])]


def headline(rows: Sequence[TrialRecord], total: int, seconds: float, time_left_text: str = "") -> str:
    """Returns progress, best AUROC, states, running time and remaining time in one line."""
    best_trial = best(rows)
    states = [row.state for row in rows]
    ended = sum(state in ENDED for state in states)
    best_text = (
        f"best AUROC {format_decimal(best_trial.value)} (trial {best_trial.number})" if best_trial else "no result yet"
    )
    parts = [f"{ended} of {total} trials", best_text, f"{states.count('pruned')} pruned"]
    if "failed" in states:
        parts.append(f"{states.count('failed')} failed")
    return " · ".join([*parts, f"{format_duration(seconds)} elapsed", *([time_left_text] if time_left_text else [])])


def format_time_left(seconds: float | None) -> str:
    """Returns the remaining time in words; None means not known yet."""
    return "estimating" if seconds is None else f"about {format_duration(seconds)} left"


def time_left(
    rows: Sequence[TrialRecord], steps: Steps, budget: Budget, seconds: float, rate: float | None
) -> float | None:
    """Returns the seconds until the search ends, at `rate` images per second; None if it cannot be estimated.

    The estimate is at least the longest time left of a running trial, and at most the time left in `budget`. `seconds`
    is the running time so far.
    """
    left = images_left(rows, steps, budget)
    if left is None or not rate:
        return None
    running_seconds = [steps[row.number].left or 0.0 for row in rows if row.state == "running" and row.number in steps]
    limit = math.inf if budget.hours is None else budget.hours * 3600 - seconds
    return max(0.0, min(max(left / rate, *running_seconds, 0.0), limit))


def images_done(rows: Sequence[TrialRecord], steps: Steps) -> int:
    """Returns the number of training images that all trials have seen."""
    return sum(_images(row, steps) for row in rows)


def images_left(rows: Sequence[TrialRecord], steps: Steps, budget: Budget) -> float | None:
    """Estimates the number of training images still to be seen; None if there is nothing to estimate it from.

    A future trial is expected to see as many images as ended trials, also pruned ones, did on average; if none has
    ended, as many as running trials will have seen at their ends.
    """
    started_trials = [row for row in rows if row.state not in ENDED and _share(row, steps)]
    images_per_trial = [_images(row, steps) / _share(row, steps) for row in started_trials]
    images_of_ended = [row.images_seen for row in rows if row.state in ENDED and row.images_seen] or images_per_trial
    if not images_of_ended:
        return None
    future_trials = budget.trials - sum(row.state in ENDED for row in rows) - len(started_trials)
    remaining_of_started = sum(
        total * (1 - _share(row, steps)) for row, total in zip(started_trials, images_per_trial, strict=True)
    )
    limit = math.inf if budget.images is None else budget.images - images_done(rows, steps)
    return max(0.0, min(remaining_of_started + future_trials * sum(images_of_ended) / len(images_of_ended), limit))


def _images(row: TrialRecord, steps: Steps) -> int:
    return max(row.images_seen, steps[row.number].images if _is_running(row, steps) else 0)


def _share(row: TrialRecord, steps: Steps) -> float:
    return max(row.percent / 100, steps[row.number].share if _is_running(row, steps) else 0.0)


def _is_running(row: TrialRecord, steps: Steps) -> bool:
    return row.state == "running" and row.number in steps


def _cells(
    row: TrialRecord, params: Sequence[str], is_best: bool, wide: bool, step: Step | None
) -> list[RenderableType]:
    share = _share(row, {row.number: step} if step else NO_STEPS)
    bar: list[RenderableType] = [ProgressBar(total=100, completed=100 * share, width=16)] if wide else []
    auroc = Text(format_decimal(row.report.get("auroc", float("nan"))))
    best_value = Text(format_decimal(row.value) + (" ◀" if is_best else "  "), style="bold" if is_best else "")
    values = [format_value(row.params[path]) if path in row.params else "" for path in params]
    return [str(row.number), *values, *bar, f"{int(100 * share + 1e-9)} %", auroc, best_value, _eta(row, step)]


def _eta(row: TrialRecord, step: Step | None) -> str:
    if row.state != "running":
        return row.state
    if step and step.left is not None:
        return format_duration(step.left)
    seconds = row.report.get("seconds")
    if seconds and row.step:
        return format_duration(seconds * (row.report["steps"] - row.step) / row.step)
    return "..." if step else "starting"


def _sort_key(row: TrialRecord) -> tuple[bool, float]:
    value = row.value
    return row.state not in ("running", "pending"), -value if value == value else 1.0
