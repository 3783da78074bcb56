"""The classes that stand in Ray Tune in place of its own: searcher, scheduler, stopper and callback.

Each passes Tune's questions to the controller, which answers them from the study.
"""

from collections import deque
from collections.abc import Callable, Set
from pathlib import Path
from typing import Any, TypeVar

from ray import tune
from ray.tune.experiment import Trial
from ray.tune.logger import CSVLoggerCallback, JsonLoggerCallback, LoggerCallback
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher, SearchGenerator

from chex.statistics.metrics import METRIC, MODE
from search.engine.controller import SearchFinished, TrialController
from search.trials.artifacts import append_error
from search.trials.layout import trial_folder, tune_name
from search.trials.trial import ENDED, FAILURE, HALT, HOST, METRIC_COLUMNS, NODE, TrialRecord, ended

NODE_LABEL = "ray.io/node-id"
"""The label with the node's id that Ray gives every node."""

T = TypeVar("T")


class TuneBridge:
    """Passes Tune's questions to the controller. Keeps the controller's first error, which ends the search."""

    def __init__(self, controller: TrialController, folder: Path):
        self.controller, self.folder = controller, folder
        self.error: BaseException | None = None
        self.earlier = deque(ended(controller.trials))
        """Trials that ended in an earlier process and that Tune does not know yet."""
        self.records: dict[str, TrialRecord] = {}
        """The trial that Tune's trial of this id runs; Tune has another one for each restart."""

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return (object, ())  # Tune pickles its arguments, and nothing reads the pickle

    def running_folders(self) -> dict[int, Path]:
        """Returns the folder of each running trial."""
        trials = list(self.controller.trials)
        return {trial.number: trial_folder(self.folder, trial.number) for trial in trials if trial.state == "running"}

    def call(self, function: Callable[[], T], default: T) -> T:
        """Returns the result of `function`; returns `default` if it raises, or if an earlier call has raised."""
        if self.error:
            return default
        try:
            return function()
        except Exception as error:
            self.error = error
            return default


class StudySearcher(Searcher):
    """Suggests the parameters of the next trial: dotted paths, such as "optimizer.lr", to values.

    Trials that ended in an earlier process come first, so that Tune knows all trials of the search.
    """

    def __init__(self, bridge: TuneBridge):
        super().__init__(metric=METRIC, mode=MODE)
        self.bridge = bridge

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Returns the parameters; None while no trial may start; FINISHED at the end of the search."""
        return self.bridge.call(lambda: self._next(trial_id), Searcher.FINISHED)

    def _next(self, trial_id: str) -> dict[str, Any] | str | None:
        if self.bridge.earlier:
            trial: TrialRecord | None = self.bridge.earlier.popleft()
        else:
            try:
                trial = self.bridge.controller.suggest()
            except SearchFinished:
                return Searcher.FINISHED
        if trial is None:
            return None
        self.bridge.records[trial_id] = trial
        return trial.params

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Does nothing: the study has the result already."""

    def save(self, checkpoint_path: str) -> None:
        """Writes an empty file: a search resumes from its study."""
        Path(checkpoint_path).touch()

    def restore(self, checkpoint_path: str) -> None:
        """Raises NotImplementedError."""
        raise NotImplementedError("a search resumes from its study; use `chex-search resume`")


