"""Ray Tune runs the trials and asks the conductor: what to start, whether to go on, whether all is over."""

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

from chex.interrupt import interrupts_are_ignored
from chex.metrics import METRIC, MODE
from search.conductor import Conductor, Over
from search.export import note_error, trial_folder
from search.home import contents_of
from search.lease import Lease
from search.ledger import FIGURES
from search.ray_session import environment
from search.resources import Allotment
from search.steps import following
from search.trainable import FAILURE, HALT, HOST, NODE, train_trial

UNLIMITED = -1
NODE_LABEL = "ray.io/node-id"
"""Ray gives it to every node."""

T = TypeVar("T")


def run_trials(
    conductor: Conductor,
    folder: Path,
    base: dict[str, Any],
    allotment: Allotment,
    stored: Lease | None,
    images: str | None,
) -> None:
    """Runs until the conductor says that no trial is left or that all is over; returns also after Ctrl-C or SIGTERM.

    Needs a running Ray. What the conductor raised is raised here.
    """
    desk = _Desk(conductor, folder)
    room = {"cpu": allotment.cpus_per_trial, "gpu": allotment.gpus_per_trial}
    scratch = folder / "tune"
    shutil.rmtree(scratch, ignore_errors=True)
    tuner = tune.Tuner(
        tune.with_resources(
            tune.with_parameters(
                train_trial,
                base=base,
                share=allotment.gpus_per_trial,
                stored=stored,
                source=conductor.search.source,
                images=images,
                contents=contents_of(base, folder, conductor.search.source),
            ),
            room,
        ),
        tune_config=tune.TuneConfig(
            num_samples=UNLIMITED,
            search_alg=_Queue(desk),
            scheduler=_Decisions(desk, room),
            reuse_actors=True,
            trial_dirname_creator=lambda trial: f"trial_{trial.trial_id}",
        ),
        run_config=tune.RunConfig(
            name=scratch.name,
            storage_path=str(folder),
            verbose=0,
            stop=_End(desk),
            callbacks=[_Ends(desk)],
            failure_config=tune.FailureConfig(max_failures=0),  # Tune itself would not retry one that dies idle
        ),
    )
    with _settings(allotment), following(folder, desk.under_way, conductor.listener.stepped):
        tuner.fit()
    shutil.rmtree(scratch, ignore_errors=True)
    if desk.broken:
        raise desk.broken


@contextmanager
def _settings(allotment: Allotment) -> Iterator[None]:
    """Trials do not start one after the other, and what concerns the user is told by the conductor alone."""
    logger = logging.getLogger("ray.tune")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    own = {
        "TUNE_MAX_PENDING_TRIALS_PG": str(allotment.at_once),
        "TUNE_DISABLE_SIGINT_HANDLER": str(int(interrupts_are_ignored())),
    }
    try:
        with environment(own):
            yield
    finally:
        logger.setLevel(level)


class _Desk:
    """Where Tune's questions arrive. What goes wrong here ends the search: Tune would swallow some of it."""

    def __init__(self, conductor: Conductor, folder: Path):
        self.conductor, self.folder = conductor, folder
        self.broken: BaseException | None = None

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return (object, ())  # Tune pickles what it is given; nobody opens that

    def under_way(self) -> dict[int, Path]:
        """The folder of each trial that runs."""
        rows = list(self.conductor.rows)
        return {row.number: trial_folder(self.folder, row.number) for row in rows if row.state == "running"}

    def ask(self, question: Callable[[], T], otherwise: T) -> T:
        if self.broken:
            return otherwise
        try:
            return question()
        except Exception as error:
            self.broken = error
            return otherwise


class _Proposals(Searcher):
    def __init__(self, desk: _Desk):
        super().__init__(metric=METRIC, mode=MODE)
        self.desk = desk

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        return self.desk.ask(self._next, Searcher.FINISHED)

    def _next(self) -> dict[str, Any] | str | None:
        try:
            row = self.desk.conductor.next_trial()
        except Over:
            return Searcher.FINISHED
        if row is None:
            return None
        folder = str(trial_folder(self.desk.folder, row.number))
        return {"number": row.number, "knobs": row.knobs, "folder": folder}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        pass

    def save(self, checkpoint_path: str) -> None:
        Path(checkpoint_path).touch()

    def restore(self, checkpoint_path: str) -> None:
        raise NotImplementedError("a search goes on from its book")


class _Queue(SearchGenerator):
    """Is finished whenever nothing is left to start, and no longer where that changes.

    Tune keeps the process of an ended trial for the next one until then: on a cluster it would hold its node, and with
    it a machine that is paid for, while the last trials elsewhere are under way.
    """

    def __init__(self, desk: _Desk):
        super().__init__(_Proposals(desk))
        self.desk = desk

    def is_finished(self) -> bool:
        return bool(super().is_finished() or self.desk.ask(self.desk.conductor.starts_none, True))


class _Decisions(FIFOScheduler):
    def __init__(self, desk: _Desk, room: dict[str, float]):
        super().__init__()
        self.desk, self.room = desk, room

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        if left_out := self.desk.conductor.left_out:
            trial.update_resources(elsewhere(self.room, left_out))

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        number = trial.config["number"]
        goes_on = self.desk.ask(lambda: self.desk.conductor.heard(number, _figures(result)), False)
        return FIFOScheduler.CONTINUE if goes_on or result.get("done") else FIFOScheduler.STOP


def elsewhere(room: dict[str, float], left_out: Set[str]) -> tune.PlacementGroupFactory:
    """Returns the request for `room` on a node that is not among the ids `left_out`.

    A process that Tune keeps on one of those is not used again, since what it was asked for is another request.
    """
    bundle = {kind.upper(): count for kind, count in room.items()}
    others = {NODE_LABEL: f"!in({','.join(sorted(left_out))})"}
    return tune.PlacementGroupFactory([bundle], bundle_label_selector=[others])


def _figures(result: dict[str, Any]) -> dict[str, Any]:
    """What the trial reported, without what Tune adds."""
    return {
        name: value for name, value in result.items() if name.split("/")[0] in (*FIGURES, FAILURE, HALT, NODE, HOST)
    }


class _Ends(tune.Callback):
    def __init__(self, desk: _Desk):
        self.desk = desk

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        # not trial.get_error(): it looks where Tune has not copied the file yet
        text = Path(trial.error_file).read_text(encoding="utf-8")
        self.desk.ask(lambda: self._failed(trial.config["number"], text), None)

    def _failed(self, number: int, text: str) -> None:
        note_error(trial_folder(self.desk.folder, number), text)
        self.desk.conductor.failed(number, text.strip().splitlines()[-1])


class _End(tune.Stopper):
    def __init__(self, desk: _Desk):
        self.desk = desk

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return bool(self.desk.broken or self.desk.ask(self.desk.conductor.is_over, None))
