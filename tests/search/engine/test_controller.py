"""The controller with a real study and without Ray: the tests report for the trials."""

import math
from collections.abc import Callable, Iterator, Sequence, Set
from pathlib import Path
from typing import Any

import pytest

from chex.statistics.metrics import METRIC
from search.config.search_config import SearchConfig
from search.engine.controller import MAX_RETRIES, SearchFinished, TrialController
from search.trials.study_store import StudyStore
from search.trials.trial import FAILURE, HALT, HOST, NODE, TrialRecord

SEARCH = {
    "base": {},
    "space": {"optimizer.lr": {"loguniform": [1e-4, 1e-1]}, "schedule.epochs": {"int": [1, 4]}},
    "budget": {"trials": 8},
    "sampler": {"n_startup_trials": 3},
    "pruning": {"time_attr": "percent", "grace_period": 50, "reduction_factor": 2},
}


def report_of(percent: int, value: float) -> dict[str, Any]:
    return {"step": percent, "steps": 100, "percent": percent, METRIC: value, "images_seen": 10 * percent}


class RecordingCallback:
    """A callback that records what it is called with."""

    def __init__(self) -> None:
        self.started_trials: list[int] = []
        self.endings: list[tuple[int, str]] = []
        self.reports: list[tuple[int, int]] = []
        self.moved: list[tuple[int, str]] = []

    def on_trial_start(self, trial: TrialRecord) -> None:
        self.started_trials.append(trial.number)

    def on_report(self, trial: TrialRecord, trials: Sequence[TrialRecord]) -> None:
        self.reports.append((trial.number, trial.percent))

    def on_trial_end(self, trial: TrialRecord, trials: Sequence[TrialRecord]) -> None:
        self.endings.append((trial.number, trial.state))

    def on_node_excluded(self, trial: TrialRecord, reason: str) -> None:
        self.moved.append((trial.number, reason))

    def on_update(self, trials: Sequence[TrialRecord]) -> None:
        self.trials = list(trials)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


