"""Runs a search's trials in Ray Tune, whose experiment folder it keeps."""

import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ray import tune

from chex.runtime.signals import interrupts_are_ignored
from chex.statistics.metrics import METRIC, MODE
from search.config.resources import TrialSlots
from search.engine.controller import TrialController
from search.engine.step_reports import follow_steps
from search.engine.trainable import train_trial
from search.engine.tune_plugins import (
    BudgetStopper,
    ErrorCallback,
    HistoryScheduler,
    TrialGenerator,
    TuneBridge,
    result_loggers,
)
from search.ray_nodes.ray_session import changed_environment
from search.storage.lease import Lease
from search.storage.workspace import head_digests
from search.trials.layout import TUNE_FOLDER

UNLIMITED_TRIALS = -1


def run_trials(
    controller: TrialController,
    folder: Path,
    base: dict[str, Any],
    slots: TrialSlots,
    lease: Lease | None,
    images_uri: str | None,
) -> None:
    """Runs trials until none is left, the search must stop, or the user sends Ctrl-C or SIGTERM.

    Tune's experiment folder is TUNE_FOLDER in `folder`, and has all trials of the search, also those of earlier
    processes. It is written for readers alone: a search resumes from its study. Needs a running Ray. Raises the errors
    of the controller.
    """
    bridge, loggers = TuneBridge(controller, folder), result_loggers()
    resources = {"cpu": slots.cpus_per_trial, "gpu": slots.gpus_per_trial}
    shutil.rmtree(folder / TUNE_FOLDER, ignore_errors=True)
    tuner = tune.Tuner(
        tune.with_resources(
            tune.with_parameters(
                train_trial,
                search_folder=str(folder),
                base=base,
                share=slots.gpus_per_trial,
                lease=lease,
                data_uri=controller.search.data_uri,
                images_uri=images_uri,
                digests=head_digests(base, folder, controller.search.data_uri),
            ),
            resources,
        ),
        tune_config=tune.TuneConfig(
            metric=METRIC,
            mode=MODE,
            num_samples=UNLIMITED_TRIALS,
            search_alg=TrialGenerator(bridge, loggers),
            scheduler=HistoryScheduler(bridge, resources),
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name=TUNE_FOLDER,
            storage_path=str(folder),
            verbose=0,
            stop=BudgetStopper(bridge),
            callbacks=[ErrorCallback(bridge), *loggers],
            failure_config=tune.FailureConfig(max_failures=0),  # the controller retries; Tune does not if one dies idle
        ),
    )
    with _tune_settings(slots), follow_steps(folder, bridge.running_folders, controller.callback.on_step):
        tuner.fit()
    if bridge.error:
        raise bridge.error


@contextmanager
def _tune_settings(slots: TrialSlots) -> Iterator[None]:
    """Lets trials start at the same time, and silences Tune: the controller reports to the user."""
    logger = logging.getLogger("ray.tune")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    variables = {
        "TUNE_MAX_PENDING_TRIALS_PG": str(slots.max_concurrent_trials),
        "TUNE_DISABLE_SIGINT_HANDLER": str(int(interrupts_are_ignored())),
    }
    try:
        with changed_environment(variables):
            yield
    finally:
        logger.setLevel(level)
