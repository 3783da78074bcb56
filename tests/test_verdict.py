import math
from pathlib import Path

import numpy as np
import pytest

from chex import checkpoint
from chex.metrics import METRIC
from search.ledger import State, TrialRow, best, table
from search.verdict import Among, best_by, judge


def row(number: int, value: float, state: State = "finished", policy: str = "zeros", percent: int = 100) -> TrialRow:
    return TrialRow(number, state, {"policy.default": policy}, ({METRIC: value, "auroc": value, "percent": percent},))


ROWS = [
    row(1, 0.80),
    row(2, 0.86, policy="ones"),
    row(3, 0.85, policy="ones"),
    row(4, 0.99, state="failed"),
    row(5, 0.60, state="stopped", percent=25),
    row(6, math.nan, state="failed", policy="ignore"),
]


@pytest.fixture
def predictions(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    truth = (np.arange(200) % 3 == 0).astype(float)[:, None]
    patients = np.array([f"patient{index // 2}" for index in range(200)])
    probability = 0.25 * truth + 0.7 * rng.random((200, 1))
    checkpoint.save_predictions(tmp_path, patients, patients, ("Edema",), truth, probability)
    return tmp_path / checkpoint.PREDICTIONS


def test_the_best_trial_is_the_highest_and_never_a_failed_one() -> None:
    winner = best(ROWS)
    assert winner is not None
    assert winner.number == 2
    assert best([ROWS[3], ROWS[5]]) is None
    assert best([]) is None


def test_of_equal_trials_the_first_is_the_best() -> None:
    winner = best([row(1, 0.8), row(2, 0.8)])
    assert winner is not None
    assert winner.number == 1


def test_the_table_has_a_row_a_trial_and_a_column_a_knob() -> None:
    frame = table(ROWS)
    assert list(frame["trial"]) == [1, 2, 3, 4, 5, 6]
    assert {"state", "policy.default", METRIC, "percent", "error"} <= set(frame.columns)


def test_the_verdict_counts_what_it_cannot_tell_from_the_best(predictions: Path) -> None:
    verdict = judge(ROWS, predictions, ("Edema",), seed=0)
    assert verdict is not None
    assert (verdict.trial, verdict.auroc, verdict.trials, verdict.stopped, verdict.failed) == (2, 0.86, 6, 1, 2)
    assert (verdict.units, verdict.patients) == (200, 100)
    assert verdict.low < verdict.high
    assert verdict.within == sum(value >= verdict.low for value in (0.80, 0.85))


def test_a_search_in_which_all_failed_has_no_verdict(predictions: Path) -> None:
    assert judge([ROWS[5]], predictions, ("Edema",), seed=0) is None


def test_policies_are_compared_by_their_best_finished_trial() -> None:
    found = best_by(ROWS, "policy.default")
    assert found["ones"] == Among(0.86, finished=2, trials=2)
    assert found["zeros"] == Among(0.80, finished=1, trials=3)
    assert math.isnan(found["ignore"].best)
