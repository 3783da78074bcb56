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

from search.command import EXIT_INTERRUPTED, main
from search.engine import interruption, runner
from search.storage.disk_full import disk_full_reason
from search.trials.study_store import StudyStore


def full_disk() -> OSError:
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_or_read_only_disk_is_distinguished_from_other_errors() -> None:
    assert disk_full_reason(full_disk()) == "No space left on device"
    assert disk_full_reason(OSError(errno.EROFS, os.strerror(errno.EROFS))) == "Read-only file system"
    assert disk_full_reason(OSError(errno.ENOENT, os.strerror(errno.ENOENT))) is None
    assert disk_full_reason(ValueError("no space")) is None


def test_a_full_disk_is_found_as_the_cause_of_another_error() -> None:
    error = RuntimeError("cannot save")
    error.__cause__ = full_disk()
    assert disk_full_reason(error) == "No space left on device"


def test_a_study_on_a_full_disk_is_reported(tmp_path: Path) -> None:
    book = StudyStore(tmp_path, {})
    event.listen(book.storage.engine, "checkout", _grows_no_more)
    with pytest.raises(StorageInternalError) as raised:
        book.storage.set_study_user_attr(book.study, "filler", "x" * 100_000)
    assert disk_full_reason(raised.value) == "database or disk is full"
    book.close()


def _grows_no_more(connection: sqlite3.Connection, *more: Any) -> None:
    connection.execute("pragma max_page_count=1")  # SQLite takes it for the size that the file has


@pytest.fixture
def begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A search's folder, and `load_begun` that believes it."""
    monkeypatch.setattr(runner, "load_search_folder", lambda folder: None)
    return tmp_path / "some"


def test_a_search_on_a_full_disk_ends_with_a_sentence(
    begun: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run_search(*how: Any, **more: Any) -> None:
        raise full_disk()

    monkeypatch.setattr(runner, "run_search", run_search)
    assert main(["resume", str(begun)]) == EXIT_INTERRUPTED
    assert re.fullmatch(
        r"chex-search resume: \S*/some cannot be written \(No space left on device\); free disk space there; "
        r"`chex-search resume \S*/some` continues it\n",
        capsys.readouterr().err,
    )


def test_disk_full_errors_in_threads_are_silent_and_others_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    received: list[BaseException | None] = []
    monkeypatch.setattr(threading, "excepthook", lambda message: received.append(message.exc_value))
    errors = [full_disk(), ValueError("another")]

    def work(error: Exception) -> None:
        raise error

    with interruption.report_disk_full(tmp_path):
        for error in errors:
            thread = threading.Thread(target=work, args=(error,))
            thread.start()
            thread.join()
    assert received == errors[1:]


def test_other_errors_are_not_taken_for_a_full_disk(begun: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run_search(*how: Any, **more: Any) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(runner, "run_search", run_search)
    with pytest.raises(OSError, match="Input/output error"):
        main(["resume", str(begun)])


def test_an_interrupt_before_the_search_has_started_is_a_sentence(
    begun: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run_search(*how: Any, **more: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(runner, "run_search", run_search)
    assert main(["resume", str(begun)]) == EXIT_INTERRUPTED
    assert "interrupted; `chex-search resume` continues a search that has started" in capsys.readouterr().err
