"""The search's book: an Optuna study in a file, with every trial, its reports and how it ended."""

import json
import shutil
import sqlite3
import warnings
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from itertools import count, takewhile
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import quote

import optuna
from optuna.distributions import distribution_to_json, json_to_distribution
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from chex.errors import InputError
from chex.metrics import METRIC
from search.ledger import State, TrialRow
from search.space import Knob, Space, described, told_when

BOOK = "optuna.db"
METRIC_NAME = "validation AUROC"
"""What optuna-dashboard calls the value of a trial: METRIC."""
NUMBER = "trial"
"""The attribute of a trial that has its number from 1, as the search tells it; Optuna counts from 0."""
LOCKED_SECONDS = 60
"""How long a write waits for another program that reads the file, such as optuna-dashboard."""

STATES: dict[TrialState, State] = {
    TrialState.COMPLETE: "finished",
    TrialState.PRUNED: "stopped",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "waiting",
    TrialState.WAITING: "waiting",
}


class Book:
    """What is known of a search, on disk before anybody acts on it.

    A trial that was stopped is PRUNED, with its last intermediate value as its value, as Optuna itself has it; one
    without a result is FAIL, and one that has not ended RUNNING, whatever became of the process that ran it.
    """

    def __init__(self, folder: Path, space: Space, copy: Path | None = None):
        """Opens the book in `folder`, or begins one, a study of the folder's name.

        Of a `copy` of its file that file is opened instead.

        Raises InputError where it is not a book of this space.
        """
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.path, self.space = folder / BOOK, space
        self.storage = _storage(copy or self.path, self.path)
        self.study = self._open(folder.resolve().name)
        self._check()

    def history(self) -> list[FrozenTrial]:
        """The study's trials, in order of number."""
        return self.storage.get_all_trials(self.study, deepcopy=False)

    def rows(self) -> list[TrialRow]:
        """A row a trial; one that has not ended is `waiting`."""
        return [_row(trial) for trial in self.history()]

    def begin(self, knobs: Mapping[str, Any]) -> int:
        """Enters a trial of these values and returns its number, from 1."""
        distributions = {path: self.space[path].domain for path in knobs}
        number = self.storage.get_n_trials(self.study) + 1
        trial = create_trial(
            state=TrialState.RUNNING, params=dict(knobs), distributions=distributions, user_attrs={NUMBER: number}
        )
        identity = self.storage.create_new_trial(self.study, template_trial=trial)
        return self.storage.get_trial_number_from_id(identity) + 1

    def report(self, number: int, place: int, report: Mapping[str, Any]) -> None:
        """Enters a trial's report; `place`: which of its reports it is, from 1.

        The place is Optuna's step: the trials of a search make their reports at equal shares of their schedules.
        """
        trial = self._id(number)
        self.storage.set_trial_system_attr(trial, _report_name(place), dict(report))
        self.storage.set_trial_intermediate_value(trial, place, float(report[METRIC]))

    def end(self, number: int, state: State, value: float, error: str = "") -> None:
        """Enters that a trial is finished or stopped (with its value), or failed (with the reason)."""
        trial = self._id(number)
        if error:
            self.storage.set_trial_user_attr(trial, "error", error)
        told = next(theirs for theirs, ours in STATES.items() if ours == state)
        self.storage.set_trial_state_values(trial, told, [value] if state in ("finished", "stopped") else None)

    @property
    def seconds(self) -> float:
        """How long the search has run, over all resumes."""
        return float(self.storage.get_study_user_attrs(self.study).get("seconds", 0.0))

    def spend(self, seconds: float) -> None:
        """Enters how long the search has run."""
        self.storage.set_study_user_attr(self.study, "seconds", seconds)

    def close(self) -> None:
        """Lets go of the file."""
        self.storage.remove_session()
        self.storage.engine.dispose()

    def _id(self, number: int) -> int:
        return self.storage.get_trial_id_from_study_id_trial_number(self.study, number - 1)

    def _open(self, name: str) -> int:
        """The one study of the file, made where there is none."""
        there = self.storage.get_all_studies()
        if len(there) > 1:
            raise InputError(
                f"{self.path} holds {len(there)} studies, and a search has one; move it away, or use --fresh"
            )
        if there:
            return self.storage.get_study_id_from_name(there[0].study_name)
        study = self.storage.create_new_study([StudyDirection.MAXIMIZE], name)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            optuna.load_study(study_name=name, storage=self.storage).set_metric_names([METRIC_NAME])
        return study

    def _check(self) -> None:
        """Writes on the first page what the book is about, where nothing is there yet; else compares it."""
        found = self.storage.get_study_user_attrs(self.study)
        if self.storage.get_study_directions(self.study) != [StudyDirection.MAXIMIZE]:
            raise self._foreign("direction")
        if "metric" not in found and not self.history():
            self.storage.set_study_user_attr(self.study, "metric", METRIC)
            self.storage.set_study_user_attr(self.study, "space", _described(self.space))
            return
        if found.get("metric") != METRIC:
            raise self._foreign("metric")
        there = _read_space(found.get("space"))
        for path in self.space | there:
            if self.space.get(path) != there.get(path):
                raise self._foreign(
                    "space", f": {path} is {_told(self.space.get(path))} here and {_told(there.get(path))} there"
                )

    def _foreign(self, name: str, how: str = "") -> InputError:
        return InputError(
            f"{self.path}: the study in it has another {name} than this search{how}; give the search a --name of its "
            "own, or start over with --fresh"
        )


