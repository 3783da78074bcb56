import io
import math

import pytest
from rich.console import Console

from chex.metrics import METRIC
from search.ledger import State, TrialRow
from search.progress import Lines, clock, display, headline, render, shown, time_left


def row(number: int, state: State, percent: int = 0, value: float = math.nan, error: str = "") -> TrialRow:
    report = (
        {METRIC: value, "auroc": value, "step": percent, "steps": 100, "percent": percent, "seconds": 30.0}
        if percent
        else {}
    )
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
    assert told.startswith(
        "3 of 8 trials · best AUROC .800 (trial 1) · 1 stopped early · 1 failed · 1:00 min gone · about"
    )
    assert headline([], total=8, seconds=0).endswith("no result yet · 0 stopped early · 0 s gone · estimating")


def test_the_time_left_follows_what_is_done() -> None:
    assert time_left(ROWS, total=7, seconds=35) == pytest.approx(35)
    assert time_left([row(1, "running")], total=3, seconds=9) is None


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
    assert isinstance(display(3, Console(file=io.StringIO())), Lines)


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
