import pytest

from chex.errors import InputError
from chex.statistics.metrics import METRIC
from search.config.budget import Budget, extend_budget, too_many_failures, why_no_more_trials, why_stop
from search.trials.trial import TrialRecord


def row(number: int, state: str, value: float = 0.5, images: int = 100) -> TrialRecord:
    error = "the loss is no number" if state == "failed" else ""
    return TrialRecord(number, state, {}, ({METRIC: value, "percent": 50, "images_seen": images},), error)  # type: ignore[arg-type]


def test_no_trial_starts_after_the_last_of_the_budget() -> None:
    rows = [row(1, "finished"), row(2, "running")]
    assert why_no_more_trials(Budget(trials=3), rows) is None
    assert why_no_more_trials(Budget(trials=2), rows) == "all 2 trials have been tried"


@pytest.mark.parametrize(
    ("values", "without"), [([0.8, 0.7, 0.7], 2), ([0.7, 0.8, 0.7], 1), ([0.7, 0.7, 0.7], 2), ([0.5, 0.6, 0.7], 0)]
)
def test_patience_ends_with_trials_that_bring_no_new_best(values: list[float], without: int) -> None:
    rows = [row(k, "finished", value) for k, value in enumerate(values, 1)]
    assert why_no_more_trials(Budget(trials=9, patience=without + 1), rows) is None
    if without:
        assert why_no_more_trials(Budget(trials=9, patience=without), rows) == (
            f"{without} trials in a row brought no new best (budget.patience)"
        )


def test_a_trial_under_way_is_not_one_without_gain() -> None:
    assert why_no_more_trials(Budget(trials=9, patience=1), [row(1, "finished", 0.8), row(2, "running", 0.1)]) is None


def test_images_and_hours_end_the_trials_under_way_too() -> None:
    rows = [row(1, "finished", images=600), row(2, "running", images=400)]
    assert why_stop(Budget(images=1001), rows, 0) is None
    assert why_stop(Budget(images=1000), rows, 0) == "1,000 training images are spent (budget.images)"
    assert why_stop(Budget(hours=0.5), rows, 1799) is None
    assert why_stop(Budget(hours=0.5), rows, 1800) == "0.5 hours are over (budget.hours)"


def test_failures_in_turn_give_the_search_up_with_the_last_reason() -> None:
    failed = [row(1, "finished"), *(row(k, "failed") for k in range(2, 5))]
    assert too_many_failures(Budget(max_consecutive_failures=4), failed) is None
    assert too_many_failures(Budget(max_consecutive_failures=3), failed) == (
        "3 trials in a row failed (budget.max_consecutive_failures), the last one (trial 4): the loss is no number"
    )
    assert too_many_failures(Budget(max_consecutive_failures=3), [*failed, row(5, "pruned")]) is None


def test_a_budget_is_extended_by_what_it_has() -> None:
    assert extend_budget(Budget(trials=12, hours=2), trials=8, images=None, hours=0.5) == Budget(trials=20, hours=2.5)


def test_an_extension_by_nothing_or_of_what_is_not_limited_is_refused() -> None:
    with pytest.raises(InputError, match="nothing to extend by; give --trials N, --images N or --hours H"):
        extend_budget(Budget(), None, None, None)
    told = "--hours: the search has no budget.hours that could be raised; leave --hours out"
    with pytest.raises(InputError, match=told):
        extend_budget(Budget(), None, None, 2.0)
