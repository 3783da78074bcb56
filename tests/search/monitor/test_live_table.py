import io
import math

import pytest
from rich.console import Console

from chex.statistics.metrics import METRIC
from search.config.budget import Budget
from search.monitor.live_table import (
    ImageRate,
    LiveTable,
    LogReporter,
    format_time_left,
    headline,
    images_left,
    progress_reporter,
    render,
    time_left,
)
from search.trials.trial import State, TrialRecord
from search.trials.trial_progress import Step
from search.trials.trial_text import format_duration, format_value


def row(number: int, state: State, percent: int = 0, value: float = math.nan, error: str = "") -> TrialRecord:
    figures = {METRIC: value, "auroc": value, "percent": percent, "step": percent, "steps": 100, "seconds": 30.0}
    report = figures | {"images_seen": 10 * percent} if percent else {}
    return TrialRecord(
        number, state, {"policy.default": "ones", "optimizer.lr": 1.234e-3}, (report,) if report else (), error
    )


ROWS = [
    row(1, "finished", 100, 0.8),
    row(2, "pruned", 25, 0.6),
    row(3, "running", 50, 0.7),
    row(4, "failed", error="the loss became nan"),
    row(5, "pending"),
]


def table_text(max_trials: int) -> str:
    console = Console(file=io.StringIO(), width=140, force_terminal=False)
    console.print(render(ROWS, total=8, seconds=60, max_trials=max_trials))
    return str(console.file.getvalue())  # type: ignore[attr-defined]


def test_the_table_shows_trial_parameters_progress_auroc_best_and_eta() -> None:
    shown_text = table_text(max_trials=10)
    for head in ("trial", "policy", "lr", "progress", "AUROC", "best so far", "ETA"):
        assert head in shown_text
    lines = [line.split() for line in shown_text.splitlines()]
    assert ["3", "ones", "1.2e-03"] in [[cell for cell in line if cell not in "│┃"][:3] for line in lines]
    assert "50 %" in shown_text
    assert ".800 ◀" in shown_text
    assert "30 s" in shown_text


def test_running_trials_come_first_and_the_rest_by_auroc() -> None:
    numbers = [line.split()[1] for line in table_text(max_trials=10).splitlines() if line.startswith("│")]
    assert numbers == ["3", "5", "1", "2", "4"]


def test_a_long_search_shows_the_trials_that_fit_and_counts_the_others() -> None:
    assert "and 2 more trials; 3 of 8 trials have ended" in table_text(max_trials=3)


def test_the_headline_has_progress_best_auroc_and_times() -> None:
    output = headline(ROWS, total=8, seconds=60)
    assert output == "3 of 8 trials · best AUROC .800 (trial 1) · 1 pruned · 1 failed · 1:00 min elapsed"
    assert headline([], total=8, seconds=0, time_left_text=format_time_left(None)).endswith(
        "0 pruned · 0 s elapsed · estimating"
    )
    assert headline([], total=8, seconds=0, time_left_text=format_time_left(61)).endswith(
        "0 s elapsed · about 1:01 min left"
    )


def test_steps_move_the_bars_between_reports() -> None:
    console = Console(file=io.StringIO(), width=140)
    console.print(render(ROWS, 8, 60, 10, 140, {3: Step(0.62, 620, 41.0), 1: Step(0.3, 300)}))
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    running, finished = (next(line for line in lines if line.startswith(f"│     {number} ")) for number in (3, 1))
    assert "62 %" in running
    assert "41 s" in running
    assert "100 %" in finished


def test_a_trial_without_a_report_is_starting() -> None:
    console = Console(file=io.StringIO(), width=140)
    console.print(render([row(1, "running")], 8, 60, 10, 140))
    assert "starting" in console.file.getvalue()  # type: ignore[attr-defined]


def test_the_images_left_are_those_of_running_and_future_trials() -> None:
    steps = {3: Step(0.75, 750)}
    # the rest of trial 3; trial 5 and two more see as many as trials 1 and 2 did on average
    assert images_left(ROWS, steps, Budget(trials=7)) == pytest.approx(250 + 3 * (1000 + 250) / 2)
    assert images_left(ROWS, {}, Budget(trials=5)) == pytest.approx(500 + (1000 + 250) / 2)
    assert images_left(ROWS, {}, Budget(trials=5, images=1800)) == pytest.approx(1800 - 1750)
    assert images_left([row(1, "running")], {}, Budget(trials=3)) is None
    assert images_left([row(1, "running")], {1: Step(0.1, 100)}, Budget(trials=3)) == pytest.approx(900 + 2 * 1000)


