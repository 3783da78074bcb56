"""What happens while Tune runs: rows to the display, logs, and files of ended trials."""

from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.experiment import Trial
from rich.console import Console

from chex.config import RunConfig, validated
from search.export import drop_weights, export_best, keep_tables, write_trials
from search.ledger import ENDED, TrialRow, best, ledger
from search.progress import display
from search.space import Space
from search.tensorboard import SearchLogs


class Watcher(tune.Callback):
    """Hears from Tune and shows, logs and files it; it remembers nothing that the trials do not hold.

    Tune pickles it with the experiment, so that what cannot be pickled is made in `setup`.
    """

    def __init__(self, folder: Path, base: dict[str, Any], space: Space, total: int):
        self.folder, self.base, self.space, self.total = folder, base, space, total

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in ("display", "logs")}

    def setup(self, **info: Any) -> None:
        self.display = display(self.total, Console(stderr=True))
        self.logs = SearchLogs(self.folder, self.space, validated(RunConfig, self.base, str(self.folder)))

    def on_experiment_end(self, trials: list[Trial], **info: Any) -> None:
        self._refresh(trials)
        self.display.close()
        self.logs.close()

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self._refresh(trials)

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        rows = ledger(trials, {trial.trial_id: result})
        self.display.update(rows)
        row = rows[trials.index(trial)]
        if "images_seen" in row.report:
            self.logs.report(row)

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self._end(trials, trial)

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self._end(trials, trial)

    def _refresh(self, trials: list[Trial]) -> list[TrialRow]:
        rows = ledger(trials)
        self.display.update(rows)
        write_trials(self.folder, rows)
        return rows

    def _end(self, trials: list[Trial], trial: Trial) -> None:
        rows = self._refresh(trials)
        row = rows[trials.index(trial)]
        if trial.checkpoint is None:
            self.logs.end(row)
            return
        saved = Path(trial.checkpoint.path)
        keep_tables(self.folder, row.number, saved)
        self.logs.end(row)
        if row is best([each for each in rows if each.state in ENDED]):
            export_best(self.folder, row, self.base, saved)
            self.logs.lead(row)
        drop_weights(saved.parent)
