import io
import math

import pytest
from rich.console import Console

from chex.metrics import METRIC
from search.budget import Budget
from search.ledger import State, TrialRow
from search.progress import (
    Lines,
    LiveTable,
    Pace,
    clock,
    display,
    headline,
    images_left,
    left_told,
    render,
    shown,
    time_left,
)
from search.steps import Step


def row(number: int, state: State, percent: int = 0, value: float = math.nan, error: str = "") -> TrialRow:
    figures = {METRIC: value, "auroc": value, "percent": percent, "step": percent, "steps": 100, "seconds": 30.0}
    report = figures | {"images_seen": 10 * percent} if percent else {}
    return TrialRow(
        number, state, {"policy.default": "ones", "optimizer.lr": 1.234e-3}, (report,) if report else (), error
    )


ROWS = [
    row(1, "finished", 100, 0.8),
    row(2, "stopped", 25, 0.6),
    row(3, "running", 50, 0.7),
    row(4, "failed", error="the loss became nan"),
    row(5, "waiting"),
]


def text(room: int) -> str:
    console = Console(file=io.StringIO(), width=140, force_terminal=False)
    console.print(render(ROWS, total=8, seconds=60, room=room))
    return str(console.file.getvalue())  # type: ignore[attr-defined]


def test_the_table_shows_trial_policy_knobs_progress_auroc_best_and_eta() -> None:
    shown_text = text(room=10)
    for head in ("trial", "policy", "lr", "progress", "AUROC", "best so far", "ETA"):
        assert head in shown_text
    lines = [line.split() for line in shown_text.splitlines()]
    assert ["3", "ones", "1.2e-03"] in [[cell for cell in line if cell not in "│┃"][:3] for line in lines]
    assert "50 %" in shown_text
    assert ".800 ◀" in shown_text
    assert "30 s" in shown_text


def test_running_trials_come_first_and_the_rest_by_auroc() -> None:
    numbers = [line.split()[1] for line in text(room=10).splitlines() if line.startswith("│")]
    assert numbers == ["3", "5", "1", "2", "4"]


def test_a_long_search_shows_what_fits_and_counts_the_rest() -> None:
    assert "and 2 more trials; 3 of 8 have ended" in text(room=3)


def test_the_headline_says_how_far_how_good_and_how_long() -> None:
    told = headline(ROWS, total=8, seconds=60)
    assert told == "3 of 8 trials · best AUROC .800 (trial 1) · 1 stopped early · 1 failed · 1:00 min gone"
    assert headline([], total=8, seconds=0, end=left_told(None)).endswith("0 stopped early · 0 s gone · estimating")
    assert headline([], total=8, seconds=0, end=left_told(61)).endswith("0 s gone · about 1:01 min left")


def test_steps_move_the_bars_between_reports() -> None:
    console = Console(file=io.StringIO(), width=140)
    console.print(render(ROWS, 8, 60, 10, 140, {3: Step(0.62, 620, 41.0), 1: Step(0.3, 300)}))
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    running, finished = (next(line for line in lines if line.startswith(f"│     {number} ")) for number in (3, 1))
    assert "62 %" in running
    assert "41 s" in running
    assert "100 %" in finished


def test_a_trial_that_has_told_nothing_is_starting() -> None:
    console = Console(file=io.StringIO(), width=140)
    console.print(render([row(1, "running")], 8, 60, 10, 140))
    assert "starting" in console.file.getvalue()  # type: ignore[attr-defined]


def test_the_images_left_are_those_of_trials_under_way_and_of_trials_to_come() -> None:
    steps = {3: Step(0.75, 750)}
    # the rest of trial 3; trial 5 and two more see as many as trials 1 and 2 did on average
    assert images_left(ROWS, steps, Budget(trials=7)) == pytest.approx(250 + 3 * (1000 + 250) / 2)
    assert images_left(ROWS, {}, Budget(trials=5)) == pytest.approx(500 + (1000 + 250) / 2)
    assert images_left(ROWS, {}, Budget(trials=5, images=1800)) == pytest.approx(1800 - 1750)
    assert images_left([row(1, "running")], {}, Budget(trials=3)) is None
    assert images_left([row(1, "running")], {1: Step(0.1, 100)}, Budget(trials=3)) == pytest.approx(900 + 2 * 1000)


