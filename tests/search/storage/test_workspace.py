"""Runs whose copy is kept in a storage: what one node began, another goes on with."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from ray import tune

from chex.config import RunConfig
from chex.errors import InputError
from chex.runtime import run_folder
from chex.uncertainty.probability_tables import TABLE
from search.engine.trainable import run_trial
from search.storage import workspace as homes
from search.storage.lease import Lease, LeaseLost, take_lease
from search.storage.uri import Unreachable
from search.storage.workspace import (
    HeadDigests,
    head_digests,
    open_workspace,
    scratch_folder,
    with_local_dataset,
    with_local_tables,
)
from search.trials.trial import HALT, is_complete

Make = Callable[..., RunConfig]


@pytest.fixture
def storage(tmp_path: Path) -> str:
    return (tmp_path / "storage" / "search").as_uri()


@pytest.fixture
def stored(storage: str) -> Lease:
    return take_lease(storage)


@pytest.fixture
def trial(tmp_path: Path) -> Path:
    """The folder of a trial, on the head's disk."""
    return tmp_path / "head" / "search" / "trials" / "001"


@pytest.fixture
def on_node(make_run: Make, tmp_path: Path) -> Callable[[str], dict[str, Any]]:
    """The base run on a node with a disk of its own."""
    return lambda name: make_run({"schedule.epochs": 4, "image.cache_dir": str(tmp_path / name)}).model_dump(
        mode="json"
    )


