"""Who may write into a search's storage: on emulators of both stores, and on a disk."""

import errno
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from search import conditional, lease
from search.bucket import Unreachable, below, place_at
from search.conditional import Unconditional, create, why_unconditional
from search.lease import Superseded, newest, newest_in, take
from tests.conftest import emulator


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    with emulator("s3_server.py") as port:
        yield f"s3://films?scheme=http&endpoint_override=127.0.0.1%3A{port}&region=us-east-1"


@pytest.fixture(params=["gs", "s3", "disk"])
def storage(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URI of the storage of a search, in which nothing is."""
    if request.param == "disk":
        return (tmp_path / "storage").as_uri()
    if request.param == "gs":
        where: Callable[[str], str] = request.getfixturevalue("bucket")
        return where("search")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "x")
    return below(request.getfixturevalue("s3"), request.node.name)


def test_a_file_is_created_once_and_keeps_its_first_content(storage: str) -> None:
    where = below(storage, "driver/1.json")
    assert create(where, b"first")
    assert not create(where, b"second")
    assert place_at(where).read() == b"first"
    assert why_unconditional(storage) == ""
    assert list(place_at(storage).entries()) == ["driver/1.json"]


def test_of_two_machines_that_take_a_search_over_at_the_same_moment_one_has_it(
    storage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    take(storage)
    both_have_read, ask = threading.Barrier(2), create

    def at_once(uri: str, content: bytes) -> bool:
        both_have_read.wait(60)
        return ask(uri, content)

    monkeypatch.setattr(lease, "create", at_once)
    won, lost = list[lease.Lease](), list[Superseded]()

    def run(name: str) -> None:
        (tmp_path / name).mkdir()
        try:
            won.append(take(storage, tmp_path / name))
        except Superseded as error:
            lost.append(error)

    heads = [threading.Thread(target=run, args=(name,)) for name in ("one", "two")]
    for head in heads:
        head.start()
    for head in heads:
        head.join()
    assert [len(won), len(lost)] == [1, 1]
    assert newest(place_at(storage)) == (2, won[0].record)
    won[0].check()


def test_who_has_lost_a_search_may_write_nothing_more_and_who_lost_an_answer_still_has_it(
    storage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = create
    monkeypatch.setattr(lease, "create", lambda uri, content: ask(uri, content) and False)
    first = take(storage)
    first.check()
    second = take(storage)
    with pytest.raises(Superseded, match="goes on with this search since; this machine's part has ended"):
        first.check()
    second.check()


def test_what_an_earlier_head_notes_of_itself_changes_nothing_of_the_later_ones(storage: str, tmp_path: Path) -> None:
    first, second = take(storage, tmp_path), take(storage)
    first = first.kept_once_more(tmp_path)
    assert newest_in(tmp_path) == first.record
    assert newest(place_at(storage)) == (2, second.record)
    assert second.record.after != first.record.mark


def test_a_store_that_overwrites_what_it_was_told_not_to_is_found_out_and_one_head_is_left_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = tmp_path.as_uri()

    def careless(uri: str, content: bytes, patient: bool = True) -> bool:
        place_at(uri).write(content)
        return True

    monkeypatch.setattr(conditional, "create", careless)
    monkeypatch.setattr(lease, "create", careless)
    assert why_unconditional(storage) == "its store overwrites a file that it was told not to"
    one = take(storage)
    monkeypatch.setattr(lease, "newest", lambda place: None)
    other = take(storage)  # both had read before either wrote
    monkeypatch.undo()
    other.check()
    with pytest.raises(Superseded):
        one.check()


def test_a_disk_without_links_is_told_and_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*how: object) -> None:
        raise OSError(errno.ENOTSUP, "Operation not supported")

    monkeypatch.setattr(os, "link", no_links)
    storage = tmp_path.as_uri()
    assert why_unconditional(storage) == "its file system makes no links (Operation not supported)"
    with pytest.raises(Unconditional):
        create(below(storage, "file"), b"")
    assert not list(tmp_path.iterdir())
    take(storage).check()
    assert [path.name for path in tmp_path.rglob("*.json")] == ["000001.json"]


def test_a_store_that_refuses_conditional_writes_is_told_and_one_that_is_away_is_unreachable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import obstore
    from obstore.exceptions import GenericError

    said = ["Server returned non-2xx status code: 501 Not Implemented\n\nDebug source: x", "error sending request"]

    def refused(*how: object, **more: object) -> None:
        raise GenericError(said[0])

    monkeypatch.setattr(obstore, "put", refused)
    with pytest.raises(
        Unconditional, match=r"a conditional write is refused \(Server returned .* 501 Not Implemented\)"
    ):
        create("gs://anonymous@films/a", b"")
    said.pop(0)
    with pytest.raises(Unreachable, match=r"films/a: its store cannot be reached; check the network and the addr"):
        create("gs://anonymous@films/a", b"")


def test_the_keys_of_the_users_profile_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID", raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    assert conditional._aws_keys() == {}
    (tmp_path / "credentials").write_text("[default]\naws_access_key_id = a\n[lab]\naws_access_key_id = b\n")
    monkeypatch.setenv("AWS_PROFILE", "lab")
    assert conditional._aws_keys() == {"aws_access_key_id": "b"}
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "c")
    assert conditional._aws_keys() == {}
