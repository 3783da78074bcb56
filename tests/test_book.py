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
from chex.metrics import METRIC
from search.book import BOOK, Book, read_book
from search.space import Knob, Space

SPACE: Space = {
    "optimizer.lr": Knob(FloatDistribution(1e-4, 1e-1, log=True)),
    "policy.default": Knob(CategoricalDistribution(["zeros", "smoothed_ones"])),
    "policy.default.low": Knob(FloatDistribution(0.5, 0.6), {"policy.default": ("smoothed_ones",)}),
}
KNOBS = {"optimizer.lr": 0.01, "policy.default": "zeros"}


def report(percent: int, value: float) -> dict[str, Any]:
    where = {"step": percent, "steps": 100, "percent": percent, "images_seen": 10 * percent}
    return where | {METRIC: value, "auroc/Edema": value, "recall": math.nan}


@pytest.fixture
def book(tmp_path: Path) -> Iterator[Book]:
    made = Book(tmp_path, SPACE)
    yield made
    made.close()


def study(folder: Path) -> optuna.Study:
    """The study as Optuna itself, and so optuna-dashboard, opens it."""
    return optuna.load_study(study_name=folder.name, storage=f"sqlite:///{folder / BOOK}")


def test_optuna_is_told_how_each_trial_really_ended(book: Book, tmp_path: Path) -> None:
    for state, value in (("stopped", 0.7), ("finished", 0.8), ("failed", math.nan)):
        number = book.begin(KNOBS)
        book.report(number, 1, report(50, 0.7))
        book.end(number, state, value, "the loss is no number" if state == "failed" else "")  # type: ignore[arg-type]
    book.report(book.begin(KNOBS), 1, report(25, 0.6))
    found = study(tmp_path)
    assert [trial.state.name for trial in found.trials] == ["PRUNED", "COMPLETE", "FAIL", "RUNNING"]
    assert found.trials[0].intermediate_values == {1: 0.7}
    assert [trial.value for trial in found.trials] == [0.7, 0.8, None, None]
    assert [trial.user_attrs["trial"] for trial in found.trials] == [1, 2, 3, 4]
    assert found.trials[2].user_attrs["error"] == "the loss is no number"
    assert max(len(str(trial.user_attrs)) for trial in found.trials) < 60  # optuna-dashboard shows them in one line
    assert found.metric_names == ["validation AUROC"]
    assert found.best_value == 0.8
    assert found.best_params == KNOBS


def test_a_book_opened_again_has_every_trial_with_its_reports(book: Book, tmp_path: Path) -> None:
    first = book.begin({"policy.default": "smoothed_ones", "policy.default.low": 0.55, "optimizer.lr": 0.01})
    book.report(first, 1, report(50, 0.7))
    book.report(first, 2, report(100, 0.75))
    book.end(first, "finished", 0.75)
    book.end(book.begin(KNOBS), "failed", math.nan, "no memory")
    book.spend(12.5)
    again = Book(tmp_path, SPACE)
    rows = again.rows()
    assert [(row.number, row.state, row.error) for row in rows] == [(1, "finished", ""), (2, "failed", "no memory")]
    assert rows[0].knobs["policy.default.low"] == 0.55
    assert [each["percent"] for each in rows[0].reports] == [50, 100]
    assert rows[0].report["auroc/Edema"] == 0.75
    assert math.isnan(rows[0].report["recall"])
    assert again.seconds == 12.5
    again.close()


def test_a_report_told_twice_is_there_once(book: Book) -> None:
    number = book.begin(KNOBS)
    for _ in range(2):
        book.report(number, 1, report(25, 0.6))
    assert book.rows()[0].reports == (report(25, 0.6),) or len(book.rows()[0].reports) == 1
    assert book.history()[0].intermediate_values == {1: 0.6}


def test_a_book_of_another_space_is_refused(book: Book, tmp_path: Path) -> None:
    other = SPACE | {"optimizer.lr": Knob(FloatDistribution(1e-4, 1e-1))}
    told = (
        r"another space than this search: optimizer.lr is uniform: \[0.0001, 0.1\] here and "
        r"loguniform: \[0.0001, 0.1\] there; give the search a --name of its own, or start"
    )
    with pytest.raises(InputError, match=told):
        Book(tmp_path, other)


