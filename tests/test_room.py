import errno
import os
import re
import sqlite3
import threading
from pathlib import Path
from typing import Any

import pytest
from optuna.exceptions import StorageInternalError
from sqlalchemy import event

from search import study
from search.book import Book
from search.command import EXIT_INTERRUPTED, main
from search.room import out_of_room


def full_disk() -> OSError:
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_or_read_only_disk_is_told_from_other_errors() -> None:
    assert out_of_room(full_disk()) == "No space left on device"
    assert out_of_room(OSError(errno.EROFS, os.strerror(errno.EROFS))) == "Read-only file system"
    assert out_of_room(OSError(errno.ENOENT, os.strerror(errno.ENOENT))) is None
    assert out_of_room(ValueError("no space")) is None


def test_a_full_disk_is_found_behind_the_error_that_came_of_it() -> None:
    error = RuntimeError("cannot save")
    error.__cause__ = full_disk()
    assert out_of_room(error) == "No space left on device"


def test_a_book_that_finds_no_room_says_so(tmp_path: Path) -> None:
    book = Book(tmp_path, {})
    event.listen(book.storage.engine, "checkout", _grows_no_more)
    with pytest.raises(StorageInternalError) as raised:
        book.storage.set_study_user_attr(book.study, "filler", "x" * 100_000)
    assert out_of_room(raised.value) == "database or disk is full"
    book.close()


def _grows_no_more(connection: sqlite3.Connection, *more: Any) -> None:
    connection.execute("pragma max_page_count=1")  # SQLite takes it for the size that the file has


@pytest.fixture
def begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A search's folder, and `load_begun` that believes it."""
    monkeypatch.setattr(study, "load_begun", lambda folder: None)
    return tmp_path / "some"


def test_a_search_that_finds_no_room_ends_with_a_sentence(
    begun: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run_search(*how: Any, **more: Any) -> None:
        raise full_disk()

    monkeypatch.setattr(study, "run_search", run_search)
    assert main(["resume", str(begun)]) == EXIT_INTERRUPTED
    assert re.fullmatch(
        r"chex-search resume: \S*/some cannot be written \(No space left on device\); make room there; "
        r"`chex-search resume \S*/some` goes on with it\n",
        capsys.readouterr().err,
    )


def test_a_thread_that_finds_no_room_is_silent_and_others_are_heard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[BaseException | None] = []
    monkeypatch.setattr(threading, "excepthook", lambda told: heard.append(told.exc_value))
    errors = [full_disk(), ValueError("another")]

    def work(error: Exception) -> None:
        raise error

    with study.room_said(tmp_path):
        for error in errors:
            thread = threading.Thread(target=work, args=(error,))
            thread.start()
            thread.join()
    assert heard == errors[1:]


def test_other_errors_are_not_taken_for_a_full_disk(begun: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run_search(*how: Any, **more: Any) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(study, "run_search", run_search)
    with pytest.raises(OSError, match="Input/output error"):
        main(["resume", str(begun)])


def test_an_interrupt_before_the_search_has_begun_is_a_sentence(
    begun: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run_search(*how: Any, **more: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(study, "run_search", run_search)
    assert main(["resume", str(begun)]) == EXIT_INTERRUPTED
    assert "interrupted; `chex-search resume` goes on with a search that has begun" in capsys.readouterr().err
