"""Defines the records of trials, and decides which trial is the best."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from chex.statistics.metrics import METRIC
from chex.training.report import Report

if TYPE_CHECKING:
    import pandas as pd

METRIC_COLUMNS = tuple(name for name in Report.__annotations__ if name != "observations")
State = Literal["pending", "running", "finished", "pruned", "failed"]
"""`pending`: has started and is not running now; `pruned`: ended by pruning; `failed`: ended by an error, a diverged
loss or an undefined metric."""

ENDED = ("finished", "pruned", "failed")


@dataclass(frozen=True)
class TrialRecord:
    """A trial: its parameters, and its reports so far."""

    number: int
    """From 1, in the order of proposal."""
    state: State
    params: dict[str, Any]
    """Dotted paths to sampled values."""
    reports: tuple[Mapping[str, Any], ...] = ()
    """The figures of each report so far."""
    error: str = ""

    @property
    def report(self) -> Mapping[str, Any]:
        """The figures of the last report; empty before the first."""
        return self.reports[-1] if self.reports else {}

    @property
    def step(self) -> int:
        """Steps done at the last report; 0 before the first."""
        return int(self.report.get("step", 0))

    @property
    def percent(self) -> int:
        """Percent of the trial's own schedule that is done, rounded down, 0 to 100."""
        return int(self.report.get("percent", 0))

    @property
    def images_seen(self) -> int:
        """Training images seen so far."""
        return int(self.report.get("images_seen", 0))

    @property
    def value(self) -> float:
        """METRIC at the last report; NaN before the first one and for a failed trial."""
        return math.nan if self.state == "failed" else float(self.report.get(METRIC, math.nan))


def is_complete(report: Mapping[str, Any]) -> bool:
    """Returns whether a report is the last of its run; False for an empty one."""
    return bool(report) and report["step"] == report["steps"]


def ended(rows: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Returns the trials that are finished, pruned or failed."""
    return [row for row in rows if row.state in ENDED]


def may_win(state: str, value: float) -> bool:
    """Returns whether a trial in this state, with this METRIC at its last report, may be chosen as the winner.

    Finished and pruned trials may: the weights of their best report exist. A failed trial has no reliable weights, and
    a trial that has not ended may still fail.
    """
    return state in ("finished", "pruned") and math.isfinite(value)


def ranked_trials(rows: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Returns the trials that may win, in the order given."""
    return [row for row in rows if may_win(row.state, row.value)]


def best(rows: Sequence[TrialRecord]) -> TrialRecord | None:
    """Returns the trial with the highest value, the first of equals; None while no trial has a value."""
    valued = [row for row in rows if math.isfinite(row.value)]
    return max(valued, key=lambda row: row.value) if valued else None


def winner(rows: Sequence[TrialRecord]) -> TrialRecord | None:
    """Returns the best of the trials that may win; None while there is none."""
    return best(ranked_trials(rows))


def trials_table(rows: Sequence[TrialRecord]) -> "pd.DataFrame":
    """Returns trials.csv: trial, state, parameters by dotted path, the last report's figures, error. Blank: unknown."""
    import pandas as pd

    return pd.DataFrame(
        [{"trial": row.number, "state": row.state, **row.params, **row.report, "error": row.error} for row in rows]
    )


FAILURE, HALT = "failure", "halt"
"""Keys that a trial reports in place of figures: why it failed, or why its machine can run no trial."""
NODE, HOST = "node", "host"
"""Keys beside HALT: the machine's node ID in Ray and its name; blank without Ray."""
