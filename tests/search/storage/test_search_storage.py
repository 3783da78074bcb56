"""A search's folder in a storage on this disk: in which order things get there, and how they come back."""

import shutil
import socket
import threading
from pathlib import Path

import pytest

from chex.errors import InputError
from chex.runtime import run_folder
from chex.runtime.output_folder import MARK
from search.config.search_config import SearchConfig
from search.storage import lease
from search.storage import search_storage as stores
from search.storage.lease import LEASE_FOLDER, take_lease
from search.storage.remote_path import RemotePath
from search.storage.search_storage import LeaseLost, SearchStorage, check_storage, delete_remote, sync_search
from search.storage.uri import Unreachable
from search.trials.layout import CONFIG, STUDY
from search.trials.study_store import StudyStore

SEARCH = SearchConfig.model_validate({"base": {}, "space": {"optimizer.lr": {"loguniform": [1e-4, 1e-1]}}})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    home = tmp_path / "results" / "demo"
    (home / "trials" / "001").mkdir(parents=True)
    (home / CONFIG).write_text("search")
    return home


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    home = tmp_path / "storage" / "demo"
    (home / "trials" / "001").mkdir(parents=True)
    return home


@pytest.fixture
def book(folder: Path) -> StudyStore:
    return StudyStore(folder, SEARCH.search_space())


def rows_in(home: Path) -> list[str]:
    found = StudyStore(home, SEARCH.search_space())
    states = [row.state for row in found.trials()]
    found.close()
    return list(states)


