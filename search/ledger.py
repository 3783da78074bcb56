"""What is known of each trial at a moment: one row a trial."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

from chex.loop import Report
from chex.metrics import METRIC

FIGURES = tuple(name for name in Report.__annotations__ if name != "observations")
State = Literal["waiting", "running", "finished", "stopped", "failed"]
"""`waiting`: begun, and not under way now; `stopped`: ended by early stopping; `failed`: an error, a diverged loss or
an undefined metric."""

ENDED = ("finished", "stopped", "failed")


@dataclass(frozen=True)
class TrialRow:
    """One trial."""

    number: int
    """From 1, in the order of proposal."""
    state: State
    knobs: dict[str, Any]
    """Dotted paths to sampled values."""
    reports: tuple[Mapping[str, Any], ...] = ()
    """The figures of each report so far."""
    error: str = ""

    @property
    def report(self) -> Mapping[str, Any]:
        """The last report's figures; empty before the first."""
        return self.reports[-1] if self.reports else {}

    @property
    def step(self) -> int:
        """Steps that are done at the last report; 0 before the first."""
        return int(self.report.get("step", 0))

    @property
    def percent(self) -> int:
        """Of the trial's own schedule, whole and rounded down, 0 to 100."""
        return int(self.report.get("percent", 0))

    @property
    def images(self) -> int:
        """Training images seen so far."""
        return int(self.report.get("images_seen", 0))

    @property
    def value(self) -> float:
        """The METRIC so far; NaN before the first report and for a failed trial."""
        return math.nan if self.state == "failed" else float(self.report.get(METRIC, math.nan))


def complete(report: Mapping[str, Any]) -> bool:
    """Whether a report is the last that its run makes; False for the empty one before the first."""
    return bool(report) and report["step"] == report["steps"]


def ended(rows: Sequence[TrialRow]) -> list[TrialRow]:
    """The trials that are finished, stopped or failed."""
    return [row for row in rows if row.state in ENDED]


def may_win(state: str, value: float) -> bool:
    """Whether a trial in this state, with this METRIC at its last report, is one of those that the winner is chosen of.

    It has finished or early stopping ended it, which it did not have to survive: the weights of its best report are
    there. One that failed has none to rely on, whatever it had reached, and one that has not ended may still fail.
    """
    return state in ("finished", "stopped") and math.isfinite(value)


def contenders(rows: Sequence[TrialRow]) -> list[TrialRow]:
    """The trials that may win."""
    return [row for row in rows if may_win(row.state, row.value)]


def best(rows: Sequence[TrialRow]) -> TrialRow | None:
    """The trial with the highest value, the first of equals; None while no trial has one."""
    valued = [row for row in rows if math.isfinite(row.value)]
    return max(valued, key=lambda row: row.value) if valued else None


def winner(rows: Sequence[TrialRow]) -> TrialRow | None:
    """The best of the trials that may win; None while there is none."""
    return best(contenders(rows))


@dataclass(frozen=True)
class Among:
    """The trials that share a value of one knob."""

    best: float
    """The highest METRIC of those that finished; NaN where none did."""
    finished: int
    trials: int


def best_by(rows: Sequence[TrialRow], path: str) -> dict[str, Among]:
    """What the trials of each value of the knob `path` reached. A stopped trial counts, its early AUROC does not."""
    found: dict[str, list[TrialRow]] = {}
    for row in rows:
        if path in row.knobs:
            found.setdefault(str(row.knobs[path]), []).append(row)
    return {value: _among(those) for value, those in sorted(found.items())}


def _among(rows: Sequence[TrialRow]) -> Among:
    values = [row.value for row in rows if row.state == "finished"]
    return Among(max(values, default=math.nan), len(values), len(rows))


def table(rows: Sequence[TrialRow]) -> pd.DataFrame:
    """trials.csv: trial, state, knobs under their dotted paths, the last report's figures, error. Blank: unknown."""
    return pd.DataFrame(
        [{"trial": row.number, "state": row.state, **row.knobs, **row.report, "error": row.error} for row in rows]
    )