def test_the_time_left_depends_on_images_per_second_and_is_limited_by_the_budget() -> None:
    rows, steps = [row(1, "running")], {1: Step(0.5, 500)}
    assert time_left(rows, steps, Budget(trials=2), 60, rate=10.0) == pytest.approx(150)
    assert time_left(rows, steps, Budget(trials=2, hours=0.05), 60, rate=10.0) == pytest.approx(120)
    assert time_left(rows, steps, Budget(trials=2), 60, rate=None) is None
    assert time_left(rows, {1: Step(0.5, 500, left=300.0)}, Budget(trials=2), 60, rate=10.0) == 300


def test_no_rate_is_estimated_before_the_images_increase() -> None:
    image_rate = ImageRate()
    assert image_rate.rate(500, 100.0) is None  # a resumed search: these images were seen before
    assert image_rate.rate(500, 130.0) is None
    assert image_rate.rate(532, 131.0) is None
    assert image_rate.rate(564, 132.0) is None
    assert image_rate.rate(632, 141.0) == pytest.approx(10.0)


def test_the_live_table_says_that_processes_start_and_has_no_time_left_at_the_end() -> None:
    console = Console(file=io.StringIO(), width=140, force_terminal=True)
    table = LiveTable(Budget(trials=1), console, seconds=0.0)
    table.update([row(1, "running")])
    table.live.refresh()
    table.update([row(1, "finished", 100, 0.8)])
    table.close()
    output = console.file.getvalue()  # type: ignore[attr-defined]
    assert "starting trial processes" in output
    final_table = output[output.rindex("1 of 1 trials") :]
    assert "elapsed" in final_table
    assert "left" not in final_table
    assert "estimating" not in final_table


def test_each_ended_trial_has_one_log_line() -> None:
    console = Console(file=io.StringIO(), width=200)
    lines = LogReporter(8, console, [])
    lines.update(ROWS)
    lines.update(ROWS)
    output = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert len(output) == 3
    assert output[0] == "trial   1 of 8  policy ones  lr 1.2e-03  AUROC .800  finished  best .800 (trial 1)"
    assert "AUROC .600  pruned at 25 %" in output[1]
    assert "failed: the loss became nan" in output[2]


def test_a_pipe_gets_lines_and_a_terminal_the_live_table() -> None:
    assert isinstance(progress_reporter(Budget(trials=3), Console(file=io.StringIO())), LogReporter)


@pytest.mark.parametrize(("seconds", "output"), [(12.4, "12 s"), (185, "3:05 min"), (7620, "2:07 h")])
def test_durations_are_formatted_in_seconds_minutes_or_hours(seconds: float, output: str) -> None:
    assert format_duration(seconds) == output


@pytest.mark.parametrize(
    ("value", "output"), [(0.00123, "1.2e-03"), (0.25, "0.25"), (3, "3"), ("ones", "ones"), (0.0, "0.00")]
)
def test_parameter_values_are_shown_short(value: object, output: str) -> None:
    assert format_value(value) == output


@pytest.mark.parametrize("width", [80, 100, 120, 160])
def test_the_table_fits_the_terminal_and_names_the_parameters_it_omits(width: int) -> None:
    params = {f"policy.{name}": "smoothed_ones" for name in ("Atelectasis", "Edema", "Consolidation")} | {
        "optimizer.lr": 1e-3
    }
    rows = [
        TrialRecord(
            1,
            "running",
            params,
            ({METRIC: 0.8, "auroc": 0.8, "step": 50, "steps": 100, "percent": 50, "seconds": 3000.0},),
        )
    ]
    console = Console(file=io.StringIO(), width=width)
    console.print(render(rows, total=8, seconds=60, max_trials=9, width=width))
    output = console.file.getvalue()  # type: ignore[attr-defined]
    assert "…" not in output
    assert all(len(line) <= width for line in output.splitlines())
    assert all(name in output for name in ("Atelectasis", "Edema", "Consolidation", "lr"))
    assert ("not shown" in output) == (width < 160)