def test_a_trials_state_is_removed_only_after_the_study_that_records_its_end(
    folder: Path, copy: Path, book: StudyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    state, order = copy / "trials" / "001" / run_folder.STATE, list[tuple[str, bool]]()
    state.touch()
    write = RemotePath.write

    def recorded(remote: RemotePath, content: bytes) -> None:
        write(remote, content)
        order.append((Path(remote.path).name, state.exists()))

    monkeypatch.setattr(RemotePath, "write", recorded)
    stored = SearchStorage(folder, copy.as_uri())
    number = book.create_trial({"optimizer.lr": 1e-3})
    stored.sync()
    assert state.exists()
    assert rows_in(copy) == ["pending"]
    book.add_report(number, 1, {"percent": 100, "best_auroc": 0.8})
    book.finish_trial(number, "finished", 0.8)
    (folder / "best.yaml").write_text("its winner")
    stored.sync()
    assert not state.exists()
    assert rows_in(copy) == ["finished"]
    assert [each for each in order if each[0] != "000001.json"] == [
        (CONFIG, True),
        (STUDY, True),
        ("best.yaml", True),
        (STUDY, True),
    ]


def test_files_that_trials_sync_and_foreign_files_are_left_alone(folder: Path, copy: Path, book: StudyStore) -> None:
    for name in ("trials/001/reports.csv", "trials/001/state.earlier.pt", "tune/x", "confirm/search.yaml", "a.lock"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
    (folder / "trials" / "001" / "events.out.tfevents.1").touch()
    SearchStorage(folder, copy.as_uri()).sync()
    found = {str(path.relative_to(copy)) for path in copy.rglob("*") if path.is_file()}
    assert found == {CONFIG, STUDY, f"{LEASE_FOLDER}/000001.json", "trials/001/events.out.tfevents.1"}


def test_an_ended_trial_is_downloaded_without_its_state(folder: Path, copy: Path) -> None:
    for name in (run_folder.REPORTS, run_folder.STATE, run_folder.WEIGHTS):
        (copy / "trials" / "001" / name).write_text(name)
    stored, here = SearchStorage(folder, copy.as_uri()), folder / "trials" / "001"
    stored.download("trials/001", weights=False)
    assert {path.name for path in here.iterdir()} == {run_folder.REPORTS, ".mirror.json"}
    stored.download("trials/001")
    assert (here / run_folder.WEIGHTS).read_text() == run_folder.WEIGHTS
    assert not (here / run_folder.STATE).exists()


def test_changes_are_synced_soon_and_the_last_ones_at_the_end_of_the_block(
    folder: Path, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stores, "SYNC_SECONDS", 0.01)
    sent, keep = threading.Event(), SearchStorage.sync

    def recorded(stored: SearchStorage) -> None:
        keep(stored)
        if (copy / "new").exists():
            sent.set()

    with sync_search(folder, copy.as_uri()) as stored:
        assert stored
        assert (copy / CONFIG).exists()
        monkeypatch.setattr(SearchStorage, "sync", recorded)
        (folder / "new").touch()
        stored.request_sync()
        assert sent.wait(30)
        (folder / "last").touch()
    assert (copy / "last").exists()
    with sync_search(folder, None) as nothing:
        assert nothing is None


def test_a_name_that_exists_in_the_storage_is_refused_before_anything_is_written(
    folder: Path, copy: Path, tmp_path: Path
) -> None:
    SearchStorage(folder, copy.as_uri()).sync()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError, match=r"storage/demo already holds a search; resume it with `chex-search resume f"):
        check_storage(tmp_path / "new", copy.as_uri(), overwrite=False)
    check_storage(tmp_path / "new", copy.as_uri(), overwrite=True)
    check_storage(folder, copy.as_uri(), overwrite=False)
    check_storage(folder, None, overwrite=False)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_machine_that_lost_its_search_writes_nothing_and_names_the_other_one(
    folder: Path, copy: Path, book: StudyStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = SearchStorage(folder, copy.as_uri())
    first.sync()
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(folder, elsewhere)
    check_storage(elsewhere, copy.as_uri(), overwrite=False)
    monkeypatch.setattr(socket, "gethostname", lambda: "second")
    SearchStorage(elsewhere, copy.as_uri())
    book.create_trial({"optimizer.lr": 1e-3})
    output = (
        f"{copy.as_uri()}: second has taken over this search; this machine no longer runs it; follow it on that machine"
    )
    with pytest.raises(LeaseLost) as refused:
        first.sync()
    assert str(refused.value) == output
    with pytest.raises(LeaseLost):
        first.request_sync()
    assert rows_in(copy) == []
    with pytest.raises(InputError) as behind:
        check_storage(folder, copy.as_uri(), overwrite=False)
    assert str(behind.value) == (
        f"{folder} is behind {copy.as_uri()}, which second has continued; move the folder away, and resume from "
        f"the storage: `chex-search resume {copy.as_uri()}`"
    )


def test_a_machine_interrupted_during_a_takeover_is_not_behind_until_another_one_syncs(
    folder: Path, copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = SearchStorage(folder, copy.as_uri())
    first.sync()

    def cut(uri: str, content: bytes) -> bool:
        raise Unreachable(uri, "its storage cannot be reached", "check the network")

    with monkeypatch.context() as away:
        away.setattr(lease, "create_if_absent", cut)
        with pytest.raises(Unreachable):
            SearchStorage(folder, copy.as_uri())
    check_storage(folder, copy.as_uri(), overwrite=False)
    take_lease(copy.as_uri())
    with pytest.raises(InputError, match="is behind"):
        check_storage(folder, copy.as_uri(), overwrite=False)


def test_a_copy_from_before_the_last_sync_is_behind(folder: Path, copy: Path, tmp_path: Path) -> None:
    first = SearchStorage(folder, copy.as_uri())
    first.sync()
    shutil.copytree(folder, tmp_path / "fetched")
    first.sync()
    check_storage(folder, copy.as_uri(), overwrite=False)
    with pytest.raises(InputError, match=r"fetched is behind file:"):
        check_storage(tmp_path / "fetched", copy.as_uri(), overwrite=False)


def test_a_search_that_lost_its_lease_ends_at_its_next_report(
    folder: Path, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stores, "SYNC_SECONDS", 0.01)

    def reports_for_ever() -> None:
        with sync_search(folder, copy.as_uri()) as stored:
            assert stored
            take_lease(copy.as_uri())
            while True:
                stored.request_sync()

    with pytest.raises(LeaseLost):
        reports_for_ever()


@pytest.mark.parametrize(("name", "left"), [("report.txt", {"best.yaml"}), ("", set[str]())])
def test_one_file_or_all_files_are_deleted(copy: Path, name: str, left: set[str]) -> None:
    for each in ("report.txt", "best.yaml", *([] if name else [CONFIG])):
        (copy / each).touch()
    delete_remote(copy.as_uri(), name)
    delete_remote(None)
    assert {path.name for path in copy.rglob("*") if path.is_file() and path.parent.name != LEASE_FOLDER} == left


def test_a_search_that_another_machine_starts_over_writes_nothing_into_it(folder: Path, copy: Path) -> None:
    first = SearchStorage(folder, copy.as_uri())
    first.sync()
    delete_remote(copy.as_uri())
    (folder / "best.yaml").write_text("of the first")
    with pytest.raises(LeaseLost):
        first.sync()
    assert not [path for path in copy.rglob("*") if path.is_file() and path.parent.name != LEASE_FOLDER]


def test_a_head_that_loses_its_lease_during_a_push_stops_before_the_next_file(
    folder: Path, copy: Path, book: StudyStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = SearchStorage(folder, copy.as_uri())
    first.sync()
    shutil.copytree(folder, tmp_path / "elsewhere")
    (folder / "a.txt").touch()
    book.create_trial({"optimizer.lr": 1e-3})
    write, second = RemotePath.write, list[SearchStorage]()

    def taken_over(remote: RemotePath, content: bytes) -> None:
        write(remote, content)
        if remote.path.endswith("a.txt"):
            second.append(SearchStorage(tmp_path / "elsewhere", copy.as_uri()))

    monkeypatch.setattr(RemotePath, "write", taken_over)
    with pytest.raises(LeaseLost):
        first.sync()
    assert rows_in(copy) == []
    second[0].sync()
    with pytest.raises(InputError, match="is behind"):
        check_storage(folder, copy.as_uri(), overwrite=False)
    check_storage(tmp_path / "elsewhere", copy.as_uri(), overwrite=False)


def test_a_takeover_during_a_sync_of_the_previous_machine_is_behind(
    folder: Path, copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, elsewhere = SearchStorage(folder, copy.as_uri()), tmp_path / "elsewhere"
    first.sync()
    shutil.copytree(folder, elsewhere)
    ask = lease.create_if_absent

    def keeps_first(uri: str, content: bytes) -> bool:
        first.sync()
        return ask(uri, content)

    monkeypatch.setattr(lease, "create_if_absent", keeps_first)
    for _ in range(2):
        with pytest.raises(InputError, match="elsewhere is behind file:"):
            SearchStorage(elsewhere, copy.as_uri())
    with pytest.raises(LeaseLost):
        first.sync()


def test_a_storage_without_conditional_writes_is_reported_before_a_search_starts(
    copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    check_storage(tmp_path / "new", copy.as_uri(), overwrite=True)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(
        stores, "why_no_conditional_writes", lambda uri: "its file system makes no links (Not supported)"
    )
    check_storage(tmp_path / "new", copy.as_uri(), overwrite=True)
    assert capsys.readouterr().err == (
        f"{copy.as_uri()}: its file system makes no links (Not supported); two machines that resume a search at the "
        "same moment may both run it until one of them syncs: resume a search on one machine only\n"
    )


def test_a_folder_that_is_not_a_search_is_not_deleted(folder: Path, copy: Path) -> None:
    (copy / "thesis.tex").write_text("mine")
    message = (
        r"storage/demo holds files that do not belong to a search \(no search.yaml; first thesis.tex\), and "
        "--overwrite does not delete them; give the search another --name or --storage"
    )
    with pytest.raises(InputError, match=message):
        check_storage(folder, copy.as_uri(), overwrite=True)
    with pytest.raises(InputError, match=message):
        delete_remote(copy.as_uri())
    assert [path.name for path in copy.rglob("*") if path.is_file()] == ["thesis.tex"]


def test_a_search_with_only_its_mark_or_a_lease_is_deleted(copy: Path) -> None:
    for name in (MARK, "driver/000001.json"):
        (copy / name).parent.mkdir(exist_ok=True)
        (copy / name).write_text('{"host": "h", "token": "t"}')
        check_storage(copy, copy.as_uri(), overwrite=True)
        (copy / name).unlink()
