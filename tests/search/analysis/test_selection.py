import numpy as np

from chex.statistics.metrics import METRIC
from search.analysis.selection import best_report, candidates, choose
from search.trials.trial import State, TrialRecord


def test_a_trial_keeps_its_best_report_and_the_best_of_those_wins() -> None:
    choice = choose(np.array([[0.7, 0.9, 0.8, 0.6, 0.85], [0.9, 0.7, 0.8, 0.95, 0.6]]), np.array([2, 2, 2, 5, 5]))
    assert choice.trials.tolist() == [2, 5]
    assert choice.kept.tolist() == [[1, 4], [0, 3]]
    assert choice.winner.tolist() == [1, 3]


def test_of_equals_the_first_is_chosen() -> None:
    choice = choose(np.full((1, 4), 0.8), np.array([1, 1, 2, 2]))
    assert (choice.kept.tolist(), choice.winner.tolist()) == ([[0, 2]], [0])


def test_only_trials_that_ended_and_did_not_fail_are_chosen_from() -> None:
    states: tuple[State, ...] = ("finished", "pruned", "failed", "pending", "running")
    rows = [TrialRecord(number, state, {}, ({METRIC: 0.7},)) for number, state in enumerate(states, start=1)]
    assert candidates(rows, np.array([1, 1, 2, 3, 4, 5])).tolist() == [0, 1, 2]


def test_a_trial_keeps_the_first_of_its_best_reports_as_its_own_figures_have_it() -> None:
    reports = ({"auroc": 0.7, "images_seen": 8}, {"auroc": 0.8, "images_seen": 16}, {"auroc": 0.8, "images_seen": 24})
    trials, images = np.array([1, 1, 1, 2, 2, 2]), np.array([8, 16, 24] * 2)
    assert best_report(TrialRecord(2, "finished", {}, reports), trials, images) == 4