@contextmanager
def read_book(folder: Path, space: Space) -> Iterator[Book]:
    """Yields a copy of the book in `folder`, which is only read: it may be that of somebody else, or on a full disk.

    Raises InputError as Book.
    """
    with TemporaryDirectory() as scratch:
        copy = Path(scratch) / BOOK
        _copy_as_it_is(folder / BOOK, copy)
        book = Book(folder, space, copy)
        try:
            yield book
        finally:
            book.close()


def _copy_as_it_is(path: Path, copy: Path) -> None:
    """Copies a database, in the middle of writing too, and writes nothing beside it.

    Where SQLite would have to write first, because a process was killed over a write, it does so in the copy.
    """
    source = f"file:{quote(str(path.absolute()))}?mode=ro"
    try:
        ours = sqlite3.connect(source, uri=True, timeout=LOCKED_SECONDS)
        with closing(ours), closing(sqlite3.connect(copy)) as theirs:
            ours.backup(theirs)
    except sqlite3.DatabaseError:
        for end in ("", "-journal", "-wal"):
            if (beside := path.with_name(f"{path.name}{end}")).exists():
                shutil.copyfile(beside, copy.with_name(f"{copy.name}{end}"))


def _storage(file: Path, path: Path) -> RDBStorage:
    """Opens the database in `file`, which the user knows as `path`."""
    try:
        return RDBStorage(f"sqlite:///{file.absolute()}", engine_kwargs={"connect_args": {"timeout": LOCKED_SECONDS}})
    except (SQLAlchemyError, RuntimeError) as error:
        reason = error.orig if isinstance(error, DBAPIError) else error
        raise InputError(f"{path} cannot be opened as an Optuna study ({reason}); remove it, or use --fresh") from error


def _described(space: Space) -> str:
    return json.dumps(
        {
            path: [distribution_to_json(knob.domain), {k: list(v) for k, v in knob.when.items()}]
            for path, knob in space.items()
        }
    )


def _report_name(place: int) -> str:
    """Where a report's figures are: optuna-dashboard does not show system attributes, of which there may be many."""
    return f"report {place}"


def _reports(trial: FrozenTrial) -> Iterator[Mapping[str, Any]]:
    places = takewhile(lambda place: _report_name(place) in trial.system_attrs, count(1))
    return (trial.system_attrs[_report_name(place)] for place in places)


def _read_space(text: str | None) -> Space:
    """The space that `_described` wrote, as values: another version of Optuna may write the same one otherwise."""
    return {
        path: Knob(json_to_distribution(domain), {other: tuple(values) for other, values in when.items()})
        for path, (domain, when) in json.loads(text or "{}").items()
    }


def _told(knob: Knob | None) -> str:
    return "not searched" if knob is None else f"{described(knob.domain)} {told_when(knob.when)}".strip()


def _row(trial: FrozenTrial) -> TrialRow:
    return TrialRow(
        number=trial.number + 1,
        state=STATES[trial.state],
        knobs=dict(trial.params),
        reports=tuple(_reports(trial)),
        error=trial.user_attrs.get("error", ""),
    )
