import math

from chex.statistics.metrics import METRIC
from search.trials.trial import TrialRecord, best, ended, ranked_trials, trials_table, winner


def row(number: int, state: str, *values: float) -> TrialRecord:
    reports = tuple({METRIC: value, "percent": 25 * k, "images_seen": 100 * k} for k, value in enumerate(values, 1))
    return TrialRecord(number, state, {"optimizer.lr": 1e-3 * number}, reports)  # type: ignore[arg-type]


def test_a_row_says_how_far_its_trial_is_by_its_last_report() -> None:
    reported = row(1, "running", 0.7, 0.8)
    assert (reported.percent, reported.images_seen, reported.value) == (50, 200, 0.8)
    nothing = row(2, "pending")
    assert (nothing.percent, nothing.images_seen) == (0, 0)
    assert math.isnan(nothing.value)


def test_a_failed_trial_has_no_value_and_is_never_the_best() -> None:
    rows = [row(1, "failed", 0.9), row(2, "pruned", 0.8), row(3, "finished", 0.8)]
    assert math.isnan(rows[0].value)
    assert best(rows) is rows[1]
    assert best(rows[:1]) is None


def test_a_trial_wins_that_finished_or_was_stopped_early_with_a_defined_value() -> None:
    rows = [
        row(1, "failed", 0.9),
        row(2, "running", 0.89),
        row(3, "pending", 0.88),
        row(4, "finished", math.inf),
        row(5, "pruned", 0.82),
        row(6, "finished", 0.82),
        row(7, "finished", -0.0),
        row(8, "finished", math.nan),
    ]
    assert [each.number for each in ranked_trials(rows)] == [5, 6, 7]
    assert winner(rows) is rows[4]
    assert winner(rows[:4]) is None


def test_trials_that_have_ended_are_finished_stopped_or_failed() -> None:
    states = ("pending", "running", "finished", "pruned", "failed")
    assert [each.state for each in ended([row(k, state) for k, state in enumerate(states)])] == list(states[2:])


def test_the_table_has_a_row_a_trial_with_knobs_and_the_last_figures() -> None:
    written = trials_table([row(1, "finished", 0.7, 0.8), row(2, "pending")])
    assert list(written["optimizer.lr"]) == [1e-3, 2e-3]
    assert written[METRIC].isna().tolist() == [False, True]
    assert written["percent"].iloc[0] == 50
