"""The only bridge between a run and Ray Tune."""

import math
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

from ray import tune

from chex import checkpoint
from chex.config import RunConfig, override, validated
from chex.errors import InputError
from chex.loop import Diverged, fit
from chex.memory import hold_to_share, memory_freed
from chex.metrics import METRIC
from chex.prepare import prepare, select


def train_trial(sample: dict[str, Any], base: dict[str, Any], share: float) -> None:
    """Trains `base` with `sample` (dotted paths) laid over it; reports each report's row and checkpoint to Tune.

    Keeps to its `share` of a GPU (see `hold_to_share`), and leaves nothing in memory to the next trial of its process.

    A run that cannot give a result for a reason that a retry would meet again ends with an undefined METRIC and
    `failure` says why; any other exception is Tune's, which retries.
    """
    with memory_freed():
        failure = _failure(sample, base, share)
    if failure:
        tune.report({METRIC: math.nan, "percent": 0, "failure": failure})


def _failure(sample: dict[str, Any], base: dict[str, Any], share: float) -> str:
    """Trains; why the run gives no result, "" where it does."""
    try:
        hold_to_share(share)
        _fit_and_report(trial_config(base, sample))
    except (Diverged, InputError) as error:
        return str(error)
    return ""


def trial_config(base: dict[str, Any], sample: dict[str, Any]) -> RunConfig:
    """The run of one trial."""
    return validated(RunConfig, override(base, sample), "trial")


def _fit_and_report(config: RunConfig) -> None:
    data = prepare(config, select(config))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        last = tune.get_checkpoint()
        if last:
            last.to_directory(folder)
        with closing(fit(config, data, folder)) as reports:
            for report in reports:
                (folder / checkpoint.EARLIER).unlink(missing_ok=True)  # Tune keeps the one before
                tune.report(report.row(), checkpoint=tune.Checkpoint.from_directory(folder))
