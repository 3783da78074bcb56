"""The code blocks in docs/searching.md run as they stand, on a small search that nobody trains."""

import inspect
import re
from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml

from search.config import search_folder
from search.config.search_config import SearchConfig
from search.engine import runner
from search.trials.trial import TrialRecord
from tests.made_search import made_search

PAGE = Path("docs/searching.md").read_text(encoding="utf-8")
SECTION = PAGE.split("## From Python", 1)[1].split("\n## ", 1)[0]
RUN_SEARCH = inspect.signature(runner.run_search)


def write_search(*args: Any, **named: Any) -> list[TrialRecord]:
    """Takes the arguments of `run_search`, and writes the folder of a search that nobody ran."""
    asked = RUN_SEARCH.bind(*args, **named).arguments
    assert isinstance(asked["search"], SearchConfig)
    assert asked["search"].budget.trials == 2
    search = made_search(asked["folder"], 2)
    return search_folder.load_trials(search, asked["folder"])


def test_the_block_searches_and_analyzes(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    space = {"optimizer.lr": {"loguniform": [1e-4, 1e-2]}}
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump({"base": {}, "space": space}))
    found = re.search(r"```python\n(.*?)```", SECTION, flags=re.DOTALL)
    assert found
    code = found[1].replace("configs/search/demo.yaml", "tiny.yaml")
    code = code.replace("data/phantom/CheXpert-v1.0-small", str(tree))
    monkeypatch.setattr(runner, "run_search", write_search)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results").mkdir()
    names: dict[str, Any] = {}
    exec(compile(code, "docs/searching.md", "exec"), names)
    assert [row.number for row in names["trials"]] == [1, 2]
    assert capsys.readouterr().out.count("Estimate(value=") == 2


def test_the_sampler_serves_a_plain_optuna_study(capsys: pytest.CaptureFixture[str]) -> None:
    code = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)[0]
    names: dict[str, Any] = {
        "optuna": optuna,
        "train": lambda lr, policies: {name: 0.8 + 0.1 * (policy == "ones") for name, policy in policies.items()},
    }
    exec(compile(code, "docs/searching.md", "exec"), names)
    names["study"].optimize(names["objective"], 14)
    best = {trial.params["policy.Edema"] + trial.params["policy.Atelectasis"] for trial in names["study"].trials[8:]}
    assert best == {"onesones"}


def test_functions_that_the_page_names_exist() -> None:
    named = re.findall(r"`((?:chex|search)[a-z_.]+)\.([a-z_]+)\(", SECTION)
    assert len(named) == 3
    for module, name in named:
        assert hasattr(__import__(module, fromlist=[name]), name), name
