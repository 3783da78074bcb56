"""Writes what users see of a search: the live table, TensorBoard, trials.csv and the files of the best trial."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from search.monitor.live_table import ProgressReporter
from search.monitor.tensorboard import SearchLogs
from search.storage.search_storage import SearchStorage
from search.trials.artifacts import append_error, delete_checkpoints, export_best, write_trials
from search.trials.layout import trial_folder
from search.trials.trial import TrialRecord, winner
from search.trials.trial_progress import Steps, save_steps

STATUS_SECONDS = 5.0
"""Seconds between two writes of the trials' progress for `chex-search status`."""


class ArtifactCallback:
    """A SearchCallback that updates displays, logs and files. Every method may be called twice for one event."""

    def __init__(
        self,
        folder: Path,
        base: dict[str, Any],
        display: ProgressReporter,
        logs: SearchLogs,
        storage: SearchStorage | None = None,
        data_uri: str | None = None,
    ):
        self.folder, self.base, self.display, self.logs = folder, base, display, logs
        self.storage, self.data_uri = storage, data_uri
        self.next_status = 0.0

    def on_trial_start(self, trial: TrialRecord) -> None:
        """Syncs the study, so that the storage has it before the trial writes there. Raises Unreachable."""
        if self.storage:
            self.storage.sync()

    def on_update(self, trials: Sequence[TrialRecord]) -> None:
        """Updates the table and trials.csv."""
        self.display.update(trials)
        write_trials(self.folder, trials)

    def on_step(self, steps: Steps) -> None:
        """Updates the progress bars, and at intervals the steps for `chex-search status`."""
        self.display.on_step(steps)
        if time.monotonic() >= self.next_status:
            self.next_status = time.monotonic() + STATUS_SECONDS
            save_steps(self.folder, steps)

    def on_report(self, trial: TrialRecord, trials: Sequence[TrialRecord]) -> None:
        """Logs the trial's last report and requests a sync. Raises LeaseLost."""
        self.logs.report(trial)
        if self.storage:
            self.storage.request_sync()

    def on_node_excluded(self, trial: TrialRecord, reason: str) -> None:
        """Records why a trial moves to another node, and checks that this machine can still write.

        Raises Unreachable, and OSError if the disk is full.
        """
        append_error(trial_folder(self.folder, trial.number), reason)
        self.display.print_line(
            f"trial {trial.number} moves to another node, and no other trial starts on this one: {reason}"
        )
        if self.storage:
            self.storage.sync()

    def on_trial_end(self, trial: TrialRecord, trials: Sequence[TrialRecord]) -> None:
        """Logs the trial's end, exports its weights if it is the best one, and deletes its checkpoints."""
        is_best = trial is winner(trials)
        if self.storage:
            folder = trial_folder(self.folder, trial.number).relative_to(self.folder)
            self.storage.download(str(folder), weights=is_best)
            self.storage.request_sync()
        self.logs.end(trial)
        if is_best:
            export_best(self.folder, trial, self.base, self.data_uri)
            self.logs.show_best(trial)
        delete_checkpoints(trial_folder(self.folder, trial.number))
