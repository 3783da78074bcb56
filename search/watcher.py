"""What people get to see of a search: the live table, TensorBoard, trials.csv and the best trial's files."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from search.export import drop_state, export_best, note_error, trial_folder, write_trials
from search.ledger import TrialRow, winner
from search.progress import Display
from search.steps import Steps, save
from search.stored import Stored
from search.tensorboard import SearchLogs

STATUS_SECONDS = 5.0
"""Between two writings of what `chex-search status` reads of the trials' steps."""


class Watcher:
    """Hears from the conductor and shows, logs and files; what it does of one event it may do twice."""

    def __init__(
        self,
        folder: Path,
        base: dict[str, Any],
        display: Display,
        logs: SearchLogs,
        stored: Stored | None = None,
        source: str | None = None,
    ):
        self.folder, self.base, self.display, self.logs = folder, base, display, logs
        self.stored, self.source = stored, source
        self.due = 0.0

    def began(self, row: TrialRow) -> None:
        """Sees to it that the storage, if there is one, knows of the trial before it can leave anything there."""
        if self.stored:
            self.stored.keep()

    def changed(self, rows: Sequence[TrialRow]) -> None:
        """Shows the table, and keeps trials.csv true."""
        self.display.update(rows)
        write_trials(self.folder, rows)

    def stepped(self, steps: Steps) -> None:
        """Moves the bars, here and, a little later, in `chex-search status`."""
        self.display.stepped(steps)
        if time.monotonic() >= self.due:
            self.due = time.monotonic() + STATUS_SECONDS
            save(self.folder, steps)

    def reported(self, row: TrialRow, rows: Sequence[TrialRow]) -> None:
        """Logs the report."""
        self.logs.report(row)
        if self.stored:
            self.stored.soon()

    def left_out(self, row: TrialRow, why: str) -> None:
        """Notes why a trial moves to another node, and finds out whether this machine can write where it has to.

        Raises Unreachable, and OSError for a full disk.
        """
        note_error(trial_folder(self.folder, row.number), why)
        self.display.say(f"trial {row.number} moves to another node, and none starts on this one: {why}")
        if self.stored:
            self.stored.keep()

    def ended(self, row: TrialRow, rows: Sequence[TrialRow]) -> None:
        """Files what is worth keeping of the trial and removes the rest."""
        leads = row is winner(rows)
        if self.stored:
            home = trial_folder(self.folder, row.number).relative_to(self.folder)
            self.stored.fetch(str(home), weights=leads)
            self.stored.soon()
        self.logs.end(row)
        if leads:
            export_best(self.folder, row, self.base, self.source)
            self.logs.lead(row)
        drop_state(trial_folder(self.folder, row.number))
