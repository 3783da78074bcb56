"""A search's folder in a storage on this disk: in which order things get there, and how they come back."""

import shutil
import socket
import threading
from pathlib import Path

import pytest

from chex import checkpoint
from chex.errors import InputError
from chex.output_folder import MARK
from search import lease
from search import stored as stores
from search.book import BOOK, Book
from search.bucket import Place, Unreachable
from search.lease import FOLDER, take
from search.search_config import SearchConfig
from search.stored import CONFIG, Stored, Superseded, check_storage, forget, kept

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
def book(folder: Path) -> Book:
    return Book(folder, SEARCH.knobs())


def rows_in(home: Path) -> list[str]:
    found = Book(home, SEARCH.knobs())
    states = [row.state for row in found.rows()]
    found.close()
    return list(states)


def test_a_trials_state_goes_only_when_the_book_that_says_its_end_is_there(
    folder: Path, copy: Path, book: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    state, order = copy / "trials" / "001" / checkpoint.STATE, list[tuple[str, bool]]()
    state.touch()
    write = Place.write

    def noted(place: Place, content: bytes) -> None:
        write(place, content)
        order.append((Path(place.path).name, state.exists()))

    monkeypatch.setattr(Place, "write", noted)
    stored = Stored(folder, copy.as_uri())
    number = book.begin({"optimizer.lr": 1e-3})
    stored.keep()
    assert state.exists()
    assert rows_in(copy) == ["waiting"]
    book.report(number, 1, {"percent": 100, "best_auroc": 0.8})
    book.end(number, "finished", 0.8)
    (folder / "best.yaml").write_text("its winner")
    stored.keep()
    assert not state.exists()
    assert rows_in(copy) == ["finished"]
    assert [each for each in order if each[0] != "000001.json"] == [
        (CONFIG, True),
        (BOOK, True),
        ("best.yaml", True),
        (BOOK, True),
    ]


def test_what_trials_keep_themselves_and_what_is_anothers_is_left_alone(folder: Path, copy: Path, book: Book) -> None:
    for name in ("trials/001/reports.csv", "trials/001/state.earlier.pt", "tune/x", "confirm/search.yaml", "a.lock"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
    (folder / "trials" / "001" / "events.out.tfevents.1").touch()
    Stored(folder, copy.as_uri()).keep()
    found = {str(path.relative_to(copy)) for path in copy.rglob("*") if path.is_file()}
    assert found == {CONFIG, BOOK, f"{FOLDER}/000001.json", "trials/001/events.out.tfevents.1"}


def test_an_ended_trial_comes_back_without_its_state(folder: Path, copy: Path) -> None:
    for name in (checkpoint.REPORTS, checkpoint.STATE, checkpoint.WEIGHTS):
        (copy / "trials" / "001" / name).write_text(name)
    stored, here = Stored(folder, copy.as_uri()), folder / "trials" / "001"
    stored.fetch("trials/001", weights=False)
    assert {path.name for path in here.iterdir()} == {checkpoint.REPORTS, ".mirror.json"}
    stored.fetch("trials/001")
    assert (here / checkpoint.WEIGHTS).read_text() == checkpoint.WEIGHTS
    assert not (here / checkpoint.STATE).exists()


def test_what_happened_is_there_soon_and_what_happened_last_when_the_block_is_left(
    folder: Path, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stores, "EVERY_SECONDS", 0.01)
    sent, keep = threading.Event(), Stored.keep

    def noted(stored: Stored) -> None:
        keep(stored)
        if (copy / "new").exists():
            sent.set()

    with kept(folder, copy.as_uri()) as stored:
        assert stored
        assert (copy / CONFIG).exists()
        monkeypatch.setattr(Stored, "keep", noted)
        (folder / "new").touch()
        stored.soon()
        assert sent.wait(30)
        (folder / "last").touch()
    assert (copy / "last").exists()
    with kept(folder, None) as nothing:
        assert nothing is None


def test_a_name_that_is_taken_in_the_storage_is_refused_before_anything_is_written(
    folder: Path, copy: Path, tmp_path: Path
) -> None:
    Stored(folder, copy.as_uri()).keep()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError, match=r"storage/demo holds a search already; go on with it: `chex-search resume f"):
        check_storage(tmp_path / "new", copy.as_uri(), fresh=False)
    check_storage(tmp_path / "new", copy.as_uri(), fresh=True)
    check_storage(folder, copy.as_uri(), fresh=False)
    check_storage(folder, None, fresh=False)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_machine_whose_search_another_goes_on_with_changes_nothing_more_and_says_who(
    folder: Path, copy: Path, book: Book, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Stored(folder, copy.as_uri())
    first.keep()
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(folder, elsewhere)
    check_storage(elsewhere, copy.as_uri(), fresh=False)
    monkeypatch.setattr(socket, "gethostname", lambda: "second")
    Stored(elsewhere, copy.as_uri())
    book.begin({"optimizer.lr": 1e-3})
    said = f"{copy.as_uri()}: second goes on with this search since; this machine's part has ended; see there"
    with pytest.raises(Superseded) as refused:
        first.keep()
    assert str(refused.value) == said
    with pytest.raises(Superseded):
        first.soon()
    assert rows_in(copy) == []
    with pytest.raises(InputError) as behind:
        check_storage(folder, copy.as_uri(), fresh=False)
    assert str(behind.value) == (
        f"{folder} is behind {copy.as_uri()}, which second has gone on with; move the folder away, and go on with what "
        f"is there: `chex-search resume {copy.as_uri()}`"
    )


def test_who_was_cut_off_while_it_took_a_search_over_is_not_behind_until_another_has_kept_it(
    folder: Path, copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Stored(folder, copy.as_uri())
    first.keep()

    def cut(uri: str, content: bytes) -> bool:
        raise Unreachable(uri, "its store cannot be reached", "check the network")

    with monkeypatch.context() as away:
        away.setattr(lease, "create", cut)
        with pytest.raises(Unreachable):
            Stored(folder, copy.as_uri())
    check_storage(folder, copy.as_uri(), fresh=False)
    take(copy.as_uri())
    with pytest.raises(InputError, match="is behind"):
        check_storage(folder, copy.as_uri(), fresh=False)


def test_a_copy_that_lacks_what_its_machine_has_kept_since_is_behind(folder: Path, copy: Path, tmp_path: Path) -> None:
    first = Stored(folder, copy.as_uri())
    first.keep()
    shutil.copytree(folder, tmp_path / "fetched")
    first.keep()
    check_storage(folder, copy.as_uri(), fresh=False)
    with pytest.raises(InputError, match=r"fetched is behind file:"):
        check_storage(tmp_path / "fetched", copy.as_uri(), fresh=False)


def test_a_search_that_is_taken_over_ends_at_its_next_report(
    folder: Path, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stores, "EVERY_SECONDS", 0.01)

    def reports_for_ever() -> None:
        with kept(folder, copy.as_uri()) as stored:
            assert stored
            take(copy.as_uri())
            while True:
                stored.soon()

    with pytest.raises(Superseded):
        reports_for_ever()


@pytest.mark.parametrize(("name", "left"), [("report.txt", {"best.yaml"}), ("", set[str]())])
def test_one_file_or_all_is_forgotten(copy: Path, name: str, left: set[str]) -> None:
    for each in ("report.txt", "best.yaml", *([] if name else [CONFIG])):
        (copy / each).touch()
    forget(copy.as_uri(), name)
    forget(None)
    assert {path.name for path in copy.rglob("*") if path.is_file() and path.parent.name != FOLDER} == left


def test_a_search_that_another_starts_afresh_writes_nothing_into_it(folder: Path, copy: Path) -> None:
    first = Stored(folder, copy.as_uri())
    first.keep()
    forget(copy.as_uri())
    (folder / "best.yaml").write_text("of the first")
    with pytest.raises(Superseded):
        first.keep()
    assert not [path for path in copy.rglob("*") if path.is_file() and path.parent.name != FOLDER]


def test_a_head_that_is_taken_over_in_the_middle_of_a_push_stops_before_the_next_file_and_takes_nothing_back(
    folder: Path, copy: Path, book: Book, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Stored(folder, copy.as_uri())
    first.keep()
    shutil.copytree(folder, tmp_path / "elsewhere")
    (folder / "a.txt").touch()
    book.begin({"optimizer.lr": 1e-3})
    write, second = Place.write, list[Stored]()

    def taken_over(place: Place, content: bytes) -> None:
        write(place, content)
        if place.path.endswith("a.txt"):
            second.append(Stored(tmp_path / "elsewhere", copy.as_uri()))

    monkeypatch.setattr(Place, "write", taken_over)
    with pytest.raises(Superseded):
        first.keep()
    assert rows_in(copy) == []
    second[0].keep()
    with pytest.raises(InputError, match="is behind"):
        check_storage(folder, copy.as_uri(), fresh=False)
    check_storage(tmp_path / "elsewhere", copy.as_uri(), fresh=False)


def test_who_takes_a_search_over_that_is_kept_in_that_moment_is_behind(
    folder: Path, copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, elsewhere = Stored(folder, copy.as_uri()), tmp_path / "elsewhere"
    first.keep()
    shutil.copytree(folder, elsewhere)
    ask = lease.create

    def keeps_first(uri: str, content: bytes) -> bool:
        first.keep()
        return ask(uri, content)

    monkeypatch.setattr(lease, "create", keeps_first)
    for _ in range(2):
        with pytest.raises(InputError, match="elsewhere is behind file:"):
            Stored(elsewhere, copy.as_uri())
    with pytest.raises(Superseded):
        first.keep()


def test_a_store_without_conditional_writes_is_told_before_a_search_starts(
    copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    check_storage(tmp_path / "new", copy.as_uri(), fresh=True)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(stores, "why_unconditional", lambda uri: "its file system makes no links (Not supported)")
    check_storage(tmp_path / "new", copy.as_uri(), fresh=True)
    assert capsys.readouterr().err == (
        f"{copy.as_uri()}: its file system makes no links (Not supported); two machines that go on with one search at "
        "the same moment may both do so until one of them keeps it: resume a search on one machine only\n"
    )


def test_what_is_no_search_is_not_forgotten(folder: Path, copy: Path) -> None:
    (copy / "thesis.tex").write_text("mine")
    told = (
        r"storage/demo holds files that are not a search's \(no search.yaml among them, first thesis.tex\), and "
        "--fresh does not delete them; give the search another --name or --storage"
    )
    with pytest.raises(InputError, match=told):
        check_storage(folder, copy.as_uri(), fresh=True)
    with pytest.raises(InputError, match=told):
        forget(copy.as_uri())
    assert [path.name for path in copy.rglob("*") if path.is_file()] == ["thesis.tex"]


def test_a_search_of_which_only_the_mark_or_a_lease_has_arrived_is_forgotten(copy: Path) -> None:
    for name in (MARK, "driver/000001.json"):
        (copy / name).parent.mkdir(exist_ok=True)
        (copy / name).write_text('{"host": "h", "token": "t"}')
        check_storage(copy, copy.as_uri(), fresh=True)
        (copy / name).unlink()
