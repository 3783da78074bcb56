"""The only bridge between a run and Ray Tune."""

import math
import tempfile
from pathlib import Path
from typing import Any

from ray import tune

from chex import checkpoint
from chex.config import RunConfig, override, validated
from chex.errors import InputError
from chex.loop import Diverged, fit
from chex.metrics import METRIC
from chex.prepare import prepare, select


def train_trial(sample: dict[str, Any], base: dict[str, Any]) -> None:
    """Trains `base` with `sample` (dotted paths) laid over it; reports each report's row and checkpoint to Tune.

    A run that cannot give a result for a reason that a retry would meet again ends with an undefined METRIC and
    `failure` says why; any other exception is Tune's, which retries.
    """
    try:
        _fit_and_report(trial_config(base, sample))
    except (Diverged, InputError) as error:
        tune.report({METRIC: math.nan, "percent": 0, "failure": str(error)})


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
        for report in fit(config, data, folder):
            (folder / checkpoint.EARLIER).unlink(missing_ok=True)  # Tune keeps the one before
            tune.report(report.row(), checkpoint=tune.Checkpoint.from_directory(folder))
