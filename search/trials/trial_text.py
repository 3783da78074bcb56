"""Formats trials and parameter values for screens, logs and pages."""

from typing import Any

from chex.reporting.console import format_decimal
from search.trials.trial import TrialRecord


def short_name(path: str) -> str:
    """Returns a parameter's name for the head of a column: the path's last part, or `policy` for policy.default."""
    return "policy" if path == "policy.default" else path.rpartition(".")[2]


def format_value(value: Any) -> str:
    """Returns a parameter's value in few characters."""
    if isinstance(value, float):
        return f"{value:.1e}" if value and abs(value) < 0.01 else f"{value:.2f}"
    return str(value)


def format_ending(row: TrialRecord) -> str:
    """Returns how a trial ended, in words."""
    if row.state == "failed":
        return f"failed: {row.error or 'undefined metric'}"
    how = f"pruned at {row.percent} %" if row.state == "pruned" else "finished"
    return f"AUROC {format_decimal(row.value)}  {how}"


def format_duration(seconds: float) -> str:
    """Returns a duration as 12 s, 3:05 min or 2:07 h."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, left = divmod(whole, 60)
    return f"{minutes}:{left:02d} min" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02d} h"
