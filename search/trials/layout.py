"""Names of the files in a search's folder."""

from pathlib import Path

STUDY = "optuna.db"
LOCKED_SECONDS = 60
"""How long a write to STUDY waits for another program that reads it, such as optuna-dashboard."""
CONFIRM_FOLDER, CONFIRM_TEXT, CONFIRMED = "confirm", "confirmation.txt", "confirmed.csv"
TRIALS, COLUMNS, BEST = "trials.csv", "trials.parquet", "best.yaml"
STRATEGIES = "strategies.csv"
ERRORS = "errors.txt"
"""In a trial's folder: the errors of its processes, in full."""


def trial_folder(folder: Path, number: int) -> Path:
    """Returns the folder of a trial of the search in `folder`."""
    return folder / "trials" / f"{number:03d}"


def trial_number(trial: Path) -> int:
    """Returns the number of the trial whose folder is `trial`."""
    return int(trial.name)


TUNE_FOLDER = "tune"
"""Ray Tune's experiment folder, for readers alone; never uploaded to a storage."""


def tune_name(number: int) -> str:
    """Returns the name of trial `number` in Ray Tune, and of its folder in TUNE_FOLDER: "trial_007".

    Tune appends a code to the folder's name for a trial that it starts again.
    """
    return f"trial_{number:03d}"


def number_of(tune_name: str) -> int:
    """Returns the number in a name that `tune_name` made."""
    return int(tune_name.removeprefix("trial_"))


EARLIER = "earlier.json"
"""The trials of another search from which the sampler learns."""
TABLES_FOLDER = "tables"
STEPS = "steps.json"
"""The progress of running trials; never uploaded to a storage."""
CONFIG = "search.yaml"
BASE, REPORT, PAGE, LOCK = "base.yaml", "report.txt", "report.html", "search.lock"
