"""Runs whose copy is kept in a storage: what one node began, another goes on with."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from ray import tune

from chex import checkpoint
from chex.config import RunConfig
from chex.errors import InputError
from chex.relabel import TABLE
from search import home as homes
from search.bucket import Unreachable
from search.home import Contents, at_home, contents_of, scratch, with_local_tables, with_local_tree
from search.lease import Lease, Superseded, take
from search.ledger import complete
from search.trainable import HALT, train_trial

Make = Callable[..., RunConfig]


@pytest.fixture
def reported(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What a trial tells Tune, without Tune."""
    heard: list[dict[str, Any]] = []
    monkeypatch.setattr(tune, "report", heard.append)
    return heard


@pytest.fixture
def storage(tmp_path: Path) -> str:
    return (tmp_path / "storage" / "search").as_uri()


@pytest.fixture
def stored(storage: str) -> Lease:
    return take(storage)


@pytest.fixture
def trial(tmp_path: Path) -> dict[str, Any]:
    """A trial as the head hands it out: the folder is on the head's disk."""
    return {"number": 1, "knobs": {}, "folder": str(tmp_path / "head" / "search" / "trials" / "001")}


@pytest.fixture
def on_node(make_run: Make, tmp_path: Path) -> Callable[[str], dict[str, Any]]:
    """The base run on a node with a disk of its own."""
    return lambda name: make_run({"schedule.epochs": 4, "image.cache": str(tmp_path / name)}).model_dump(mode="json")


