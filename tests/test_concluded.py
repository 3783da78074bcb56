"""What the command says at the end of a search that has no winner."""

from pathlib import Path
from typing import Any

import pytest

from chex.config import RunConfig
from search import report, study
from search.command import EXIT_FAILED, main
from search.ledger import State, TrialRow
from search.search_config import SearchConfig


@pytest.mark.parametrize(
    ("states", "told"),
    [
        (("failed", "waiting"), "the budget is spent and no trial has given a result; `chex-search extend "),
        (("failed", "failed"), "all trials failed; "),
    ],
)
def test_a_search_without_a_result_says_whether_trials_failed_or_the_budget_was_too_small(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    states: tuple[State, ...],
    told: str,
) -> None:
    rows = [TrialRow(number, state, {}) for number, state in enumerate(states, start=1)]

    def conducted(*how: Any, **more: Any) -> list[TrialRow]:
        return rows

    monkeypatch.setattr(study, "load_begun", lambda folder: SearchConfig(base=RunConfig(), space={}))
    monkeypatch.setattr(study, "run_search", conducted)
    monkeypatch.setattr(report, "conclude", lambda *how: None)
    assert main(["resume", str(tmp_path / "some")]) == EXIT_FAILED
    assert capsys.readouterr().err.startswith(f"chex-search resume: {told}")
