"""Stores the study of a search: an Optuna study in a file, with every trial, its reports and how it ended."""

import json
import shutil
import sqlite3
import warnings
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
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
from chex.statistics.metrics import METRIC
from search.space.space import Param, Space, condition_text, domain_yaml
from search.trials.layout import LOCKED_SECONDS, STUDY
from search.trials.stored_reports import report_name, stored_reports
from search.trials.trial import State, TrialRecord

METRIC_NAME = "validation AUROC"
"""The name of METRIC in optuna-dashboard."""
NUMBER = "trial"
"""The user attribute with a trial's number in the search, from 1; Optuna counts from 0."""

STATES: dict[TrialState, State] = {
    TrialState.COMPLETE: "finished",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "pending",
    TrialState.WAITING: "pending",
}


class StudyStore:
    """The record from which a search resumes: new trials and reports are on disk before anything acts on them.

    In Optuna's terms a finished trial is COMPLETE, a failed one FAIL, and a pruned one PRUNED, with its last
    intermediate value as its value. A trial that has not ended is RUNNING, even if its process has died.
    """

    def __init__(self, folder: Path, space: Space, copy: Path | None = None):
        """Opens the study in `folder`, or creates one with the folder's name.

        If `copy` is given, opens that copy of the study's file instead. Raises InputError if the study has another
        space or metric, or cannot be opened.
        """
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.path, self.space = folder / STUDY, space
        self.storage = _storage(copy or self.path, self.path)
        self.study = self._open(folder.resolve().name)
        self._check()

    def history(self) -> list[FrozenTrial]:
        """Returns the study's trials, by number."""
        return self.storage.get_all_trials(self.study, deepcopy=False)

    def trials(self) -> list[TrialRecord]:
        """Returns the trials' records, by number; a trial that has not ended is `pending`."""
        return [_record(trial) for trial in self.history()]

    def create_trial(self, params: Mapping[str, Any]) -> int:
        """Adds a trial with these values and returns its number, from 1."""
        distributions = {path: self.space[path].domain for path in params}
        number = self.storage.get_n_trials(self.study) + 1
        trial = create_trial(
            state=TrialState.RUNNING, params=dict(params), distributions=distributions, user_attrs={NUMBER: number}
        )
        trial_id = self.storage.create_new_trial(self.study, template_trial=trial)
        return self.storage.get_trial_number_from_id(trial_id) + 1

    def add_report(self, number: int, place: int, report: Mapping[str, Any]) -> None:
        """Adds a trial's report; `place` is its number among the trial's reports, from 1.

        The place is Optuna's step: all trials of a search report at equal shares of their schedules.
        """
        trial = self._id(number)
        self.storage.set_trial_system_attr(trial, report_name(place), dict(report))
        self.storage.set_trial_intermediate_value(trial, place, float(report[METRIC]))

    def finish_trial(self, number: int, state: State, value: float, error: str = "") -> None:
        """Ends a trial: finished or pruned, with its value, or failed, with the error."""
        trial = self._id(number)
        if error:
            self.storage.set_trial_user_attr(trial, "error", error)
        optuna_state = next(theirs for theirs, ours in STATES.items() if ours == state)
        self.storage.set_trial_state_values(trial, optuna_state, [value] if state in ("finished", "pruned") else None)

    @property
    def elapsed_seconds(self) -> float:
        """How many seconds the search has run, over all resumes."""
        return float(self.storage.get_study_user_attrs(self.study).get("seconds", 0.0))

    def set_elapsed(self, seconds: float) -> None:
        """Records how many seconds the search has run, over all resumes."""
        self.storage.set_study_user_attr(self.study, "seconds", seconds)

    def close(self) -> None:
        """Closes the file."""
        self.storage.remove_session()
        self.storage.engine.dispose()

    def _id(self, number: int) -> int:
        return self.storage.get_trial_id_from_study_id_trial_number(self.study, number - 1)

    def _open(self, name: str) -> int:
        """Returns the ID of the file's only study, which it creates if there is none."""
        studies = self.storage.get_all_studies()
        if len(studies) > 1:
            raise InputError(
                f"{self.path} has {len(studies)} studies, and a search has one; move it away, or use --overwrite"
            )
        if studies:
            return self.storage.get_study_id_from_name(studies[0].study_name)
        study = self.storage.create_new_study([StudyDirection.MAXIMIZE], name)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            optuna.load_study(study_name=name, storage=self.storage).set_metric_names([METRIC_NAME])
        return study

    def _check(self) -> None:
        """Records the metric and the space in a new study, or compares them with those of an existing one."""
        attributes = self.storage.get_study_user_attrs(self.study)
        if self.storage.get_study_directions(self.study) != [StudyDirection.MAXIMIZE]:
            raise self._mismatch("direction")
        if "metric" not in attributes and not self.history():
            self.storage.set_study_user_attr(self.study, "metric", METRIC)
            self.storage.set_study_user_attr(self.study, "space", _space_to_json(self.space))
            return
        if attributes.get("metric") != METRIC:
            raise self._mismatch("metric")
        recorded = _space_from_json(attributes.get("space"))
        for path in self.space | recorded:
            own, other = self.space.get(path), recorded.get(path)
            if own != other:
                raise self._mismatch("space", f": {path} is {_format_param(own)} here and {_format_param(other)} there")

    def _mismatch(self, name: str, how: str = "") -> InputError:
        return InputError(
            f"{self.path}: its study has another {name} than this search{how}; give the search another --name, or "
            "start over with --overwrite"
        )


@contextmanager
def read_study(folder: Path, space: Space) -> Iterator[StudyStore]:
    """Yields a copy of the study in `folder`, so that the original, which may be on a full disk, is only read.

    Raises InputError like StudyStore.
    """
    with TemporaryDirectory() as scratch:
        copy = Path(scratch) / STUDY
        _copy_database(folder / STUDY, copy)
        store = StudyStore(folder, space, copy)
        try:
            yield store
        finally:
            store.close()


def _copy_database(path: Path, copy: Path) -> None:
    """Copies a database, even while it is written to, and writes nothing next to the original.

    If SQLite has to repair it first, because a process was killed during a write, it repairs the copy.
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
    """Opens the database in `file`. Raises InputError, which names the file `path`, if that fails."""
    try:
        return RDBStorage(f"sqlite:///{file.absolute()}", engine_kwargs={"connect_args": {"timeout": LOCKED_SECONDS}})
    except (SQLAlchemyError, RuntimeError) as error:
        reason = error.orig if isinstance(error, DBAPIError) else error
        raise InputError(
            f"{path} cannot be opened as an Optuna study ({reason}); remove it, or use --overwrite"
        ) from error


def _space_to_json(space: Space) -> str:
    return json.dumps(
        {
            path: [distribution_to_json(param.domain), {k: list(v) for k, v in param.condition.items()}]
            for path, param in space.items()
        }
    )


def _space_from_json(text: str | None) -> Space:
    """Returns the space that `_space_to_json` wrote; texts cannot be compared, since Optuna's versions may differ."""
    return {
        path: Param(json_to_distribution(domain), {other: tuple(values) for other, values in condition.items()})
        for path, (domain, condition) in json.loads(text or "{}").items()
    }


def _format_param(param: Param | None) -> str:
    return "not searched" if param is None else f"{domain_yaml(param.domain)} {condition_text(param.condition)}".strip()


def _record(trial: FrozenTrial) -> TrialRecord:
    return TrialRecord(
        number=trial.number + 1,
        state=STATES[trial.state],
        params=dict(trial.params),
        reports=tuple(stored_reports(trial)),
        error=trial.user_attrs.get("error", ""),
    )