def test_the_time_left_follows_the_images_a_second_and_ends_with_the_hours() -> None:
    rows, steps = [row(1, "running")], {1: Step(0.5, 500)}
    assert time_left(rows, steps, Budget(trials=2), 60, rate=10.0) == pytest.approx(150)
    assert time_left(rows, steps, Budget(trials=2, hours=0.05), 60, rate=10.0) == pytest.approx(120)
    assert time_left(rows, steps, Budget(trials=2), 60, rate=None) is None
    assert time_left(rows, {1: Step(0.5, 500, left=300.0)}, Budget(trials=2), 60, rate=10.0) == 300


def test_nothing_is_estimated_before_there_is_a_basis() -> None:
    pace = Pace()
    assert pace.rate(500, 100.0) is None  # a resumed search: these images were seen before
    assert pace.rate(500, 130.0) is None
    assert pace.rate(532, 131.0) is None
    assert pace.rate(564, 132.0) is None
    assert pace.rate(632, 141.0) == pytest.approx(10.0)


def test_the_live_table_says_that_processes_start_and_at_the_end_no_longer_when_that_will_be() -> None:
    console = Console(file=io.StringIO(), width=140, force_terminal=True)
    table = LiveTable(Budget(trials=1), console, seconds=0.0)
    table.update([row(1, "running")])
    table.live.refresh()
    table.update([row(1, "finished", 100, 0.8)])
    table.close()
    told = console.file.getvalue()  # type: ignore[attr-defined]
    assert "starting trial processes" in told
    last = told[told.rindex("1 of 1 trials") :]
    assert "gone" in last
    assert "left" not in last
    assert "estimating" not in last


def test_lines_tell_each_ended_trial_once() -> None:
    console = Console(file=io.StringIO(), width=200)
    lines = Lines(8, console, [])
    lines.update(ROWS)
    lines.update(ROWS)
    told = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert len(told) == 3
    assert told[0] == "trial   1 of 8  policy ones  lr 1.2e-03  AUROC .800  finished  best .800 (trial 1)"
    assert "AUROC .600  stopped at 25 %" in told[1]
    assert "failed: the loss became nan" in told[2]


def test_a_pipe_gets_lines_and_a_terminal_the_live_table() -> None:
    assert isinstance(display(Budget(trials=3), Console(file=io.StringIO())), Lines)


@pytest.mark.parametrize(("seconds", "told"), [(12.4, "12 s"), (185, "3:05 min"), (7620, "2:07 h")])
def test_times_read_as_people_say_them(seconds: float, told: str) -> None:
    assert clock(seconds) == told


@pytest.mark.parametrize(
    ("value", "told"), [(0.00123, "1.2e-03"), (0.25, "0.25"), (3, "3"), ("ones", "ones"), (0.0, "0.00")]
)
def test_knobs_are_shown_short(value: object, told: str) -> None:
    assert shown(value) == told


@pytest.mark.parametrize("width", [80, 100, 120, 160])
def test_the_table_fits_the_terminal_and_names_the_knobs_that_it_leaves_out(width: int) -> None:
    knobs = {f"policy.{name}": "smoothed_ones" for name in ("Atelectasis", "Edema", "Consolidation")} | {
        "optimizer.lr": 1e-3
    }
    rows = [
        TrialRow(
            1,
            "running",
            knobs,
            ({METRIC: 0.8, "auroc": 0.8, "step": 50, "steps": 100, "percent": 50, "seconds": 3000.0},),
        )
    ]
    console = Console(file=io.StringIO(), width=width)
    console.print(render(rows, total=8, seconds=60, room=9, width=width))
    told = console.file.getvalue()  # type: ignore[attr-defined]
    assert "…" not in told
    assert all(len(line) <= width for line in told.splitlines())
    assert all(name in told for name in ("Atelectasis", "Edema", "Consolidation", "lr"))
    assert ("not shown" in told) == (width < 160)
