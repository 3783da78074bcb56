import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import torch

from chex.checkpoint import EARLIER, PREDICTIONS, PROBABILITIES, STATE, WEIGHTS, load_weights, read_state
from chex.config import RunConfig
from chex.errors import InputError
from chex.loop import fit
from chex.prepare import prepare, select
from search import mirror
from search.bucket import Place, Unreachable, reach
from search.mirror import KNOWN, pull, push

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
        if path.is_file() and path.name != KNOWN
    }


def test_a_folder_that_went_up_comes_down_without_locks_and_half_files(
    folder: Path, bucket: Where, tmp_path: Path
) -> None:
    assert push(folder, bucket("r")) == 2
    assert pull(bucket("r"), tmp_path / "two") == 2
    assert files(tmp_path / "two") == {"search.yaml": b"a: 1", f"trials/001/{STATE}": b"state 1"}


def test_only_what_has_changed_goes_up_and_comes_down(folder: Path, bucket: Where, tmp_path: Path) -> None:
    push(folder, bucket("r"))
    pull(bucket("r"), tmp_path / "two")
    assert (push(folder, bucket("r")), pull(bucket("r"), tmp_path / "two")) == (0, 0)
    (folder / "search.yaml").write_text("a: 2")
    (folder / "report.txt").write_text("done")
    assert (push(folder, bucket("r")), pull(bucket("r"), tmp_path / "two")) == (2, 2)
    assert files(tmp_path / "two")["search.yaml"] == b"a: 2"
    assert push(tmp_path / "two", bucket("r")) == 0


def test_what_is_gone_on_one_side_goes_on_the_other_and_what_others_put_there_stays(
    folder: Path, bucket: Where, tmp_path: Path
) -> None:
    push(folder, bucket("r"))
    pull(bucket("r"), tmp_path / "two")
    (reach(bucket("r")) / "trials/002/reports.csv").write(b"of another machine")
    (folder / "trials" / "001" / STATE).unlink()
    assert push(folder, bucket("r")) == 1
    assert list(reach(bucket("r")).entries()) == ["search.yaml", "trials/002/reports.csv"]
    (tmp_path / "two" / "mine").touch()
    pull(bucket("r"), tmp_path / "two")
    assert sorted(files(tmp_path / "two")) == ["mine", "search.yaml", "trials/002/reports.csv"]


def test_the_machine_that_went_on_is_believed(folder: Path, bucket: Where, tmp_path: Path) -> None:
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


def test_nothing_there_changes_nothing(folder: Path, bucket: Where) -> None:
    before = files(folder)
    assert pull(bucket("nowhere"), folder) == 0
    assert files(folder) == before


def test_a_part_of_a_folder_can_be_mirrored(folder: Path, bucket: Where) -> None:
    assert push(folder, bucket("r"), lambda name: not name.startswith("trials/")) == 1
    assert list(reach(bucket("r")).entries()) == ["search.yaml"]
    assert push(folder, bucket("r")) == 1
    assert push(folder, bucket("r"), lambda name: not name.startswith("trials/")) == 0
    assert len(reach(bucket("r")).entries()) == 2


