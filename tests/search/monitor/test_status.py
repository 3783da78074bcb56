from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock
from rich.console import Console

from chex.config import to_yaml
from chex.runtime.atomic_io import write_text
from search.config.search_config import SearchConfig
from search.config.search_folder import load_search_folder, load_trials
from search.monitor.status import render_status
from search.monitor.trial_log import trial_log
from search.trials.layout import CONFIG, LOCK
from search.trials.study_store import StudyStore

MakeStudy = Callable[..., StudyStore]
REPORT = {"step": 3, "steps": 3, "percent": 100, "images_seen": 24, "auroc": 0.7, "best_auroc": 0.7}


@pytest.fixture
def make_study(tmp_path: Path) -> MakeStudy:
    """Writes a search's folder with a budget and returns its study."""

    def make(storage: str | None = None, **budget: float) -> StudyStore:
        content = {"base": {"data": {"root": "x"}}, "space": {"optimizer.lr": {"loguniform": [1e-4, 1e-2]}}}
        search = SearchConfig.model_validate(content | {"budget": budget, "storage_uri": storage})
        write_text(tmp_path / CONFIG, to_yaml(search))
        return StudyStore(tmp_path, search.search_space())

    return make


def last_line(folder: Path) -> str:
    console = Console(width=300)
    with console.capture() as captured:
        console.print(render_status(folder, width=120))
    return captured.get().splitlines()[-1]


def test_a_search_whose_process_is_gone_is_interrupted(make_study: MakeStudy, tmp_path: Path) -> None:
    make_study(trials=2).create_trial({"optimizer.lr": 1e-3})
    assert last_line(tmp_path) == f"interrupted; `chex-search resume {tmp_path}` continues it"


def test_a_search_in_a_storage_may_be_run_by_another_machine(make_study: MakeStudy, tmp_path: Path) -> None:
    make_study(storage="gs://images/searches", trials=2).create_trial({"optimizer.lr": 1e-3})
    hint = f"if no other machine runs it, `chex-search resume {tmp_path}` continues it"
    assert last_line(tmp_path) == f"not run by this machine; {hint}"


def test_a_locked_search_is_running(make_study: MakeStudy, tmp_path: Path) -> None:
    make_study(trials=2).create_trial({"optimizer.lr": 1e-3})
    with FileLock(tmp_path / LOCK):
        assert last_line(tmp_path) == "running"


def test_a_search_that_has_used_its_budget_has_ended(make_study: MakeStudy, tmp_path: Path) -> None:
    study = make_study(trials=1)
    study.add_report(study.create_trial({"optimizer.lr": 1e-3}), 1, REPORT)
    study.finish_trial(1, "finished", 0.7)
    assert last_line(tmp_path) == "ended: all 1 trials have been tried"


def test_a_search_whose_trials_all_fail_is_stopped(make_study: MakeStudy, tmp_path: Path) -> None:
    study = make_study(trials=9, max_consecutive_failures=2)
    for _ in range(2):
        study.finish_trial(study.create_trial({"optimizer.lr": 1e-3}), "failed", float("nan"), "the loss is no number")
    assert last_line(tmp_path).startswith(
        "stopped: 2 trials in a row failed (budget.max_consecutive_failures), the last one (trial 2)"
    )


def test_reading_a_search_does_not_change_its_folder(make_study: MakeStudy, tmp_path: Path) -> None:
    study = make_study(trials=9)
    study.create_trial({"optimizer.lr": 1e-3})
    study.close()
    search = load_search_folder(tmp_path)
    snapshot_before = snapshot(tmp_path)
    assert last_line(tmp_path).startswith("interrupted")
    assert trial_log(tmp_path, 1).startswith("trial 1: pending")
    assert len(load_trials(search, tmp_path)) == 1
    assert snapshot(tmp_path) == snapshot_before


def snapshot(folder: Path) -> dict[Path, tuple[int, bytes]]:
    """Returns each file and folder with its modification time and content."""
    return {
        path: (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
        for path in [folder, *folder.rglob("*")]
    }
