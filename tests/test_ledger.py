import math
from dataclasses import dataclass, field
from typing import Any

import pytest

from chex.metrics import METRIC
from search.ledger import ledger


@dataclass
class FakeTrial:
    """What the ledger reads of Ray Tune's Trial."""

    trial_id: str
    status: str
    last_result: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=lambda: {"optimizer.lr": 1e-3})
    error: str | None = None

    def get_error(self) -> str | None:
        return self.error


def result(percent: int, value: float = 0.8, done: bool = False) -> dict[str, Any]:
    return {METRIC: value, "percent": percent, "done": done, "time_total_s": 3, "auroc/Edema": 0.7, "config": {"a": 1}}


@pytest.mark.parametrize(
    ("trial", "state"),
    [
        (FakeTrial("a", "PENDING"), "waiting"),
        (FakeTrial("a", "RUNNING", result(25)), "running"),
        (FakeTrial("a", "RUNNING", result(100, done=True)), "finished"),
        (FakeTrial("a", "TERMINATED", result(100, done=True)), "finished"),
        (FakeTrial("a", "TERMINATED", result(25, done=True)), "stopped"),
        (FakeTrial("a", "TERMINATED", result(25)), "waiting"),
        (FakeTrial("a", "TERMINATED", result(0, math.nan, done=True)), "failed"),
        (FakeTrial("a", "ERROR", result(50)), "failed"),
    ],
)
def test_the_state_of_a_trial_is_read_from_tunes(trial: Any, state: str) -> None:
    assert ledger([trial])[0].state == state


def test_a_row_has_the_figures_of_the_report_and_nothing_of_tunes() -> None:
    trial: Any = FakeTrial("a", "RUNNING", result(25))
    row = ledger([trial])[0]
    assert row.report == {METRIC: 0.8, "percent": 25, "auroc/Edema": 0.7}
    assert row.knobs == {"optimizer.lr": 1e-3}
    assert (row.number, row.percent, row.value) == (1, 25, 0.8)


def test_news_stand_before_what_tune_has_stored() -> None:
    trial: Any = FakeTrial("a", "RUNNING", result(25))
    assert ledger([trial], {"a": result(50, 0.9)})[0].value == 0.9


def test_the_last_line_of_an_error_is_kept_and_a_failed_trial_has_no_value() -> None:
    trial: Any = FakeTrial("a", "ERROR", result(50), error="Traceback\n  ...\nRuntimeError: out of memory\n")
    row = ledger([trial])[0]
    assert row.error == "RuntimeError: out of memory"
    assert math.isnan(row.value)