def test_a_trial_of_a_lost_node_resumes_elsewhere_after_its_last_report(
    on_node: Callable[[str], dict[str, Any]],
    reported: list[dict[str, Any]],
    trial: Path,
    stored: Lease,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    copy = tmp_path / "storage" / "search" / "trials" / "001"

    def dies(row: dict[str, Any]) -> None:
        rows = pd.read_csv(copy / run_folder.REPORTS)
        assert rows["percent"].iloc[-1] == row["percent"]  # in the storage before it is told
        reported.append(row)
        if row["percent"] == 50:
            raise ConnectionError

    with monkeypatch.context() as first:
        first.setattr(tune, "report", dies)
        with pytest.raises(ConnectionError):
            run_trial({}, trial, on_node("first"), share=0, lease=stored)
    before = list(reported)
    reported.clear()
    run_trial({}, trial, on_node("second"), share=0, lease=stored)
    assert [row["percent"] for row in reported] == [25, 50, 75, 100]
    assert reported[:2] == before
    assert {path.name for path in copy.iterdir()} == {*homes.SYNCED_FILES} - {TABLE}
    assert not list(tmp_path.glob("*/trials/*/trials/001"))
    assert not (tmp_path / "head").exists()


def test_files_of_an_earlier_attempt_on_the_node_are_replaced_by_the_copy(tmp_path: Path, stored: Lease) -> None:
    search = tmp_path / "head" / "search"
    copy, here = (
        tmp_path / "storage" / "search" / "trials" / "001",
        scratch_folder(stored.uri, tmp_path) / "trials" / "001",
    )
    for folder, text in ((copy, "newer"), (here, "old")):
        folder.mkdir(parents=True)
        (folder / run_folder.REPORTS).write_text(text)
    (here / run_folder.STATE).touch()
    with open_workspace(search / "trials" / "001", search, stored, tmp_path) as workspace:
        assert workspace.folder == here
        assert (here / run_folder.REPORTS).read_text() == "newer"
        assert not (here / run_folder.STATE).exists()
    assert not here.exists()


@pytest.fixture
def table(tmp_path: Path) -> Callable[[str], tuple[Path, HeadDigests, Path]]:
    """Writes the head's table of the policy forest, and its copy; gives the head's folder, digests and the copy."""
    search, copy = tmp_path / "head" / "search", tmp_path / "storage" / "search" / "tables" / "forest" / TABLE

    def write(text: str) -> tuple[Path, HeadDigests, Path]:
        for path in (search / "tables" / "forest" / TABLE, copy):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return search, head_digests(with_table(search), search, None), copy

    return write


def with_table(search: Path) -> dict[str, Any]:
    return {"relabel": {"self_trained": "/lab/mine.csv", "forest": str(search / "tables" / "forest" / TABLE)}}


def test_tables_of_the_search_are_fetched_once_per_node_and_other_tables_are_not(
    tmp_path: Path, storage: str, table: Callable[[str], tuple[Path, HeadDigests, Path]]
) -> None:
    search, digests, copy = table("Path\n")
    local = with_local_tables(with_table(search), search, storage, tmp_path, digests)["relabel"]
    assert local["self_trained"] == "/lab/mine.csv"
    assert Path(local["forest"]).is_relative_to(scratch_folder(storage, tmp_path))
    copy.unlink()
    assert with_local_tables(with_table(search), search, storage, tmp_path, digests)["relabel"] == local
    assert Path(local["forest"]).read_text() == "Path\n"
    settings = with_table(search)
    assert with_local_tables(settings, search, None, tmp_path, digests) is settings


def test_a_node_uses_neither_an_earlier_searchs_table_nor_a_damaged_one(
    tmp_path: Path, storage: str, table: Callable[[str], tuple[Path, HeadDigests, Path]]
) -> None:
    search, digests, _ = table("Path,Edema\nold,0.1\n")
    with_local_tables(with_table(search), search, storage, tmp_path, digests)
    search, digests, copy = table("Path,Edema\nnew,0.9\n")  # after --overwrite
    local = with_local_tables(with_table(search), search, storage, tmp_path, digests)["relabel"]["forest"]
    assert Path(local).read_text() == "Path,Edema\nnew,0.9\n"
    Path(local).write_text("Path,Ed")
    with_local_tables(with_table(search), search, storage, tmp_path, digests)
    assert Path(local).read_text() == "Path,Edema\nnew,0.9\n"
    Path(local).unlink()
    copy.write_text("another search's")
    with pytest.raises(InputError) as refused:
        with_local_tables(with_table(search), search, storage, tmp_path, digests)
    assert str(refused.value) == (
        f"{copy.as_uri()} is not the table that this search made; find out which other search writes there, then use "
        "`chex-search resume`"
    )


@pytest.mark.parametrize("whole", [True, False])
def test_a_changed_dataset_is_staged_again_beside_the_old_one(tree: Path, tmp_path: Path, whole: bool) -> None:
    settings, source = {"data": {"root": str(tree)}, "relabel": {}}, tree.as_uri()
    before = with_local_dataset(settings, source, tmp_path, whole, head_digests(settings, tmp_path, source).dataset)[
        "data"
    ]["root"]
    table = (tree / "train.csv").read_text().splitlines(keepends=True)
    (tree / "train.csv").write_text("".join(table[:-1]))
    digests = head_digests(settings, tmp_path, source)
    after = with_local_dataset(settings, source, tmp_path, whole, digests.dataset)["data"]["root"]
    assert (Path(before) / "train.csv").read_text() == "".join(table)
    assert (Path(after) / "train.csv").read_text() == "".join(table[:-1])
    assert with_local_dataset(settings, source, tmp_path, whole, digests.dataset)["data"]["root"] == after


def test_a_dataset_that_differs_from_the_heads_is_refused_until_it_is_restored(tree: Path, tmp_path: Path) -> None:
    settings, source = {"data": {"root": str(tree)}, "relabel": {}}, tree.as_uri()
    digest, table = head_digests(settings, tmp_path, source).dataset, (tree / "train.csv").read_text()
    (tree / "train.csv").write_text(table + "\n")
    message = (
        r"CheXpert-v1.0-small: its train.csv or valid.csv \(SHA-256 \w+...\) is not what the head of this search has "
        rf"read \({digest[:8]}...\); give a changed dataset another address, or remove the head's copy, {tree}, and "
        "start the search over with --overwrite"
    )
    for _ in range(2):
        with pytest.raises(InputError, match=message):
            with_local_dataset(settings, source, tmp_path, False, digest)
    (tree / "train.csv").write_text(table)
    with_local_dataset(settings, source, tmp_path, False, digest)


def test_an_unreachable_storage_halts_the_search_and_does_not_fail_the_trial(
    on_node: Callable[[str], dict[str, Any]],
    reported: list[dict[str, Any]],
    trial: Path,
    stored: Lease,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def gone(*how: object, **more: object) -> int:
        raise Unreachable("gs://images", "its storage cannot be reached", "check the network")

    monkeypatch.setattr(homes, "push", gone)
    run_trial({}, trial, on_node("first"), share=0, lease=stored)
    assert [row[HALT] for row in reported] == ["gs://images: its storage cannot be reached; check the network"]


def test_a_trial_whose_head_lost_the_lease_writes_nothing_and_says_why(
    tmp_path: Path, storage: str, stored: Lease
) -> None:
    search = tmp_path / "head" / "search"
    with open_workspace(search / "trials" / "001", search, stored, tmp_path) as workspace:
        (workspace.folder / run_folder.STATE).write_text("1")
        workspace.sync()
        for name in (run_folder.STATE, run_folder.REPORTS):
            (workspace.folder / name).write_text("of the old head")
        take_lease(storage)
        with pytest.raises(LeaseLost, match="has taken over this search"):
            workspace.sync()
    copy = tmp_path / "storage" / "search" / "trials" / "001"
    assert [path.name for path in copy.iterdir()] == [run_folder.STATE]
    assert (copy / run_folder.STATE).read_text() == "1"
    with pytest.raises(LeaseLost), open_workspace(search / "trials" / "002", search, stored, tmp_path):
        raise AssertionError


def test_a_run_that_is_complete_in_the_storage_is_reported_and_not_trained(
    on_node: Callable[[str], dict[str, Any]], reported: list[dict[str, Any]], trial: Path, stored: Lease
) -> None:
    run_trial({}, trial, on_node("first"), share=0, lease=stored)
    before = list(reported)
    reported.clear()
    run_trial({}, trial, on_node("second"), share=0, lease=stored)
    assert reported == before
    assert is_complete(reported[-1])


def test_a_dataset_with_a_uri_is_staged_on_the_training_node(
    on_node: Callable[[str], dict[str, Any]],
    reported: list[dict[str, Any]],
    trial: Path,
    stored: Lease,
    tree: Path,
    tmp_path: Path,
) -> None:
    base = on_node("first")
    base["data"]["root"] = "/head/has/it/here"
    run_trial({}, trial, base, share=0, lease=stored, data_uri=tree.as_uri())
    assert [row["percent"] for row in reported] == [25, 50, 75, 100]
    (staged,) = (tmp_path / "first" / "stage").glob("*/train.csv")
    assert staged.read_bytes() == (tree / "train.csv").read_bytes()
