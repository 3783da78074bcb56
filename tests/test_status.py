from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock
from rich.console import Console

from chex.atomic import write_text
from chex.config import dump
from search.book import Book
from search.search_config import SearchConfig
from search.status import status
from search.stored import CONFIG
from search.study import LOCK, load_begun, rows_of
from search.trial_log import trial_log

Begin = Callable[..., Book]
REPORT = {"step": 3, "steps": 3, "percent": 100, "images_seen": 24, "auroc": 0.7, "best_auroc": 0.7}


@pytest.fixture
def begin(tmp_path: Path) -> Begin:
    """A search's folder with so much of a budget, and its book."""

    def make(storage: str | None = None, **budget: float) -> Book:
        content = {"base": {"data": {"root": "x"}}, "space": {"optimizer.lr": {"loguniform": [1e-4, 1e-2]}}}
        search = SearchConfig.model_validate(content | {"budget": budget, "storage": storage})
        write_text(tmp_path / CONFIG, dump(search))
        return Book(tmp_path, search.knobs())

    return make


def told(folder: Path) -> str:
    console = Console(width=300)
    with console.capture() as shown:
        console.print(status(folder, width=120))
    return shown.get().splitlines()[-1]


def test_a_search_whose_process_is_gone_is_interrupted(begin: Begin, tmp_path: Path) -> None:
    begin(trials=2).begin({"optimizer.lr": 1e-3})
    assert told(tmp_path) == f"interrupted; `chex-search resume {tmp_path}` goes on with it"


def test_a_search_in_a_storage_may_be_run_by_another_machine(begin: Begin, tmp_path: Path) -> None:
    begin(storage="gs://films/searches", trials=2).begin({"optimizer.lr": 1e-3})
    goes_on = f"where no other runs it, `chex-search resume {tmp_path}` goes on with it"
    assert told(tmp_path) == f"not run by this machine; {goes_on}"


def test_a_search_under_way_is_running(begin: Begin, tmp_path: Path) -> None:
    begin(trials=2).begin({"optimizer.lr": 1e-3})
    with FileLock(tmp_path / LOCK):
        assert told(tmp_path) == "running"


def test_a_search_that_has_spent_its_budget_is_at_its_end(begin: Begin, tmp_path: Path) -> None:
    book = begin(trials=1)
    book.report(book.begin({"optimizer.lr": 1e-3}), 1, REPORT)
    book.end(1, "finished", 0.7)
    assert told(tmp_path) == "at its end: all 1 trials have been tried"


def test_a_search_whose_trials_all_fail_is_given_up(begin: Begin, tmp_path: Path) -> None:
    book = begin(trials=9, failures=2)
    for _ in range(2):
        book.end(book.begin({"optimizer.lr": 1e-3}), "failed", float("nan"), "the loss is no number")
    assert told(tmp_path).startswith("given up: 2 trials in turn failed (budget.failures), the last one (trial 2)")


def test_a_look_at_a_search_leaves_its_folder_as_it_was(begin: Begin, tmp_path: Path) -> None:
    book = begin(trials=9)
    book.begin({"optimizer.lr": 1e-3})
    book.close()
    search = load_begun(tmp_path)
    before = as_it_is(tmp_path)
    assert told(tmp_path).startswith("interrupted")
    assert trial_log(tmp_path, 1).startswith("trial 1: waiting")
    assert len(rows_of(search, tmp_path)) == 1
    assert as_it_is(tmp_path) == before


def as_it_is(folder: Path) -> dict[Path, tuple[int, bytes]]:
    """Each file and folder, with the time of its last change and its content."""
    return {
        path: (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
        for path in [folder, *folder.rglob("*")]
    }
