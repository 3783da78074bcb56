"""Connects Ray Tune, which runs the trials, to the controller, which decides what to start, prune and end."""

import logging
import shutil
from collections.abc import Callable, Iterator, Set
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from ray import tune
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher, SearchGenerator

from chex.runtime.signals import interrupts_are_ignored
from chex.statistics.metrics import METRIC, MODE
from search.config.resources import TrialSlots
from search.engine.controller import SearchFinished, TrialController
from search.engine.step_reports import follow_steps
from search.engine.trainable import train_trial
from search.ray_nodes.ray_session import changed_environment
from search.storage.lease import Lease
from search.storage.workspace import head_digests
from search.trials.artifacts import append_error
from search.trials.layout import trial_folder
from search.trials.trial import FAILURE, HALT, HOST, METRIC_COLUMNS, NODE

UNLIMITED_TRIALS = -1
NODE_LABEL = "ray.io/node-id"
"""The label with the node's id that Ray gives every node."""

T = TypeVar("T")


def run_trials(
    controller: TrialController,
    folder: Path,
    base: dict[str, Any],
    slots: TrialSlots,
    lease: Lease | None,
    images_uri: str | None,
) -> None:
    """Runs trials until none is left, the search must stop, or the user sends Ctrl-C or SIGTERM.

    Needs a running Ray. Raises the errors of the controller.
    """
    bridge = TuneBridge(controller, folder)
    resources = {"cpu": slots.cpus_per_trial, "gpu": slots.gpus_per_trial}
    scratch = folder / "tune"
    shutil.rmtree(scratch, ignore_errors=True)
    tuner = tune.Tuner(
        tune.with_resources(
            tune.with_parameters(
                train_trial,
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
            num_samples=UNLIMITED_TRIALS,
            search_alg=TrialGenerator(bridge),
            scheduler=HistoryScheduler(bridge, resources),
            reuse_actors=True,
            trial_dirname_creator=lambda trial: f"trial_{trial.trial_id}",
        ),
        run_config=tune.RunConfig(
            name=scratch.name,
            storage_path=str(folder),
            verbose=0,
            stop=BudgetStopper(bridge),
            callbacks=[ErrorCallback(bridge)],
            failure_config=tune.FailureConfig(max_failures=0),  # the controller retries; Tune does not if one dies idle
        ),
    )
    with _tune_settings(slots), follow_steps(folder, bridge.running_folders, controller.callback.on_step):
        tuner.fit()
    shutil.rmtree(scratch, ignore_errors=True)
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


class TuneBridge:
    """Passes Tune's questions to the controller. Keeps the controller's first error, which ends the search."""

    def __init__(self, controller: TrialController, folder: Path):
        self.controller, self.folder = controller, folder
        self.error: BaseException | None = None

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
    def __init__(self, bridge: TuneBridge):
        super().__init__(metric=METRIC, mode=MODE)
        self.bridge = bridge

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        return self.bridge.call(self._next, Searcher.FINISHED)

    def _next(self) -> dict[str, Any] | str | None:
        try:
            trial = self.bridge.controller.suggest()
        except SearchFinished:
            return Searcher.FINISHED
        if trial is None:
            return None
        folder = str(trial_folder(self.bridge.folder, trial.number))
        return {"number": trial.number, "params": trial.params, "folder": folder}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        pass

    def save(self, checkpoint_path: str) -> None:
        Path(checkpoint_path).touch()

    def restore(self, checkpoint_path: str) -> None:
        raise NotImplementedError("a search resumes from its study")


class TrialGenerator(SearchGenerator):
    """A search generator that is finished while no trial is left to start; it may become unfinished again.

    While it is unfinished, Tune keeps the process of an ended trial for the next trial. On a cluster that process would
    keep its node, a paid machine, alive while the last trials run on other nodes.
    """

    def __init__(self, bridge: TuneBridge):
        super().__init__(StudySearcher(bridge))
        self.bridge = bridge

    def is_finished(self) -> bool:
        return bool(super().is_finished() or self.bridge.call(self.bridge.controller.is_exhausted, True))


class HistoryScheduler(FIFOScheduler):
    def __init__(self, bridge: TuneBridge, resources: dict[str, float]):
        super().__init__()
        self.bridge, self.resources = bridge, resources

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        if excluded := self.bridge.controller.excluded_nodes:
            trial.update_resources(request_on_other_nodes(self.resources, excluded))

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        number = trial.config["number"]
        continues = self.bridge.call(lambda: self.bridge.controller.on_result(number, _reported(result)), False)
        return FIFOScheduler.CONTINUE if continues or result.get("done") else FIFOScheduler.STOP


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
    def __init__(self, bridge: TuneBridge):
        self.bridge = bridge

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        # not trial.get_error(): it reads the file from a place to which Tune has not copied it yet
        text = Path(trial.error_file).read_text(encoding="utf-8")
        self.bridge.call(lambda: self._record_error(trial.config["number"], text), None)

    def _record_error(self, number: int, text: str) -> None:
        append_error(trial_folder(self.bridge.folder, number), text)
        self.bridge.controller.on_error(number, text.strip().splitlines()[-1])


class BudgetStopper(tune.Stopper):
    def __init__(self, bridge: TuneBridge):
        self.bridge = bridge

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return bool(self.bridge.error or self.bridge.call(self.bridge.controller.should_stop, None))
