"""`chex-search list`: of a folder, and of a storage."""

import json
import shutil
from pathlib import Path

import pytest
from rich.console import Console

from search.command import main
from search.listing import HEADS, as_table, listed
from tests.made_search import made_search


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two searches, one that cannot be read and a folder that is none."""
    found = tmp_path_factory.mktemp("results")
    made_search(found / "first", 5)
    made_search(found / "second", 3, root=Path("/data/[tree]"))
    (found / "damaged").mkdir()
    (found / "damaged" / "search.yaml").write_text("space: 3\n")
    (found / "run-best").mkdir()
    return found


def test_each_search_is_listed_with_how_it_stands(results: Path) -> None:
    damaged, first, second = listed(str(results))
    assert (first.name, first.state, first.ended, first.trials) == ("first", "ended", 5, 5)
    assert first.best_auroc is not None
    assert 0.5 < first.best_auroc < 1
    assert first.data == str(Path("CheXpert-v1.0-small").absolute())
    assert first.started
    assert first.updated
    assert first.started <= first.updated
    assert second.data == "/data/[tree]"
    assert (damaged.state, damaged.ended, damaged.best_auroc) == ("unreadable", 0, None)
    assert "search.yaml" in damaged.told


def test_piped_it_is_a_line_each_with_tabs(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--results", str(results)]) == 0
    head, *rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert tuple(head) == HEADS
    assert [row[0] for row in rows] == ["damaged", "first", "second"]
    assert {len(row) for row in rows} == {len(HEADS)}
    assert rows[1][1:3] == ["ended", "5/5"]


def test_on_a_terminal_it_is_a_table_that_takes_names_as_they_are(results: Path) -> None:
    console = Console(width=160)
    with console.capture() as shown:
        console.print(as_table(listed(str(results))))
    assert "/data/[tree]" in shown.get()


def test_for_programs_it_is_json(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--results", str(results), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [each["name"] for each in found] == ["damaged", "first", "second"]
    names = {"name", "state", "told", "ended", "trials", "best_auroc", "started", "updated", "data"}
    assert all(set(each) == names for each in found)


def test_a_storage_is_listed_without_bringing_its_searches(results: Path, tmp_path: Path) -> None:
    storage = tmp_path / "storage"
    shutil.copytree(results, storage)
    (storage / ".images").mkdir()
    found = listed(storage.as_uri())
    assert [each.name for each in found] == ["damaged", "first", "second"]
    assert found[1].best_auroc == listed(str(results))[1].best_auroc
    assert found[1].updated


def test_a_folder_without_searches_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--results", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"{tmp_path} holds no searches\n"


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--results", str(tmp_path / "none")]) == 2
    told = f"--results {tmp_path / 'none'}: there is no such folder; give the folder or the URI that holds searches"
    assert capsys.readouterr().err == f"chex-search list: {told}\n"