def test_a_trial_whose_node_is_gone_goes_on_elsewhere_from_the_report_that_it_told(
    on_node: Callable[[str], dict[str, Any]],
    reported: list[dict[str, Any]],
    trial: dict[str, Any],
    stored: Lease,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    copy = tmp_path / "storage" / "search" / "trials" / "001"

    def dies(row: dict[str, Any]) -> None:
        rows = pd.read_csv(copy / checkpoint.REPORTS)
        assert rows["percent"].iloc[-1] == row["percent"]  # in the storage before it is told
        reported.append(row)
        if row["percent"] == 50:
            raise ConnectionError

    with monkeypatch.context() as first:
        first.setattr(tune, "report", dies)
        with pytest.raises(ConnectionError):
            train_trial(trial, on_node("first"), share=0, stored=stored)
    before = list(reported)
    reported.clear()
    train_trial(trial, on_node("second"), share=0, stored=stored)
    assert [row["percent"] for row in reported] == [25, 50, 75, 100]
    assert reported[:2] == before
    assert {path.name for path in copy.iterdir()} == {*homes.KEPT} - {TABLE}
    assert not list(tmp_path.glob("*/trials/*/trials/001"))
    assert not (tmp_path / "head").exists()


def test_what_an_earlier_attempt_left_on_the_node_gives_way_to_the_copy(tmp_path: Path, stored: Lease) -> None:
    search = tmp_path / "head" / "search"
    copy, here = tmp_path / "storage" / "search" / "trials" / "001", scratch(stored.uri, tmp_path) / "trials" / "001"
    for folder, text in ((copy, "newer"), (here, "old")):
        folder.mkdir(parents=True)
        (folder / checkpoint.REPORTS).write_text(text)
    (here / checkpoint.STATE).touch()
    with at_home(search / "trials" / "001", search, stored, tmp_path) as home:
        assert home.folder == here
        assert (here / checkpoint.REPORTS).read_text() == "newer"
        assert not (here / checkpoint.STATE).exists()
    assert not here.exists()


@pytest.fixture
def table(tmp_path: Path) -> Callable[[str], tuple[Path, Contents, Path]]:
    """Writes the head's table of the policy forest, and its copy; gives the head's folder, contents and the copy."""
    search, copy = tmp_path / "head" / "search", tmp_path / "storage" / "search" / "tables" / "forest" / TABLE

    def write(text: str) -> tuple[Path, Contents, Path]:
        for path in (search / "tables" / "forest" / TABLE, copy):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return search, contents_of(with_table(search), search, None), copy

    return write


def with_table(search: Path) -> dict[str, Any]:
    return {"relabel": {"self_trained": "/lab/mine.csv", "forest": str(search / "tables" / "forest" / TABLE)}}


def test_tables_of_the_search_are_fetched_once_a_node_and_others_stay_where_they_are(
    tmp_path: Path, storage: str, table: Callable[[str], tuple[Path, Contents, Path]]
) -> None:
    search, contents, copy = table("Path\n")
    local = with_local_tables(with_table(search), search, storage, tmp_path, contents)["relabel"]
    assert local["self_trained"] == "/lab/mine.csv"
    assert Path(local["forest"]).is_relative_to(scratch(storage, tmp_path))
    copy.unlink()
    assert with_local_tables(with_table(search), search, storage, tmp_path, contents)["relabel"] == local
    assert Path(local["forest"]).read_text() == "Path\n"
    given = with_table(search)
    assert with_local_tables(given, search, None, tmp_path, contents) is given


def test_a_node_takes_no_table_of_an_earlier_search_of_the_same_name_nor_a_damaged_one(
    tmp_path: Path, storage: str, table: Callable[[str], tuple[Path, Contents, Path]]
) -> None:
    search, contents, _ = table("Path,Edema\nold,0.1\n")
    with_local_tables(with_table(search), search, storage, tmp_path, contents)
    search, contents, copy = table("Path,Edema\nnew,0.9\n")  # after --fresh
    local = with_local_tables(with_table(search), search, storage, tmp_path, contents)["relabel"]["forest"]
    assert Path(local).read_text() == "Path,Edema\nnew,0.9\n"
    Path(local).write_text("Path,Ed")
    with_local_tables(with_table(search), search, storage, tmp_path, contents)
    assert Path(local).read_text() == "Path,Edema\nnew,0.9\n"
    Path(local).unlink()
    copy.write_text("another search's")
    with pytest.raises(InputError) as refused:
        with_local_tables(with_table(search), search, storage, tmp_path, contents)
    assert str(refused.value) == (
        f"{copy.as_uri()} is not the table that this search made; look which other search writes there, and go on with "
        "`chex-search resume`"
    )


@pytest.mark.parametrize("whole", [True, False])
def test_a_node_that_staged_a_tree_before_it_changed_stages_it_anew_beside_the_old_one(
    tree: Path, tmp_path: Path, whole: bool
) -> None:
    given, source = {"data": {"root": str(tree)}, "relabel": {}}, tree.as_uri()
    before = with_local_tree(given, source, tmp_path, whole, contents_of(given, tmp_path, source).tree)["data"]["root"]
    table = (tree / "train.csv").read_text().splitlines(keepends=True)
    (tree / "train.csv").write_text("".join(table[:-1]))
    contents = contents_of(given, tmp_path, source)
    after = with_local_tree(given, source, tmp_path, whole, contents.tree)["data"]["root"]
    assert (Path(before) / "train.csv").read_text() == "".join(table)
    assert (Path(after) / "train.csv").read_text() == "".join(table[:-1])
    assert with_local_tree(given, source, tmp_path, whole, contents.tree)["data"]["root"] == after


def test_a_tree_that_has_changed_since_the_head_read_it_is_refused_until_it_is_as_it_was(
    tree: Path, tmp_path: Path
) -> None:
    given, source = {"data": {"root": str(tree)}, "relabel": {}}, tree.as_uri()
    digest, table = contents_of(given, tmp_path, source).tree, (tree / "train.csv").read_text()
    (tree / "train.csv").write_text(table + "\n")
    said = (
        r"CheXpert-v1.0-small: its train.csv or valid.csv \(SHA-256 \w+...\) is not what the head of this search has "
        rf"read \({digest[:8]}...\); give a changed tree an address of its own, or remove the head's copy, {tree}, and "
        "begin the search anew with --fresh"
    )
    for _ in range(2):
        with pytest.raises(InputError, match=said):
            with_local_tree(given, source, tmp_path, False, digest)
    (tree / "train.csv").write_text(table)
    with_local_tree(given, source, tmp_path, False, digest)


def test_a_storage_that_cannot_be_reached_halts_the_search_and_is_not_the_trials_failure(
    on_node: Callable[[str], dict[str, Any]],
    reported: list[dict[str, Any]],
    trial: dict[str, Any],
    stored: Lease,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def gone(*how: object, **more: object) -> int:
        raise Unreachable("gs://films", "its store cannot be reached", "check the network")

    monkeypatch.setattr(homes, "push", gone)
    train_trial(trial, on_node("first"), share=0, stored=stored)
    assert [row[HALT] for row in reported] == ["gs://films: its store cannot be reached; check the network"]


def test_a_trial_of_a_head_that_is_superseded_writes_nothing_into_the_storage_and_says_why(
    tmp_path: Path, storage: str, stored: Lease
) -> None:
    search = tmp_path / "head" / "search"
    with at_home(search / "trials" / "001", search, stored, tmp_path) as home:
        (home.folder / checkpoint.STATE).write_text("1")
        home.keep()
        for name in (checkpoint.STATE, checkpoint.REPORTS):
            (home.folder / name).write_text("of the old head")
        take(storage)
        with pytest.raises(Superseded, match="goes on with this search since"):
            home.keep()
    copy = tmp_path / "storage" / "search" / "trials" / "001"
    assert [path.name for path in copy.iterdir()] == [checkpoint.STATE]
    assert (copy / checkpoint.STATE).read_text() == "1"
    with pytest.raises(Superseded), at_home(search / "trials" / "002", search, stored, tmp_path):
        raise AssertionError


def test_a_run_that_is_complete_in_the_storage_is_told_and_not_trained(
    on_node: Callable[[str], dict[str, Any]], reported: list[dict[str, Any]], trial: dict[str, Any], stored: Lease
) -> None:
    train_trial(trial, on_node("first"), share=0, stored=stored)
    before = list(reported)
    reported.clear()
    train_trial(trial, on_node("second"), share=0, stored=stored)
    assert reported == before
    assert complete(reported[-1])


def test_a_tree_with_a_source_is_staged_on_the_node_that_trains_on_it(
    on_node: Callable[[str], dict[str, Any]],
    reported: list[dict[str, Any]],
    trial: dict[str, Any],
    stored: Lease,
    tree: Path,
    tmp_path: Path,
) -> None:
    base = on_node("first")
    base["data"]["root"] = "/head/has/it/here"
    train_trial(trial, base, share=0, stored=stored, source=tree.as_uri())
    assert [row["percent"] for row in reported] == [25, 50, 75, 100]
    (staged,) = (tmp_path / "first" / "stage").glob("*/train.csv")
    assert staged.read_bytes() == (tree / "train.csv").read_bytes()
