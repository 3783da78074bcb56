"""`chex-search list` for a folder and for a storage."""

import json
import shutil
from pathlib import Path

import pytest
from rich.console import Console

from search.command import main
from search.monitor.list_searches import COLUMNS, as_table, list_searches
from tests.made_search import made_search


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two searches, an unreadable one and a folder without a search."""
    summaries = tmp_path_factory.mktemp("results")
    made_search(summaries / "first", 5)
    made_search(summaries / "second", 3, root=Path("/data/[tree]"))
    (summaries / "damaged").mkdir()
    (summaries / "damaged" / "search.yaml").write_text("space: 3\n")
    (summaries / "run-best").mkdir()
    return summaries


def test_each_search_is_listed_with_its_state(results: Path) -> None:
    damaged, first, second = list_searches(str(results))
    assert (first.name, first.state, first.ended, first.trials) == ("first", "ended", 5, 5)
    assert first.best_auroc is not None
    assert 0.5 < first.best_auroc < 1
    assert first.data == str(Path("CheXpert-v1.0-small").absolute())
    assert first.started
    assert first.updated
    assert first.started <= first.updated
    assert second.data == "/data/[tree]"
    assert (damaged.state, damaged.ended, damaged.best_auroc) == ("unreadable", 0, None)
    assert "search.yaml" in damaged.message


def test_a_pipe_gets_tab_separated_lines(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--results", str(results)]) == 0
    header, *rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert tuple(header) == COLUMNS
    assert [row[0] for row in rows] == ["damaged", "first", "second"]
    assert {len(row) for row in rows} == {len(COLUMNS)}
    assert rows[1][1:3] == ["ended", "5/5"]


def test_a_terminal_gets_a_table_with_names_unchanged(results: Path) -> None:
    console = Console(width=160)
    with console.capture() as captured:
        console.print(as_table(list_searches(str(results))))
    assert "/data/[tree]" in captured.get()


def test_programs_get_json(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--results", str(results), "--json"]) == 0
    summaries = json.loads(capsys.readouterr().out)
    assert [each["name"] for each in summaries] == ["damaged", "first", "second"]
    names = {"name", "state", "message", "ended", "trials", "best_auroc", "started", "updated", "data"}
    assert all(set(each) == names for each in summaries)


def test_a_storage_is_listed_without_downloading_its_searches(results: Path, tmp_path: Path) -> None:
    storage = tmp_path / "storage"
    shutil.copytree(results, storage)
    (storage / ".images").mkdir()
    summaries = list_searches(storage.as_uri())
    assert [each.name for each in summaries] == ["damaged", "first", "second"]
    assert summaries[1].best_auroc == list_searches(str(results))[1].best_auroc
    assert summaries[1].updated


def test_a_folder_without_searches_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--results", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"{tmp_path} holds no searches\n"


def test_a_missing_folder_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--results", str(tmp_path / "none")]) == 2
    message = f"--results {tmp_path / 'none'}: no such folder; give the folder or the URI that contains searches"
    assert capsys.readouterr().err == f"chex-search list: {message}\n"
