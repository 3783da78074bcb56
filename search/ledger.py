"""What is known of each trial at a moment: one row a trial, read from Ray Tune's trials."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import pandas as pd
from ray.tune.experiment import Trial

from chex.loop import Report
from chex.metrics import METRIC

FIGURES = tuple(name for name in Report.__annotations__ if name != "observations")
State = Literal["waiting", "running", "finished", "stopped", "failed"]
"""`stopped`: ended by early stopping; `failed`: an error, a diverged loss or an undefined metric."""

ENDED = ("finished", "stopped", "failed")


@dataclass(frozen=True)
class TrialRow:
    """One trial."""

    number: int
    """From 1, in the order of proposal."""
    state: State
    knobs: dict[str, Any]
    """Dotted paths to sampled values."""
    report: dict[str, Any] = field(default_factory=dict)
    """The last report's figures; empty before the first."""
    error: str = ""

    @property
    def percent(self) -> int:
        """Of the trial's own schedule, 0 to 100."""
        return int(self.report.get("percent", 0))

    @property
    def value(self) -> float:
        """The METRIC so far; NaN before the first report and for a failed trial."""
        return math.nan if self.state == "failed" else float(self.report.get(METRIC, math.nan))


def ledger(trials: Sequence[Trial], news: Mapping[str, dict[str, Any]] | None = None) -> list[TrialRow]:
    """A row for each of Ray Tune's trials; `news` are results, by trial id, that Tune has not stored yet."""
    latest = news or {}
    return [
        _row(number, trial, latest.get(trial.trial_id, trial.last_result or {}))
        for number, trial in enumerate(trials, start=1)
    ]


def best(rows: Sequence[TrialRow]) -> TrialRow | None:
    """The trial with the highest value, the first of equals; None while no trial has one."""
    valued = [row for row in rows if not math.isnan(row.value)]
    return max(valued, key=lambda row: row.value) if valued else None


def table(rows: Sequence[TrialRow]) -> pd.DataFrame:
    """trials.csv: trial, state, knobs under their dotted paths, the last report's figures, error. Blank: unknown."""
    return pd.DataFrame(
        [{"trial": row.number, "state": row.state, **row.knobs, **row.report, "error": row.error} for row in rows]
    )


def _row(number: int, trial: Trial, result: dict[str, Any]) -> TrialRow:
    report = {name: value for name, value in result.items() if name.split("/")[0] in FIGURES}
    return TrialRow(number, _state(trial, result), dict(trial.config), report, result.get("failure") or _error(trial))


def _state(trial: Trial, result: dict[str, Any]) -> State:
    if trial.status == Trial.ERROR:
        return "failed"
    if result.get("done"):  # not the status: an interrupted search leaves unfinished trials TERMINATED too
        if not math.isfinite(result.get(METRIC, math.nan)):
            return "failed"
        return "finished" if result["percent"] >= 100 else "stopped"
    return "running" if trial.status == Trial.RUNNING else "waiting"


def _error(trial: Trial) -> str:
    error = trial.get_error() if trial.status == Trial.ERROR else None
    lines = str(error).strip().splitlines() if error else []
    return lines[-1] if lines else ""
