"""The conductor with a real book and no Ray: trials are told by hand."""

import math
from collections.abc import Callable, Iterator, Sequence, Set
from pathlib import Path
from typing import Any

import pytest

from chex.metrics import METRIC
from search.book import Book
from search.conductor import RETRIES, Conductor, Over
from search.ledger import TrialRow
from search.search_config import SearchConfig
from search.trainable import FAILURE, HALT, HOST, NODE

SEARCH = {
    "base": {},
    "space": {"optimizer.lr": {"loguniform": [1e-4, 1e-1]}, "schedule.epochs": {"int": [1, 4]}},
    "budget": {"trials": 8},
    "sampler": {"startup": 3},
    "stopping": {"unit": "percent", "grace": 50, "factor": 2},
}


def figures(percent: int, value: float) -> dict[str, Any]:
    return {"step": percent, "steps": 100, "percent": percent, METRIC: value, "images_seen": 10 * percent}


class Ears:
    """A listener that remembers."""

    def __init__(self) -> None:
        self.beginnings: list[int] = []
        self.ends: list[tuple[int, str]] = []
        self.reports: list[tuple[int, int]] = []
        self.moved: list[tuple[int, str]] = []

    def began(self, row: TrialRow) -> None:
        self.beginnings.append(row.number)

    def reported(self, row: TrialRow, rows: Sequence[TrialRow]) -> None:
        self.reports.append((row.number, row.percent))

    def ended(self, row: TrialRow, rows: Sequence[TrialRow]) -> None:
        self.ends.append((row.number, row.state))

    def left_out(self, row: TrialRow, why: str) -> None:
        self.moved.append((row.number, why))

    def changed(self, rows: Sequence[TrialRow]) -> None:
        self.rows = list(rows)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


Make = Callable[..., Conductor]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """A conductor of SEARCH over the same folder, with this laid over it."""
    made: list[Conductor] = []

    def conductor(
        at_once: int = 1, clock: Callable[[], float] = lambda: 0.0, nodes: Set[str] = frozenset(), **over: Any
    ) -> Conductor:
        search = SearchConfig.model_validate(SEARCH | over)
        made.append(Conductor(search, Book(tmp_path, search.knobs()), Ears(), at_once, clock, lambda: nodes))
        return made[-1]

    yield conductor
    for each in made:
        each.book.close()


def started(conductor: Conductor) -> TrialRow:
    row = conductor.next_trial()
    assert row is not None
    return row


def run_one(conductor: Conductor, worth: Callable[[dict[str, Any]], float]) -> TrialRow:
    row = started(conductor)
    for percent in (25, 50, 75, 100):
        if not conductor.heard(row.number, figures(percent, worth(row.knobs) * (0.5 + percent / 200))):
            break
    return conductor.rows[row.number - 1]


def worth(knobs: dict[str, Any]) -> float:
    return 0.9 - 0.1 * abs(math.log10(knobs["optimizer.lr"]) + 2.5) - 0.02 * abs(knobs["schedule.epochs"] - 3)


def whole(conductor: Conductor) -> list[TrialRow]:
    while not conductor.starts_none():
        run_one(conductor, worth)
    return conductor.rows


def test_the_base_run_is_tried_first_and_the_budget_is_kept(make: Make) -> None:
    conductor = make()
    rows = whole(conductor)
    assert rows[0].knobs == {"optimizer.lr": 2e-3, "schedule.epochs": 2}
    assert len(rows) == 8
    assert {row.state for row in rows} == {"finished", "stopped"}
    assert all(row.percent == 100 for row in rows if row.state == "finished")
    assert all(row.percent == 50 for row in rows if row.state == "stopped")


def test_as_many_trials_are_under_way_as_there_is_room_for(make: Make) -> None:
    conductor = make(at_once=2)
    assert [started(conductor).number, started(conductor).number] == [1, 2]
    assert conductor.next_trial() is None
    conductor.heard(1, figures(100, 0.8))
    assert started(conductor).number == 3


@pytest.mark.parametrize("reports", range(1, 30, 6))
def test_a_search_cut_off_after_any_report_ends_as_one_left_in_peace(make: Make, tmp_path: Path, reports: int) -> None:
    search = SearchConfig.model_validate(SEARCH)
    (tmp_path / "peace").mkdir()
    peaceful = Conductor(search, Book(tmp_path / "peace", search.knobs()), Ears(), 1, lambda: 0.0)
    expected = whole(peaceful)
    peaceful.close()
    conductor, told = make(), 0
    while not conductor.starts_none():
        row = started(conductor)
        for percent in (25, 50, 75, 100):
            if told == reports:
                conductor.book.close()  # the process is gone
                conductor = make()
                told += 1
                break
            told += 1
            if not conductor.heard(row.number, figures(percent, worth(row.knobs) * (0.5 + percent / 200))):
                break
    assert conductor.rows == expected
    assert conductor.book.rows() == expected


