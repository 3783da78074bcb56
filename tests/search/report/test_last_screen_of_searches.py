"""The command's message at the end of a search without a winner."""

from pathlib import Path
from typing import Any

import pytest

from chex.config import RunConfig
from search.command import EXIT_FAILED, main
from search.config import search_folder
from search.config.search_config import SearchConfig
from search.engine import runner
from search.report import last_screen
from search.trials.trial import State, TrialRecord


@pytest.mark.parametrize(
    ("states", "message"),
    [
        (("failed", "pending"), "the budget is spent and no trial has a result; `chex-search extend "),
        (("failed", "failed"), "all trials failed; "),
    ],
)
def test_a_search_without_a_result_says_whether_trials_failed_or_the_budget_was_too_small(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    states: tuple[State, ...],
    message: str,
) -> None:
    rows = [TrialRecord(number, state, {}) for number, state in enumerate(states, start=1)]

    def fake_run_search(*args: Any, **kwargs: Any) -> list[TrialRecord]:
        return rows

    for module in (runner, search_folder):
        monkeypatch.setattr(module, "load_search_folder", lambda folder: SearchConfig(base=RunConfig(), space={}))
    monkeypatch.setattr(runner, "run_search", fake_run_search)
    monkeypatch.setattr(last_screen, "finish_search", lambda *args: None)
    assert main(["resume", str(tmp_path / "some")]) == EXIT_FAILED
    assert capsys.readouterr().err.startswith(f"chex-search resume: {message}")