Make = Callable[..., TrialController]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Makes a controller of SEARCH, with changed settings, always over the same folder."""
    made: list[TrialController] = []

    def controller(
        max_concurrent_trials: int = 1,
        clock: Callable[[], float] = lambda: 0.0,
        nodes: Set[str] = frozenset(),
        **over: Any,
    ) -> TrialController:
        search = SearchConfig.model_validate(SEARCH | over)
        made.append(
            TrialController(
                search,
                StudyStore(tmp_path, search.search_space()),
                RecordingCallback(),
                max_concurrent_trials,
                clock,
                lambda: nodes,
            )
        )
        return made[-1]

    yield controller
    for each in made:
        each.store.close()


def start(controller: TrialController) -> TrialRecord:
    trial = controller.suggest()
    assert trial is not None
    return trial


def run_one(controller: TrialController, worth: Callable[[dict[str, Any]], float]) -> TrialRecord:
    trial = start(controller)
    for percent in (25, 50, 75, 100):
        if not controller.on_result(trial.number, report_of(percent, worth(trial.params) * (0.5 + percent / 200))):
            break
    return controller.trials[trial.number - 1]


def worth(params: dict[str, Any]) -> float:
    return 0.9 - 0.1 * abs(math.log10(params["optimizer.lr"]) + 2.5) - 0.02 * abs(params["schedule.epochs"] - 3)


def run_all(controller: TrialController) -> list[TrialRecord]:
    while not controller.is_exhausted():
        run_one(controller, worth)
    return controller.trials


def test_the_base_run_comes_first_and_the_budget_is_respected(make: Make) -> None:
    controller = make()
    trials = run_all(controller)
    assert trials[0].params == {"optimizer.lr": 2e-3, "schedule.epochs": 2}
    assert len(trials) == 8
    assert {trial.state for trial in trials} == {"finished", "pruned"}
    assert all(trial.percent == 100 for trial in trials if trial.state == "finished")
    assert all(trial.percent == 50 for trial in trials if trial.state == "pruned")


def test_the_maximum_of_concurrent_trials_is_respected(make: Make) -> None:
    controller = make(max_concurrent_trials=2)
    assert [start(controller).number, start(controller).number] == [1, 2]
    assert controller.suggest() is None
    controller.on_result(1, report_of(100, 0.8))
    assert start(controller).number == 3


@pytest.mark.parametrize("reports", [1, 13, 25])
def test_a_search_interrupted_after_any_report_ends_as_an_uninterrupted_one(
    make: Make, tmp_path: Path, reports: int
) -> None:
    search = SearchConfig.model_validate(SEARCH)
    (tmp_path / "peace").mkdir()
    uninterrupted = TrialController(
        search, StudyStore(tmp_path / "peace", search.search_space()), RecordingCallback(), 1, lambda: 0.0
    )
    expected = run_all(uninterrupted)
    uninterrupted.close()
    controller, n_reports = make(), 0
    while not controller.is_exhausted():
        trial = start(controller)
        for percent in (25, 50, 75, 100):
            if n_reports == reports:
                controller.store.close()  # the process is gone
                controller = make()
                n_reports += 1
                break
            n_reports += 1
            if not controller.on_result(trial.number, report_of(percent, worth(trial.params) * (0.5 + percent / 200))):
                break
    assert controller.trials == expected
    assert controller.store.trials() == expected


def test_a_report_that_had_no_effect_before_an_interruption_can_prune_its_trial_on_resume(make: Make) -> None:
    first = make()
    run_one(first, lambda params: 0.9)
    trial = start(first)
    for remote, report in enumerate((report_of(25, 0.4), report_of(50, 0.5)), start=1):
        first.store.add_report(trial.number, remote, report)  # recorded, then interrupted
    again = make()
    assert again.trials[1].state == "pruned"
    assert again.callback.endings == [(2, "pruned")]  # type: ignore[attr-defined]
    assert start(again).number == 3


def test_a_report_that_is_known_already_changes_nothing(make: Make) -> None:
    controller = make()
    start(controller)
    assert controller.on_result(1, report_of(25, 0.6))
    assert controller.on_result(1, report_of(25, 0.6))
    assert controller.callback.reports == [(1, 25)]  # type: ignore[attr-defined]
    assert len(controller.store.trials()[0].reports) == 1


def test_a_trial_without_a_result_fails_with_its_reason_and_the_search_continues(make: Make) -> None:
    controller = make(max_concurrent_trials=3)
    for _ in range(3):
        start(controller)
    assert not controller.on_result(1, {METRIC: math.nan, FAILURE: "the loss is no number"})
    assert not controller.on_result(2, report_of(25, math.nan))
    for _ in range(MAX_RETRIES):
        controller.on_error(3, "RayActorError: the actor died")
        assert start(controller).number == 3
    controller.on_error(3, "RayActorError: the actor died")
    assert [(trial.state, trial.error) for trial in controller.store.trials()] == [
        ("failed", "the loss is no number"),
        ("failed", "undefined metric"),
        ("failed", "RayActorError: the actor died"),
    ]
    assert start(controller).number == 4


def test_a_trial_that_makes_progress_between_crashes_is_restarted_without_limit(make: Make) -> None:
    controller = make()
    assert start(controller).number == 1
    for percent in (25, 50, 75):
        for _ in range(MAX_RETRIES):
            controller.on_error(1, "RayActorError: the node died")
            assert start(controller).number == 1
        assert controller.on_result(1, report_of(percent, 0.8))


def test_the_callback_gets_a_trial_after_it_is_in_the_study_and_before_it_starts(make: Make) -> None:
    controller = make()
    states = list[str]()
    controller.callback.on_trial_start = lambda trial: states.extend(  # type: ignore[method-assign]
        [trial.state, *(each.state for each in controller.store.trials())]
    )
    number = start(controller).number
    controller.on_error(number, "RayActorError: the actor died")
    start(controller)
    assert states == ["pending", "pending"]


def test_no_trial_is_left_to_start_until_a_running_one_crashes(make: Make) -> None:
    controller = make(max_concurrent_trials=2, budget={"trials": 2})
    assert not controller.is_exhausted()
    first, second = start(controller), start(controller)
    controller.on_result(first.number, report_of(100, 0.6))
    assert controller.is_exhausted()
    assert controller.suggest() is None
    controller.on_error(second.number, "RayActorError: the actor died")
    assert not controller.is_exhausted()
    assert start(controller).number == second.number


def test_no_trial_is_left_to_start_until_a_running_one_is_a_new_best(make: Make) -> None:
    controller = make(max_concurrent_trials=2, budget={"trials": 8, "patience": 1}, pruning=None)
    start(controller), start(controller)
    controller.on_result(1, report_of(100, 0.8))
    assert start(controller).number == 3
    controller.on_result(2, report_of(100, 0.7))
    assert controller.is_exhausted()
    assert controller.suggest() is None
    controller.on_result(3, report_of(100, 0.9))
    assert not controller.is_exhausted()
    assert start(controller).number == 4


def test_consecutive_failures_end_the_search(make: Make) -> None:
    controller = make(budget={"trials": 8, "max_consecutive_failures": 2})
    for _ in range(2):
        controller.on_result(start(controller).number, {METRIC: math.nan, FAILURE: "the loss is no number"})
    assert "2 trials in a row failed" in (controller.should_stop() or "")
    with pytest.raises(SearchFinished):
        controller.suggest()


def test_a_trial_stopped_by_a_full_disk_can_be_resumed(make: Make) -> None:
    controller = make()
    trial = start(controller)
    controller.on_result(trial.number, report_of(25, 0.6))
    assert not controller.on_result(trial.number, {METRIC: math.nan, HALT: "trials/001 cannot be written"})
    assert controller.should_stop() == "trials/001 cannot be written"
    controller.close()
    again = make()
    assert again.should_stop() is None
    assert (start(again).number, again.trials[0].percent) == (1, 25)


def halt(node: str) -> dict[str, Any]:
    return {METRIC: math.nan, HALT: "its disk is full", NODE: node, HOST: f"vm-{node}"}


def test_a_full_disk_on_one_node_moves_its_trials_and_excludes_the_node(make: Make) -> None:
    controller = make(max_concurrent_trials=2, nodes={"a", "b"})
    first, second = start(controller), start(controller)
    controller.on_result(first.number, report_of(25, 0.6))
    assert not controller.on_result(first.number, halt("a"))
    assert not controller.on_result(second.number, halt("a"))  # it was running there too
    assert controller.should_stop() is None
    assert controller.excluded_nodes == {"a"}
    assert controller.callback.moved == [(1, "vm-a: its disk is full"), (2, "vm-a: its disk is full")]
    assert (start(controller).number, controller.trials[0].percent) == (1, 25)
    assert controller.on_result(1, report_of(50, 0.6))


def test_without_any_node_left_the_search_ends_and_its_trials_can_be_resumed(make: Make) -> None:
    controller = make(nodes={"a", "b"})
    controller.on_result(start(controller).number, halt("a"))
    controller.on_result(start(controller).number, halt("b"))
    assert controller.should_stop() == "its disk is full"
    controller.close()
    assert make().trials[0].state == "pending"


def test_a_trial_that_fills_every_disk_fails_before_it_excludes_all_nodes(make: Make) -> None:
    controller = make(nodes=set("abcdef"))
    for node in "abc":
        controller.on_result(start(controller).number, halt(node))
    assert (controller.trials[0].state, controller.trials[0].error) == ("failed", "vm-c: its disk is full")
    assert controller.should_stop() is None
    assert start(controller).number == 2


def test_an_error_that_stops_the_driver_itself_is_raised(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(trial: TrialRecord, reason: str) -> None:
        raise ConnectionError

    controller = make(nodes={"a", "b"})
    trial = start(controller)
    monkeypatch.setattr(controller.callback, "on_node_excluded", unreachable)
    with pytest.raises(ConnectionError):
        controller.on_result(trial.number, halt("a"))
    assert controller.trials[0].state == "running"


def test_hours_are_counted_over_interruptions_and_leave_trials_pending(make: Make) -> None:
    clock, budget = Clock(), {"trials": 8, "hours": 1.0}
    first = make(clock=clock, budget=budget)
    start(first)
    clock.now = 1800.0
    first.close()
    clock.now = 90_000.0  # a night off does not count
    again = make(clock=clock, budget=budget)
    assert again.should_stop() is None
    trial = start(again)
    clock.now += 1800.0
    assert again.should_stop() == "1 hours are over (budget.hours)"
    again.close()
    assert again.trials[trial.number - 1].state == "pending"


def test_images_are_counted_over_all_trials(make: Make) -> None:
    controller = make(max_concurrent_trials=2, budget={"trials": 8, "images": 750})
    start(controller), start(controller)
    controller.on_result(1, report_of(50, 0.6))
    assert controller.should_stop() is None
    controller.on_result(2, report_of(25, 0.6))
    assert controller.should_stop() == "750 training images are spent (budget.images)"


def test_without_pruning_every_trial_runs_to_its_end(make: Make) -> None:
    assert {trial.state for trial in run_all(make(pruning=None))} == {"finished"}


def test_reports_at_the_same_whole_percent_are_all_recorded(make: Make) -> None:
    controller = make(pruning=None)
    trial = start(controller)
    every = [report_of(step, 0.5 + step / 1000) | {"steps": 140, "percent": step / 1.4} for step in range(1, 141)]
    for each in every:
        assert controller.on_result(trial.number, each)
        assert (controller.trials[0].state == "finished") == (each["step"] == 140)
    assert [dict(each) for each in controller.trials[0].reports] == every
    assert [dict(each) for each in controller.store.trials()[0].reports] == every


def test_a_rung_between_two_whole_percents_is_compared_at_its_exact_place(make: Make) -> None:
    controller = make(
        max_concurrent_trials=2, pruning={"time_attr": "percent", "grace_period": 25, "reduction_factor": 1.5}
    )
    first, second = start(controller), start(controller)
    for step in (200, 300):
        assert controller.on_result(first.number, report_of(step, 0.9) | {"steps": 800, "percent": step / 8})
    assert controller.on_result(second.number, report_of(200, 0.9) | {"steps": 800, "percent": 25.0})
    assert not controller.on_result(second.number, report_of(300, 0.89) | {"steps": 800, "percent": 37.5})
