import math
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.storages import RDBStorage

from chex.errors import InputError
from chex.statistics.metrics import METRIC
from search.space.space import Param, Space
from search.trials.layout import STUDY
from search.trials.study_store import StudyStore, read_study

SPACE: Space = {
    "optimizer.lr": Param(FloatDistribution(1e-4, 1e-1, log=True)),
    "policy.default": Param(CategoricalDistribution(["zeros", "smoothed_ones"])),
    "policy.default.low": Param(FloatDistribution(0.5, 0.6), {"policy.default": ("smoothed_ones",)}),
}
PARAMS = {"optimizer.lr": 0.01, "policy.default": "zeros"}


def report(percent: int, value: float) -> dict[str, Any]:
    where = {"step": percent, "steps": 100, "percent": percent, "images_seen": 10 * percent}
    return where | {METRIC: value, "auroc/Edema": value, "recall": math.nan}


@pytest.fixture
def book(tmp_path: Path) -> Iterator[StudyStore]:
    made = StudyStore(tmp_path, SPACE)
    yield made
    made.close()


def study(folder: Path) -> optuna.Study:
    """The study as Optuna itself, and so optuna-dashboard, opens it."""
    return optuna.load_study(study_name=folder.name, storage=f"sqlite:///{folder / STUDY}")


def test_optuna_is_told_how_each_trial_really_ended(book: StudyStore, tmp_path: Path) -> None:
    for state, value in (("pruned", 0.7), ("finished", 0.8), ("failed", math.nan)):
        number = book.create_trial(PARAMS)
        book.add_report(number, 1, report(50, 0.7))
        book.finish_trial(number, state, value, "the loss is no number" if state == "failed" else "")  # type: ignore[arg-type]
    book.add_report(book.create_trial(PARAMS), 1, report(25, 0.6))
    found = study(tmp_path)
    assert [trial.state.name for trial in found.trials] == ["PRUNED", "COMPLETE", "FAIL", "RUNNING"]
    assert found.trials[0].intermediate_values == {1: 0.7}
    assert [trial.value for trial in found.trials] == [0.7, 0.8, None, None]
    assert [trial.user_attrs["trial"] for trial in found.trials] == [1, 2, 3, 4]
    assert found.trials[2].user_attrs["error"] == "the loss is no number"
    assert max(len(str(trial.user_attrs)) for trial in found.trials) < 60  # optuna-dashboard shows them in one line
    assert found.metric_names == ["validation AUROC"]
    assert found.best_value == 0.8
    assert found.best_params == PARAMS


def test_a_book_opened_again_has_every_trial_with_its_reports(book: StudyStore, tmp_path: Path) -> None:
    first = book.create_trial({"policy.default": "smoothed_ones", "policy.default.low": 0.55, "optimizer.lr": 0.01})
    book.add_report(first, 1, report(50, 0.7))
    book.add_report(first, 2, report(100, 0.75))
    book.finish_trial(first, "finished", 0.75)
    book.finish_trial(book.create_trial(PARAMS), "failed", math.nan, "no memory")
    book.set_elapsed(12.5)
    again = StudyStore(tmp_path, SPACE)
    rows = again.trials()
    assert [(row.number, row.state, row.error) for row in rows] == [(1, "finished", ""), (2, "failed", "no memory")]
    assert rows[0].params["policy.default.low"] == 0.55
    assert [each["percent"] for each in rows[0].reports] == [50, 100]
    assert rows[0].report["auroc/Edema"] == 0.75
    assert math.isnan(rows[0].report["recall"])
    assert again.elapsed_seconds == 12.5
    again.close()


def test_a_report_told_twice_is_there_once(book: StudyStore) -> None:
    number = book.create_trial(PARAMS)
    for _ in range(2):
        book.add_report(number, 1, report(25, 0.6))
    assert book.trials()[0].reports == (report(25, 0.6),) or len(book.trials()[0].reports) == 1
    assert book.history()[0].intermediate_values == {1: 0.6}


def test_a_book_of_another_space_is_refused(book: StudyStore, tmp_path: Path) -> None:
    other = SPACE | {"optimizer.lr": Param(FloatDistribution(1e-4, 1e-1))}
    told = (
        r"another space than this search: optimizer.lr is uniform: \[0.0001, 0.1\] here and "
        r"loguniform: \[0.0001, 0.1\] there; give the search another --name, or start"
    )
    with pytest.raises(InputError, match=told):
        StudyStore(tmp_path, other)