def test_a_trial_cut_off_before_its_last_report_was_acted_on_is_judged_when_the_search_goes_on(make: Make) -> None:
    first = make()
    run_one(first, lambda knobs: 0.9)
    row = started(first)
    for place, noted in enumerate((figures(25, 0.4), figures(50, 0.5)), start=1):
        first.book.report(row.number, place, noted)  # heard and noted, and then the end
    again = make()
    assert again.rows[1].state == "stopped"
    assert again.listener.ends == [(2, "stopped")]  # type: ignore[attr-defined]
    assert started(again).number == 3


def test_a_report_that_is_known_already_changes_nothing(make: Make) -> None:
    conductor = make()
    started(conductor)
    assert conductor.heard(1, figures(25, 0.6))
    assert conductor.heard(1, figures(25, 0.6))
    assert conductor.listener.reports == [(1, 25)]  # type: ignore[attr-defined]
    assert len(conductor.book.rows()[0].reports) == 1


def test_a_trial_without_a_result_is_failed_with_its_reason_and_the_search_goes_on(make: Make) -> None:
    conductor = make(at_once=3)
    for _ in range(3):
        started(conductor)
    assert not conductor.heard(1, {METRIC: math.nan, FAILURE: "the loss is no number"})
    assert not conductor.heard(2, figures(25, math.nan))
    for _ in range(RETRIES):
        conductor.failed(3, "RayActorError: the actor died")
        assert started(conductor).number == 3
    conductor.failed(3, "RayActorError: the actor died")
    assert [(row.state, row.error) for row in conductor.book.rows()] == [
        ("failed", "the loss is no number"),
        ("failed", "undefined metric"),
        ("failed", "RayActorError: the actor died"),
    ]
    assert started(conductor).number == 4


def test_a_trial_that_makes_progress_between_its_deaths_is_started_as_often_as_it_takes(make: Make) -> None:
    conductor = make()
    assert started(conductor).number == 1
    for percent in (25, 50, 75):
        for _ in range(RETRIES):
            conductor.failed(1, "RayActorError: the node died")
            assert started(conductor).number == 1
        assert conductor.heard(1, figures(percent, 0.8))


def test_a_listener_hears_of_a_trial_once_it_is_in_the_book_and_before_it_starts(make: Make) -> None:
    conductor = make()
    states = list[str]()
    conductor.listener.began = lambda row: states.extend(  # type: ignore[method-assign]
        [row.state, *(each.state for each in conductor.book.rows())]
    )
    number = started(conductor).number
    conductor.failed(number, "RayActorError: the actor died")
    started(conductor)
    assert states == ["waiting", "waiting"]


def test_none_is_left_to_start_until_a_trial_under_way_has_to_start_again(make: Make) -> None:
    conductor = make(at_once=2, budget={"trials": 2})
    assert not conductor.starts_none()
    first, second = started(conductor), started(conductor)
    conductor.heard(first.number, figures(100, 0.6))
    assert conductor.starts_none()
    assert conductor.next_trial() is None
    conductor.failed(second.number, "RayActorError: the actor died")
    assert not conductor.starts_none()
    assert started(conductor).number == second.number


def test_none_is_left_to_start_until_a_trial_under_way_brings_a_new_best(make: Make) -> None:
    conductor = make(at_once=2, budget={"trials": 8, "patience": 1}, stopping=None)
    started(conductor), started(conductor)
    conductor.heard(1, figures(100, 0.8))
    assert started(conductor).number == 3
    conductor.heard(2, figures(100, 0.7))
    assert conductor.starts_none()
    assert conductor.next_trial() is None
    conductor.heard(3, figures(100, 0.9))
    assert not conductor.starts_none()
    assert started(conductor).number == 4


def test_failures_in_turn_end_the_search(make: Make) -> None:
    conductor = make(budget={"trials": 8, "failures": 2})
    for _ in range(2):
        conductor.heard(started(conductor).number, {METRIC: math.nan, FAILURE: "the loss is no number"})
    assert "2 trials in turn failed" in (conductor.is_over() or "")
    with pytest.raises(Over):
        conductor.next_trial()


def test_a_full_disk_leaves_its_trial_to_be_gone_on_with(make: Make) -> None:
    conductor = make()
    row = started(conductor)
    conductor.heard(row.number, figures(25, 0.6))
    assert not conductor.heard(row.number, {METRIC: math.nan, HALT: "trials/001 cannot be written"})
    assert conductor.is_over() == "trials/001 cannot be written"
    conductor.close()
    again = make()
    assert again.is_over() is None
    assert (started(again).number, again.rows[0].percent) == (1, 25)


