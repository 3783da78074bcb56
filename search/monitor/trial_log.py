"""Implements `chex-search logs`: what a search's folder records about one trial, such as why it failed."""

from pathlib import Path

from chex.errors import InputError
from chex.reporting.console import format_decimal
from chex.statistics.metrics import METRIC
from search.config.search_folder import load_search_folder, load_trials
from search.trials.layout import ERRORS, trial_folder
from search.trials.trial import TrialRecord

MAX_ERROR_LINES = 60
"""The maximum number of lines shown from the end of the trial's errors."""


def trial_log(folder: Path, number: int) -> str:
    """Returns state, parameters, reports and the last error lines of a trial of the search in `folder`.

    Raises InputError if there is no such search or trial.
    """
    rows = load_trials(load_search_folder(folder), folder)
    if not 1 <= number <= len(rows):
        existing = f"it has trials 1 to {len(rows)}" if rows else "none has started"
        raise InputError(f"{folder} has no trial {number}; {existing}")
    row = rows[number - 1]
    path = trial_folder(folder, number) / ERRORS
    errors = path.read_text(encoding="utf-8").splitlines()[-MAX_ERROR_LINES:] if path.exists() else []
    return "\n".join([*_describe(row), *([f"{path}:"] if errors else []), *errors])


def _describe(row: TrialRecord) -> list[str]:
    lines = [f"trial {row.number}: {row.state}, {row.percent} % of its schedule, {row.images_seen:,} images"]
    lines += [f"  {name}: {value}" for name, value in row.params.items()]
    lines += [
        f"  {int(report['percent'])} %: best validation AUROC so far {format_decimal(report[METRIC])}"
        for report in row.reports
    ]
    return lines + ([f"  error: {row.error}"] if row.error else [])