def test_the_state_goes_up_last_and_is_removed_first(
    folder: Path, bucket: Where, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, order = folder / "trials" / "001", list[str]()
    for name in (EARLIER, WEIGHTS, PREDICTIONS, PROBABILITIES, "reports.csv", "zzz"):
        (home / name).write_text(name)
    write, remove = Place.write, Place.remove
    monkeypatch.setattr(Place, "write", lambda place, what: (order.append(place.path), write(place, what)))
    monkeypatch.setattr(Place, "remove", lambda place: (order.append(place.path), remove(place)))
    push(folder, bucket("r"))
    assert {path.rpartition("/")[2] for path in order[-2:]} == {STATE, EARLIER}
    order.clear()
    shutil.rmtree(home)
    push(folder, bucket("r"))
    assert {path.rpartition("/")[2] for path in order[:2]} == {STATE, EARLIER}
    assert len(order) == 7


def test_a_push_that_was_cut_off_is_done_by_the_next(
    folder: Path, bucket: Where, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Place.write

    def cut(place: Place, content: bytes) -> None:
        if place.path.endswith(STATE):
            raise Unreachable("gs://films", "its store cannot be reached", "check the network")
        write(place, content)

    with monkeypatch.context() as first:
        first.setattr(Place, "write", cut)
        with pytest.raises(Unreachable):
            push(folder, bucket("r"))
    assert list(reach(bucket("r")).entries()) == ["search.yaml"]
    push(folder, bucket("r"))
    pull(bucket("r"), tmp_path / "two")
    assert files(tmp_path / "two")[f"trials/001/{STATE}"] == b"state 1"


def test_a_pull_that_was_cut_off_leaves_whole_files_and_is_done_by_the_next(
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


def test_a_name_that_leads_out_is_refused(
    folder: Path, bucket: Where, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    push(folder, bucket("r"))
    entries = Place.entries
    monkeypatch.setattr(Place, "entries", lambda place: {f"../{name}": each for name, each in entries(place).items()})
    with pytest.raises(InputError, match=r"'../search.yaml' could lead out of its folder; remove the file"):
        pull(bucket("r"), tmp_path / "two")
    assert not (tmp_path / "two").exists()


def test_a_database_is_copied_whole_in_the_middle_of_a_write(folder: Path, bucket: Where, tmp_path: Path) -> None:
    with closing(sqlite3.connect(folder / "optuna.db")) as book:
        book.execute("create table trials (value)")
        book.executemany("insert into trials values (?)", [(n,) for n in range(1000)])
        book.commit()
        book.execute("pragma cache_size = 1")  # changes then spill into the file before they are committed
        book.execute("pragma locking_mode = normal")
        book.execute("begin")
        book.execute("insert into trials values ('not yet committed')")
        push(folder, bucket("r"))
        book.rollback()
    pull(bucket("r"), tmp_path / "two")
    with closing(sqlite3.connect(tmp_path / "two" / "optuna.db")) as copy:
        assert copy.execute("pragma integrity_check").fetchone() == ("ok",)
        assert copy.execute("select count(*), max(value) from trials").fetchone() == (1000, 999)


@pytest.mark.parametrize(
    ("rounds", "sent"),
    [((), 0), ((), 2), (TWO_ROUNDS, 1), (TWO_ROUNDS, 3)],
    ids=["one round, 0", "one round, 2", "a round begins, 1", "a round begins, 3"],
)
def test_a_run_goes_on_on_another_machine_from_a_push_cut_off_anywhere_and_ends_with_the_same_bits(
    rounds: tuple[dict[str, int], ...],
    sent: int,
    make_run: Make,
    bucket: Where,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = make_run({"schedule.epochs": 4, "rounds": rounds, "optimizer.lr": 1e-3})
    data, alone, first, second = prepare(config, select(config)), *(tmp_path / name for name in ("alone", "1", "2"))
    whole = [report.row() for report in fit(config, data, alone)]
    write, writes = Place.write, list[str]()

    def cut(place: Place, content: bytes) -> None:
        if len(writes) == sent:
            raise ConnectionError
        writes.append(place.path)
        write(place, content)

    with closing(fit(config, data, first)) as reports:
        for report in reports:
            if report.percent == 75:
                break
            push(first, bucket("trial"))
    with monkeypatch.context() as dying:
        dying.setattr(Place, "write", cut)
        dying.setattr(mirror, "AT_ONCE", 1)
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


def test_a_list_of_what_was_mirrored_removes_nothing_outside_the_two_folders(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    there = tmp_path / "there"
    push(folder, there.as_uri())
    known = json.loads((folder / KNOWN).read_text())
    known["files"] |= {"../mine": [4, 1, 4, 1], str(tmp_path / "mine"): [4, 1, 4, 1]}
    (folder / KNOWN).write_text(json.dumps(known))
    push(folder, there.as_uri())
    (there / "search.yaml").write_text("a: 2")
    pull(there.as_uri(), folder)
    assert (tmp_path / "mine").exists()