def test_a_search_whose_folder_has_another_name_now_has_its_book(book: StudyStore, tmp_path: Path) -> None:
    book.finish_trial(book.create_trial(PARAMS), "failed", math.nan, "no memory")
    (tmp_path / "elsewhere").mkdir()
    shutil.copy(tmp_path / STUDY, tmp_path / "elsewhere")
    again = StudyStore(tmp_path / "elsewhere", SPACE)
    assert [row.error for row in again.trials()] == ["no memory"]
    again.close()


def test_a_file_of_two_studies_is_refused(book: StudyStore, tmp_path: Path) -> None:
    optuna.create_study(study_name="another", storage=f"sqlite:///{tmp_path / STUDY}")
    with pytest.raises(InputError, match=r"optuna.db has 2 studies, and a search has one; move it away, or use"):
        StudyStore(tmp_path, SPACE)


def test_a_study_that_minimises_is_refused(tmp_path: Path) -> None:
    storage = RDBStorage(f"sqlite:///{tmp_path / STUDY}")
    optuna.create_study(study_name="anything", storage=storage, direction="minimize")
    storage.engine.dispose()
    with pytest.raises(InputError, match="its study has another direction than this search"):
        StudyStore(tmp_path, SPACE)


def test_a_study_of_another_metric_is_refused(tmp_path: Path) -> None:
    storage = RDBStorage(f"sqlite:///{tmp_path / STUDY}")
    found = optuna.create_study(study_name="anything", storage=storage, direction="maximize")
    found.add_trial(optuna.trial.create_trial(value=0.5))
    storage.engine.dispose()
    with pytest.raises(InputError, match="its study has another metric than this search"):
        StudyStore(tmp_path, SPACE)


def test_a_file_that_is_no_study_is_refused(tmp_path: Path) -> None:
    (tmp_path / STUDY).write_text("not a database, but long enough to be looked at")
    with pytest.raises(
        InputError, match=r"optuna.db cannot be opened as an Optuna study \(file is not a database\); remove"
    ):
        StudyStore(tmp_path, SPACE)


def test_a_book_that_is_read_is_left_as_it_was_and_has_what_is_being_written(book: StudyStore, tmp_path: Path) -> None:
    book.create_trial(PARAMS)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with read_study(tmp_path, SPACE) as found:
        assert [row.state for row in found.trials()] == ["pending"]
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert list(before) == [STUDY]


def test_a_book_over_which_a_process_was_killed_is_read_without_what_it_had_not_finished(
    book: StudyStore, tmp_path: Path
) -> None:
    book.create_trial(PARAMS)
    book.close()
    killed = tmp_path / "killed"
    killed.mkdir()
    with closing(sqlite3.connect(tmp_path / STUDY)) as writer:
        writer.execute("pragma cache_size = 1")  # what does not fit is written before its end
        writer.execute("create table large as select randomblob(100000)")
        writer.execute("update trials set state = 'FAIL'")
        writer.execute("insert into large select randomblob(100000)")
        for name in (STUDY, f"{STUDY}-journal"):
            shutil.copy(tmp_path / name, killed)
        writer.rollback()
    assert (killed / STUDY).read_bytes() != (tmp_path / STUDY).read_bytes()
    before = {path.name: path.read_bytes() for path in killed.iterdir()}
    with read_study(killed, SPACE) as found:
        assert [row.state for row in found.trials()] == ["pending"]
    assert {path.name: path.read_bytes() for path in killed.iterdir()} == before


def test_what_is_no_book_is_named_where_it_lies(tmp_path: Path) -> None:
    (tmp_path / STUDY).write_text("no database")
    told = pytest.raises(InputError, match=rf"^{tmp_path / STUDY} cannot be opened as an Optuna study")
    with told, read_study(tmp_path, SPACE):
        pass


def test_a_trial_that_has_been_entered_is_on_the_disk(book: StudyStore) -> None:
    with book.storage.engine.connect() as connection:
        modes = {
            name: connection.exec_driver_sql(f"pragma {name}").scalar() for name in ("synchronous", "journal_mode")
        }
    assert modes == {"synchronous": 2, "journal_mode": "delete"}  # 2: FULL
