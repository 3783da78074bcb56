import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import torch

from chex.config import RunConfig
from chex.errors import InputError
from chex.models.checkpoint import load_weights, read_state
from chex.runtime.run_folder import PREDICTIONS, PREVIOUS_STATE, PROBABILITIES, STATE, WEIGHTS
from chex.training.run_data import load_run_data
from chex.training.run_tables import load_run_tables
from chex.training.trainer import fit
from search.storage import sync
from search.storage.remote_path import RemotePath, connect
from search.storage.sync import SYNC_STATE, pull, push
from search.storage.uri import Unreachable

Where = Callable[[str], str]
Make = Callable[..., RunConfig]
TWO_ROUNDS = ({"epochs": 2}, {"epochs": 2})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A results folder with something of everything."""
    home = tmp_path / "one"
    (home / "trials" / "001").mkdir(parents=True)
    (home / "search.yaml").write_text("a: 1")
    (home / "search.lock").touch()
    (home / "trials" / "001" / STATE).write_text("state 1")
    (home / "trials" / "001" / ".best.safetensors.77.part").write_text("half")
    return home


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != SYNC_STATE
    }


def test_a_pushed_folder_is_pulled_without_locks_and_partial_files(folder: Path, bucket: Where, tmp_path: Path) -> None:
    assert push(folder, bucket("r")) == 2
    assert pull(bucket("r"), tmp_path / "two") == 2
    assert files(tmp_path / "two") == {"search.yaml": b"a: 1", f"trials/001/{STATE}": b"state 1"}


def test_only_changed_files_are_pushed_and_pulled(folder: Path, bucket: Where, tmp_path: Path) -> None:
    push(folder, bucket("r"))
    pull(bucket("r"), tmp_path / "two")
    assert (push(folder, bucket("r")), pull(bucket("r"), tmp_path / "two")) == (0, 0)
    (folder / "search.yaml").write_text("a: 2")
    (folder / "report.txt").write_text("done")
    assert (push(folder, bucket("r")), pull(bucket("r"), tmp_path / "two")) == (2, 2)
    assert files(tmp_path / "two")["search.yaml"] == b"a: 2"
    assert push(tmp_path / "two", bucket("r")) == 0


def test_files_removed_on_one_side_are_removed_on_the_other_and_foreign_files_stay(
    folder: Path, bucket: Where, tmp_path: Path
) -> None:
    push(folder, bucket("r"))
    pull(bucket("r"), tmp_path / "two")
    (connect(bucket("r")) / "trials/002/reports.csv").write(b"of another machine")
    (folder / "trials" / "001" / STATE).unlink()
    assert push(folder, bucket("r")) == 1
    assert list(connect(bucket("r")).entries()) == ["search.yaml", "trials/002/reports.csv"]
    (tmp_path / "two" / "mine").touch()
    pull(bucket("r"), tmp_path / "two")
    assert sorted(files(tmp_path / "two")) == ["mine", "search.yaml", "trials/002/reports.csv"]


def test_files_of_the_machine_that_continued_win(folder: Path, bucket: Where, tmp_path: Path) -> None:
    two, state = tmp_path / "two", Path("trials") / "001" / STATE
    push(folder, bucket("r"))
    (folder / state).write_text("state 2, which never went up")
    assert pull(bucket("r"), folder) == 0
    assert (folder / state).read_text() == "state 2, which never went up"
    pull(bucket("r"), two)
    (two / state).write_text("state 2 of the other")
    push(two, bucket("r"))
    assert pull(bucket("r"), folder) == 1
    assert (folder / state).read_text() == "state 2 of the other"


def test_pulling_from_an_empty_storage_changes_nothing(folder: Path, bucket: Where) -> None:
    before = files(folder)
    assert pull(bucket("nowhere"), folder) == 0
    assert files(folder) == before


def test_a_part_of_a_folder_can_be_synced(folder: Path, bucket: Where) -> None:
    assert push(folder, bucket("r"), lambda name: not name.startswith("trials/")) == 1
    assert list(connect(bucket("r")).entries()) == ["search.yaml"]
    assert push(folder, bucket("r")) == 1
    assert push(folder, bucket("r"), lambda name: not name.startswith("trials/")) == 0
    assert len(connect(bucket("r")).entries()) == 2


def test_the_state_is_uploaded_last_and_removed_first(
    folder: Path, bucket: Where, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, order = folder / "trials" / "001", list[str]()
    for name in (PREVIOUS_STATE, WEIGHTS, PREDICTIONS, PROBABILITIES, "reports.csv", "zzz"):
        (home / name).write_text(name)
    write, remove = RemotePath.write, RemotePath.remove
    monkeypatch.setattr(RemotePath, "write", lambda remote, what: (order.append(remote.path), write(remote, what)))
    monkeypatch.setattr(RemotePath, "remove", lambda remote: (order.append(remote.path), remove(remote)))
    push(folder, bucket("r"))
    assert {path.rpartition("/")[2] for path in order[-2:]} == {STATE, PREVIOUS_STATE}
    order.clear()
    shutil.rmtree(home)
    push(folder, bucket("r"))
    assert {path.rpartition("/")[2] for path in order[:2]} == {STATE, PREVIOUS_STATE}
    assert len(order) == 7


def test_the_next_push_completes_an_interrupted_one(
    folder: Path, bucket: Where, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = RemotePath.write

    def cut(remote: RemotePath, content: bytes) -> None:
        if remote.path.endswith(STATE):
            raise Unreachable("gs://images", "its storage cannot be reached", "check the network")
        write(remote, content)

    with monkeypatch.context() as first:
        first.setattr(RemotePath, "write", cut)
        with pytest.raises(Unreachable):
            push(folder, bucket("r"))
    assert list(connect(bucket("r")).entries()) == ["search.yaml"]
    push(folder, bucket("r"))
    pull(bucket("r"), tmp_path / "two")
    assert files(tmp_path / "two")[f"trials/001/{STATE}"] == b"state 1"


def test_an_interrupted_pull_leaves_whole_files_and_the_next_completes_it(
    folder: Path, bucket: Where, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    two, state = tmp_path / "two", f"trials/001/{STATE}"
    push(folder, bucket("r"))
    pull(bucket("r"), two)
    (folder / state).write_text("state 2")
    (folder / "search.yaml").write_text("a: 2")
    push(folder, bucket("r"))
    write_bytes = Path.write_bytes

    def cut(path: Path, content: bytes) -> int:
        write_bytes(path, content[:3])
        if content == b"state 2":
            raise ConnectionError
        return write_bytes(path, content)

    with monkeypatch.context() as first:
        first.setattr(Path, "write_bytes", cut)
        with pytest.raises(ConnectionError):
            pull(bucket("r"), two)
    assert files(two) == {"search.yaml": b"a: 2", state: b"state 1"}
    pull(bucket("r"), two)
    assert files(two)[state] == b"state 2"


def test_a_name_that_leads_out_of_the_folder_is_refused(
    folder: Path, bucket: Where, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    push(folder, bucket("r"))
    entries = RemotePath.entries
    monkeypatch.setattr(
        RemotePath, "entries", lambda remote: {f"../{name}": each for name, each in entries(remote).items()}
    )
    with pytest.raises(InputError, match=r"'../search.yaml' could lead out of its folder; remove the file"):
        pull(bucket("r"), tmp_path / "two")
    assert not (tmp_path / "two").exists()


def test_a_database_is_copied_whole_during_a_write(folder: Path, bucket: Where, tmp_path: Path) -> None:
    with closing(sqlite3.connect(folder / "optuna.db")) as study_store:
        study_store.execute("create table trials (value)")
        study_store.executemany("insert into trials values (?)", [(n,) for n in range(1000)])
        study_store.commit()
        study_store.execute("pragma cache_size = 1")  # changes then spill into the file before they are committed
        study_store.execute("pragma locking_mode = normal")
        study_store.execute("begin")
        study_store.execute("insert into trials values ('not yet committed')")
        push(folder, bucket("r"))
        study_store.rollback()
    pull(bucket("r"), tmp_path / "two")
    with closing(sqlite3.connect(tmp_path / "two" / "optuna.db")) as copy:
        assert copy.execute("pragma integrity_check").fetchone() == ("ok",)
        assert copy.execute("select count(*), max(value) from trials").fetchone() == (1000, 999)


@pytest.mark.parametrize(
    ("rounds", "sent"),
    [
        pytest.param((), 0, id="one phase, 0", marks=pytest.mark.slow),
        pytest.param((), 2, id="one phase, 2", marks=pytest.mark.slow),
        pytest.param(TWO_ROUNDS, 1, id="a phase begins, 1", marks=pytest.mark.slow),
        pytest.param(TWO_ROUNDS, 3, id="a phase begins, 3"),
    ],
)
def test_a_run_resumed_elsewhere_after_any_interrupted_push_ends_with_the_same_bits(
    rounds: tuple[dict[str, int], ...],
    sent: int,
    make_run: Make,
    bucket: Where,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = make_run({"schedule.epochs": 4, "phases": rounds, "optimizer.lr": 1e-3})
    data, alone, first, second = (
        load_run_data(config, load_run_tables(config)),
        *(tmp_path / name for name in ("alone", "1", "2")),
    )
    whole = [report.row() for report in fit(config, data, alone)]
    write, writes = RemotePath.write, list[str]()

    def cut(remote: RemotePath, content: bytes) -> None:
        if len(writes) == sent:
            raise ConnectionError
        writes.append(remote.path)
        write(remote, content)

    with closing(fit(config, data, first)) as reports:
        for report in reports:
            if report.percent == 75:
                break
            push(first, bucket("trial"))
    with monkeypatch.context() as dying:
        dying.setattr(RemotePath, "write", cut)
        dying.setattr(sync, "PARALLEL_FILES", 1)
        with pytest.raises(ConnectionError):
            push(first, bucket("trial"))
    pull(bucket("trial"), second)
    again = [report.percent for report in fit(config, data, second) if push(second, bucket("trial"))]
    assert again == [75, 100]
    pull(bucket("trial"), tmp_path / "home")
    state = read_state(tmp_path / "home", torch.device("cpu"))
    assert state is not None
    assert [without_seconds(row) for row in state["rows"]] == [without_seconds(row) for row in whole]
    for name in (PREDICTIONS, PROBABILITIES):
        assert (tmp_path / "home" / name).read_bytes() == (alone / name).read_bytes()
    (weights, about), (wanted, of) = (load_weights(folder / WEIGHTS) for folder in (tmp_path / "home", alone))
    assert about == of  # safetensors writes them in any order
    assert weights.keys() == wanted.keys()
    assert all(torch.equal(weights[name], wanted[name]) for name in wanted)


def without_seconds(row: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in row.items() if name != "seconds"}


def test_a_manipulated_sync_state_removes_nothing_outside_the_two_folders(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    there = tmp_path / "there"
    push(folder, there.as_uri())
    known = json.loads((folder / SYNC_STATE).read_text())
    known["files"] |= {"../mine": [4, 1, 4, 1], str(tmp_path / "mine"): [4, 1, 4, 1]}
    (folder / SYNC_STATE).write_text(json.dumps(known))
    push(folder, there.as_uri())
    (there / "search.yaml").write_text("a: 2")
    pull(there.as_uri(), folder)
    assert (tmp_path / "mine").exists()