def halt(node: str) -> dict[str, Any]:
    return {METRIC: math.nan, HALT: "its disk is full", NODE: node, HOST: f"vm-{node}"}


def test_a_full_disk_of_one_node_moves_its_trials_and_leaves_the_node_out(make: Make) -> None:
    conductor = make(at_once=2, nodes={"a", "b"})
    first, second = started(conductor), started(conductor)
    conductor.heard(first.number, figures(25, 0.6))
    assert not conductor.heard(first.number, halt("a"))
    assert not conductor.heard(second.number, halt("a"))  # it was under way there too
    assert conductor.is_over() is None
    assert conductor.left_out == {"a"}
    assert conductor.listener.moved == [(1, "vm-a: its disk is full"), (2, "vm-a: its disk is full")]
    assert (started(conductor).number, conductor.rows[0].percent) == (1, 25)
    assert conductor.heard(1, figures(50, 0.6))


def test_where_no_node_is_left_the_search_ends_and_its_trials_can_be_gone_on_with(make: Make) -> None:
    conductor = make(nodes={"a", "b"})
    conductor.heard(started(conductor).number, halt("a"))
    conductor.heard(started(conductor).number, halt("b"))
    assert conductor.is_over() == "its disk is full"
    conductor.close()
    assert make().rows[0].state == "waiting"


def test_a_trial_that_no_node_has_room_for_fails_and_does_not_take_all_of_them_with_it(make: Make) -> None:
    conductor = make(nodes=set("abcdef"))
    for node in "abc":
        conductor.heard(started(conductor).number, halt(node))
    assert (conductor.rows[0].state, conductor.rows[0].error) == ("failed", "vm-c: its disk is full")
    assert conductor.is_over() is None
    assert started(conductor).number == 2


def test_what_keeps_the_driver_itself_from_going_on_is_raised(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(row: TrialRow, why: str) -> None:
        raise ConnectionError

    conductor = make(nodes={"a", "b"})
    row = started(conductor)
    monkeypatch.setattr(conductor.listener, "left_out", away)
    with pytest.raises(ConnectionError):
        conductor.heard(row.number, halt("a"))
    assert conductor.rows[0].state == "running"


def test_hours_count_over_interruptions_and_leave_trials_unfinished(make: Make) -> None:
    clock, budget = Clock(), {"trials": 8, "hours": 1.0}
    first = make(clock=clock, budget=budget)
    started(first)
    clock.now = 1800.0
    first.close()
    clock.now = 90_000.0  # a night off does not count
    again = make(clock=clock, budget=budget)
    assert again.is_over() is None
    row = started(again)
    clock.now += 1800.0
    assert again.is_over() == "1 hours are over (budget.hours)"
    again.close()
    assert again.rows[row.number - 1].state == "waiting"


def test_images_are_counted_over_all_trials(make: Make) -> None:
    conductor = make(at_once=2, budget={"trials": 8, "images": 750})
    started(conductor), started(conductor)
    conductor.heard(1, figures(50, 0.6))
    assert conductor.is_over() is None
    conductor.heard(2, figures(25, 0.6))
    assert conductor.is_over() == "750 training images are spent (budget.images)"


def test_without_early_stopping_every_trial_runs_to_its_end(make: Make) -> None:
    assert {row.state for row in whole(make(stopping=None))} == {"finished"}


def test_reports_of_the_same_whole_percent_are_all_kept(make: Make) -> None:
    conductor = make(stopping=None)
    row = started(conductor)
    every = [figures(step, 0.5 + step / 1000) | {"steps": 140, "percent": step / 1.4} for step in range(1, 141)]
    for each in every:
        assert conductor.heard(row.number, each)
        assert (conductor.rows[0].state == "finished") == (each["step"] == 140)
    assert [dict(each) for each in conductor.rows[0].reports] == every
    assert [dict(each) for each in conductor.book.rows()[0].reports] == every


def test_a_rung_between_two_whole_percents_is_met_where_it_lies(make: Make) -> None:
    conductor = make(at_once=2, stopping={"unit": "percent", "grace": 25, "factor": 1.5})
    first, second = started(conductor), started(conductor)
    for step in (200, 300):
        assert conductor.heard(first.number, figures(step, 0.9) | {"steps": 800, "percent": step / 8})
    assert conductor.heard(second.number, figures(200, 0.9) | {"steps": 800, "percent": 25.0})
    assert not conductor.heard(second.number, figures(300, 0.89) | {"steps": 800, "percent": 37.5})