class TrialGenerator(SearchGenerator):
    """A search generator that is finished while no trial is left to start; it may become unfinished again.

    While it is unfinished, Tune keeps the process of an ended trial for the next trial. On a cluster that process would
    keep its node, a paid machine, alive while the last trials run on other nodes.
    """

    def __init__(self, bridge: TuneBridge, loggers: tuple[LoggerCallback, ...]):
        """`loggers` write the reports of trials that ended in an earlier process."""
        super().__init__(StudySearcher(bridge))
        self.bridge, self.loggers = bridge, loggers

    def is_finished(self) -> bool:
        """Returns whether Tune knows all earlier trials and no trial is left to start."""
        exhausted = self.bridge.call(self.bridge.controller.is_exhausted, True)
        return bool(super().is_finished() or (exhausted and not self.bridge.earlier))

    def create_trial_if_possible(self, experiment_spec: dict[str, Any]) -> Trial | None:
        """Returns Tune's trial for the searcher's next suggestion, which is over already if it is an earlier one."""
        trial = super().create_trial_if_possible(experiment_spec)
        if trial:
            record = self.bridge.records[trial.trial_id]
            trial.custom_trial_name = trial.custom_dirname = tune_name(record.number)
            if record.state in ENDED:
                self._replay(trial, record)
        return trial

    def _replay(self, trial: Trial, record: TrialRecord) -> None:
        failure = [{METRIC: float("nan"), FAILURE: record.error}] if record.state == "failed" else []
        trial.init_local_path()
        for logger in self.loggers:
            logger.log_trial_start(trial)
        for iteration, report in enumerate((*record.reports, *failure), 1):
            result = {**report, "training_iteration": iteration, "trial_id": trial.trial_id, "config": record.params}
            trial.update_last_result(result)
            for logger in self.loggers:
                logger.log_trial_result(iteration, trial, result)
        for logger in self.loggers:
            logger.log_trial_end(trial)
        trial.set_status(Trial.TERMINATED)


class HistoryScheduler(FIFOScheduler):
    """A trial scheduler that stops a trial where the controller prunes it, and starts trials in their order."""

    def __init__(self, bridge: TuneBridge, resources: dict[str, float]):
        super().__init__()
        self.bridge, self.resources = bridge, resources

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        """Lets the trial run on no node that the controller has excluded."""
        if excluded := self.bridge.controller.excluded_nodes:
            trial.update_resources(request_on_other_nodes(self.resources, excluded))

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Passes the report to the controller and returns its decision."""
        number = self.bridge.records[trial.trial_id].number
        continues = self.bridge.call(lambda: self.bridge.controller.on_result(number, _reported(result)), False)
        return TrialScheduler.CONTINUE if continues or result.get("done") else TrialScheduler.STOP


def request_on_other_nodes(resources: dict[str, float], excluded: Set[str]) -> tune.PlacementGroupFactory:
    """Returns the request for `resources` on a node whose id is not in `excluded`.

    Tune reuses a process only for an equal request, so it does not reuse one on an excluded node.
    """
    bundle = {kind.upper(): count for kind, count in resources.items()}
    selector = {NODE_LABEL: f"!in({','.join(sorted(excluded))})"}
    return tune.PlacementGroupFactory([bundle], bundle_label_selector=[selector])


def _reported(result: dict[str, Any]) -> dict[str, Any]:
    """Returns what the trial reported, without the columns that Tune adds."""
    return {
        name: value
        for name, value in result.items()
        if name.split("/")[0] in (*METRIC_COLUMNS, FAILURE, HALT, NODE, HOST)
    }


class ErrorCallback(tune.Callback):
    """Tells the controller that a trial's process has died, and writes its traceback into the trial's folder."""

    def __init__(self, bridge: TuneBridge):
        self.bridge = bridge

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Records the error; the controller restarts the trial."""
        # not trial.get_error(): it reads the file from a place to which Tune has not copied it yet
        text = Path(trial.error_file).read_text(encoding="utf-8")
        self.bridge.call(lambda: self._record_error(self.bridge.records[trial.trial_id].number, text), None)

    def _record_error(self, number: int, text: str) -> None:
        append_error(trial_folder(self.bridge.folder, number), text)
        self.bridge.controller.on_error(number, text.strip().splitlines()[-1])


class BudgetStopper(tune.Stopper):
    """Stops the whole search where its budget is spent, too many trials have failed, or the controller has failed."""

    def __init__(self, bridge: TuneBridge):
        self.bridge = bridge

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Returns False: no trial is stopped alone."""
        return False

    def stop_all(self) -> bool:
        """Returns whether all trials must stop now."""
        if self.bridge.error:
            return True
        return not self.bridge.earlier and bool(self.bridge.call(self.bridge.controller.should_stop, None))


def result_loggers() -> tuple[LoggerCallback, ...]:
    """Returns the loggers that write each trial's reports where `ray.tune.ExperimentAnalysis` reads them."""
    return JsonLoggerCallback(), CSVLoggerCallback()