def test_a_search_whose_folder_has_another_name_now_has_its_book(book: Book, tmp_path: Path) -> None:
    book.end(book.begin(KNOBS), "failed", math.nan, "no memory")
    (tmp_path / "elsewhere").mkdir()
    shutil.copy(tmp_path / BOOK, tmp_path / "elsewhere")
    again = Book(tmp_path / "elsewhere", SPACE)
    assert [row.error for row in again.rows()] == ["no memory"]
    again.close()


def test_a_file_of_two_studies_is_refused(book: Book, tmp_path: Path) -> None:
    optuna.create_study(study_name="another", storage=f"sqlite:///{tmp_path / BOOK}")
    with pytest.raises(InputError, match=r"optuna.db holds 2 studies, and a search has one; move it away, or use"):
        Book(tmp_path, SPACE)


def test_a_study_that_minimises_is_refused(tmp_path: Path) -> None:
    storage = RDBStorage(f"sqlite:///{tmp_path / BOOK}")
    optuna.create_study(study_name="anything", storage=storage, direction="minimize")
    storage.engine.dispose()
    with pytest.raises(InputError, match="the study in it has another direction than this search"):
        Book(tmp_path, SPACE)


def test_a_study_of_another_metric_is_refused(tmp_path: Path) -> None:
    storage = RDBStorage(f"sqlite:///{tmp_path / BOOK}")
    found = optuna.create_study(study_name="anything", storage=storage, direction="maximize")
    found.add_trial(optuna.trial.create_trial(value=0.5))
    storage.engine.dispose()
    with pytest.raises(InputError, match="the study in it has another metric than this search"):
        Book(tmp_path, SPACE)


def test_a_file_that_is_no_study_is_refused(tmp_path: Path) -> None:
    (tmp_path / BOOK).write_text("not a database, but long enough to be looked at")
    with pytest.raises(
        InputError, match=r"optuna.db cannot be opened as an Optuna study \(file is not a database\); remove"
    ):
        Book(tmp_path, SPACE)


def test_a_book_that_is_read_is_left_as_it_was_and_has_what_is_being_written(book: Book, tmp_path: Path) -> None:
    book.begin(KNOBS)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with read_book(tmp_path, SPACE) as found:
        assert [row.state for row in found.rows()] == ["waiting"]
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert list(before) == [BOOK]


def test_a_book_over_which_a_process_was_killed_is_read_without_what_it_had_not_finished(
    book: Book, tmp_path: Path
) -> None:
    book.begin(KNOBS)
    book.close()
    killed = tmp_path / "killed"
    killed.mkdir()
    with closing(sqlite3.connect(tmp_path / BOOK)) as writer:
        writer.execute("pragma cache_size = 1")  # what does not fit is written before its end
        writer.execute("create table large as select randomblob(100000)")
        writer.execute("update trials set state = 'FAIL'")
        writer.execute("insert into large select randomblob(100000)")
        for name in (BOOK, f"{BOOK}-journal"):
            shutil.copy(tmp_path / name, killed)
        writer.rollback()
    assert (killed / BOOK).read_bytes() != (tmp_path / BOOK).read_bytes()
    before = {path.name: path.read_bytes() for path in killed.iterdir()}
    with read_book(killed, SPACE) as found:
        assert [row.state for row in found.rows()] == ["waiting"]
    assert {path.name: path.read_bytes() for path in killed.iterdir()} == before


def test_what_is_no_book_is_named_where_it_lies(tmp_path: Path) -> None:
    (tmp_path / BOOK).write_text("no database")
    told = pytest.raises(InputError, match=rf"^{tmp_path / BOOK} cannot be opened as an Optuna study")
    with told, read_book(tmp_path, SPACE):
        pass


def test_a_trial_that_has_been_entered_is_on_the_disk(book: Book) -> None:
    with book.storage.engine.connect() as connection:
        modes = {
            name: connection.exec_driver_sql(f"pragma {name}").scalar() for name in ("synchronous", "journal_mode")
        }
    assert modes == {"synchronous": 2, "journal_mode": "delete"}  # 2: FULL
