"""The README's code block on Python use is run as it stands, but for what is searched and for the trials themselves."""

import inspect
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from search import study
from search.ledger import TrialRow
from search.search_config import SearchConfig
from tests.made_search import made_search

SECTION = Path("README.md").read_text(encoding="utf-8").split("## From Python", 1)[1].split("\n## ", 1)[0]
RUN_SEARCH = inspect.signature(study.run_search)


def made(*given: Any, **named: Any) -> list[TrialRow]:
    """Takes what `run_search` takes, and leaves a search in the folder that nobody ran."""
    asked = RUN_SEARCH.bind(*given, **named).arguments
    assert isinstance(asked["search"], SearchConfig)
    assert asked["search"].budget.trials == 2
    search = made_search(asked["folder"], 2)
    return study.rows_of(search, asked["folder"])


def test_the_readmes_block_searches_and_judges(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    space = {"optimizer.lr": {"loguniform": [1e-4, 1e-2]}}
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump({"base": {}, "space": space}))
    found = re.search(r"```python\n(.*?)```", SECTION, flags=re.DOTALL)
    assert found
    code = found[1].replace("configs/search/demo.yaml", "tiny.yaml")
    code = code.replace("data/phantom/CheXpert-v1.0-small", str(tree))
    monkeypatch.setattr(study, "run_search", made)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results").mkdir()
    names: dict[str, Any] = {}
    exec(compile(code, "README.md", "exec"), names)
    assert [row.number for row in names["rows"]] == [1, 2]
    assert capsys.readouterr().out.count("Estimate(value=") == 2


def test_functions_that_the_readme_names_are_there() -> None:
    named = re.findall(r"`((?:chex|search)\.[a-z_]+)\.([a-z_]+)\(", SECTION)
    assert len(named) == 3
    for module, name in named:
        assert hasattr(__import__(module, fromlist=[name]), name), name
