"""What a trial does in its own process: a run in the trial's folder, told to Ray Tune report by report."""

import math
from contextlib import closing
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from filelock import FileLock
from ray import tune

from chex import checkpoint
from chex.config import RunConfig, override, validated
from chex.errors import InputError
from chex.loop import Diverged, fit
from chex.memory import hold_to_share, memory_freed
from chex.metrics import METRIC
from chex.prepare import prepare, select
from search.ledger import COMPLETE_PERCENT
from search.room import out_of_room

FAILURE, HALT = "failure", "halt"
"""In place of figures a trial reports why it cannot give any, or why nothing on its machine can go on."""

LOCK = "running.lock"


def train_trial(trial: dict[str, Any], base: dict[str, Any], share: float) -> None:
    """Trains `base` with trial["knobs"] laid over it in trial["folder"]; goes on with what the folder holds.

    Reports each report's row to Tune, those from before an interruption first. A run that cannot give a result for a
    reason that a retry would meet again reports FAILURE, a full disk HALT; any other exception is left to Tune, which
    tries again. Keeps to its `share` of a GPU, and leaves nothing in memory to the next trial of its process.
    """
    with memory_freed():
        ending = _ending(trial, base, share)
    if ending:
        tune.report({METRIC: math.nan} | ending)


def trial_config(base: dict[str, Any], knobs: dict[str, Any]) -> RunConfig:
    """The run of one trial."""
    return validated(RunConfig, override(base, knobs), "trial")


def reported(folder: Path) -> list[dict[str, Any]]:
    """The rows of the reports that a run in `folder` goes on from; all of them where it is complete.

    A row of reports.csv whose state was not yet written is left out: the run makes that report again.
    """
    state = checkpoint.read_state(folder, torch.device("cpu"))
    if state:
        return list(state["rows"])
    path = folder / checkpoint.REPORTS
    rows = pd.read_csv(path).to_dict("records") if path.exists() else []
    if not rows or rows[-1]["percent"] < COMPLETE_PERCENT:
        return []
    return [{str(name): value for name, value in row.items()} for row in rows]


def _ending(trial: dict[str, Any], base: dict[str, Any], share: float) -> dict[str, str]:
    """Trains; what is to be told where that gives no result."""
    folder = Path(trial["folder"])
    try:
        hold_to_share(share)
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / LOCK):  # until a process that an earlier search left behind is gone
            _train(trial_config(base, trial["knobs"]), folder)
    except (Diverged, InputError) as error:
        return {FAILURE: str(error)}
    except OSError as error:
        if not (why := out_of_room(error)):
            raise
        return {HALT: f"{folder} cannot be written ({why}); make room there"}
    return {}


def _train(config: RunConfig, folder: Path) -> None:
    rows = reported(folder)
    for row in rows:
        tune.report(row)
    if rows and rows[-1]["percent"] >= COMPLETE_PERCENT:
        return  # its state may be tidied away by now, and it would begin anew
    data = prepare(config, select(config))
    with closing(fit(config, data, folder)) as reports:
        for report in reports:
            tune.report(report.row())
