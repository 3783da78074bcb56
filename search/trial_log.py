"""What a search's folder knows of one trial, for whoever asks why it failed."""

from pathlib import Path

from chex.console import decimal
from chex.errors import InputError
from chex.metrics import METRIC
from search.export import ERRORS, trial_folder
from search.ledger import TrialRow
from search.study import load_begun, rows_of

LINES = 60
"""How much is shown of what the trial's processes died of."""


def trial_log(folder: Path, number: int) -> str:
    """State, knobs, reports and errors of a trial of the search in `folder`, the last errors in full.

    Raises InputError where there is no such search or trial.
    """
    rows = rows_of(load_begun(folder), folder)
    if not 1 <= number <= len(rows):
        there = f"it has trials 1 to {len(rows)}" if rows else "none has begun"
        raise InputError(f"{folder} has no trial {number}; {there}")
    row = rows[number - 1]
    path = trial_folder(folder, number) / ERRORS
    errors = path.read_text(encoding="utf-8").splitlines()[-LINES:] if path.exists() else []
    return "\n".join([*_told(row), *([f"{path}:"] if errors else []), *errors])


def _told(row: TrialRow) -> list[str]:
    lines = [f"trial {row.number}: {row.state}, {row.percent} % of its schedule, {row.images:,} images"]
    lines += [f"  {name}: {value}" for name, value in row.knobs.items()]
    lines += [
        f"  {int(report['percent'])} %: best validation AUROC so far {decimal(report[METRIC])}"
        for report in row.reports
    ]
    return lines + ([f"  error: {row.error}"] if row.error else [])
