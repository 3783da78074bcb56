"""Who may write into a search's storage: on emulators of both stores, and on a disk."""

import errno
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from search.storage import conditional_write, lease
from search.storage.conditional_write import NoConditionalWrites, create_if_absent, why_no_conditional_writes
from search.storage.lease import LeaseLost, latest_local_record, latest_record, take_lease
from search.storage.remote_path import connect_with_retries
from search.storage.uri import Unreachable, child_uri
from tests.conftest import emulator


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    with emulator("s3_server.py") as port:
        yield f"s3://images?scheme=http&endpoint_override=127.0.0.1%3A{port}&region=us-east-1"


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
    return child_uri(request.getfixturevalue("s3"), request.node.name)


def test_a_file_is_created_once_and_keeps_its_first_content(storage: str) -> None:
    where = child_uri(storage, "driver/1.json")
    assert create_if_absent(where, b"first")
    assert not create_if_absent(where, b"second")
    assert connect_with_retries(where).read() == b"first"
    assert why_no_conditional_writes(storage) == ""
    assert list(connect_with_retries(storage).entries()) == ["driver/1.json"]


def test_one_of_two_machines_that_take_over_at_the_same_moment_gets_the_lease(
    storage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_lease(storage)
    both_have_read, ask = threading.Barrier(2), create_if_absent

    def at_once(uri: str, content: bytes) -> bool:
        both_have_read.wait(60)
        return ask(uri, content)

    monkeypatch.setattr(lease, "create_if_absent", at_once)
    won, lost = list[lease.Lease](), list[LeaseLost]()

    def run(name: str) -> None:
        (tmp_path / name).mkdir()
        try:
            won.append(take_lease(storage, tmp_path / name))
        except LeaseLost as error:
            lost.append(error)

    heads = [threading.Thread(target=run, args=(name,)) for name in ("one", "two")]
    for head in heads:
        head.start()
    for head in heads:
        head.join()
    assert [len(won), len(lost)] == [1, 1]
    assert latest_record(connect_with_retries(storage)) == (2, won[0].record)
    won[0].check()


def test_a_lost_lease_forbids_writing_and_a_lost_answer_does_not(storage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ask = create_if_absent
    monkeypatch.setattr(lease, "create_if_absent", lambda uri, content: ask(uri, content) and False)
    first = take_lease(storage)
    first.check()
    second = take_lease(storage)
    with pytest.raises(LeaseLost, match="has taken over this search; this machine no longer runs it"):
        first.check()
    second.check()


def test_the_record_of_an_earlier_head_does_not_affect_later_ones(storage: str, tmp_path: Path) -> None:
    first, second = take_lease(storage, tmp_path), take_lease(storage)
    first = first.renewed(tmp_path)
    assert latest_local_record(tmp_path) == first.record
    assert latest_record(connect_with_retries(storage)) == (2, second.record)
    assert second.record.previous != first.record.version


def test_a_storage_that_ignores_conditional_writes_is_detected_and_one_head_remains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = tmp_path.as_uri()

    def careless(uri: str, content: bytes, retry: bool = True) -> bool:
        connect_with_retries(uri).write(content)
        return True

    monkeypatch.setattr(conditional_write, "create_if_absent", careless)
    monkeypatch.setattr(lease, "create_if_absent", careless)
    assert why_no_conditional_writes(storage) == "its storage overwrites a file in a conditional write"
    one = take_lease(storage)
    monkeypatch.setattr(lease, "latest_record", lambda remote: None)
    other = take_lease(storage)  # both had read before either wrote
    monkeypatch.undo()
    other.check()
    with pytest.raises(LeaseLost):
        one.check()


def test_a_disk_without_links_is_reported_and_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*how: object) -> None:
        raise OSError(errno.ENOTSUP, "Operation not supported")

    monkeypatch.setattr(os, "link", no_links)
    storage = tmp_path.as_uri()
    assert why_no_conditional_writes(storage) == "its file system makes no links (Operation not supported)"
    with pytest.raises(NoConditionalWrites):
        create_if_absent(child_uri(storage, "file"), b"")
    assert not list(tmp_path.iterdir())
    take_lease(storage).check()
    assert [path.name for path in tmp_path.rglob("*.json")] == ["000001.json"]


def test_a_storage_that_refuses_conditional_writes_is_distinguished_from_an_unreachable_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import obstore
    from obstore.exceptions import GenericError

    output = ["Server returned non-2xx status code: 501 Not Implemented\n\nDebug source: x", "error sending request"]

    def refused(*how: object, **more: object) -> None:
        raise GenericError(output[0])

    monkeypatch.setattr(obstore, "put", refused)
    with pytest.raises(
        NoConditionalWrites, match=r"a conditional write is refused \(Server returned .* 501 Not Implemented\)"
    ):
        create_if_absent("gs://anonymous@images/a", b"")
    output.pop(0)
    with pytest.raises(Unreachable, match=r"images/a: its storage cannot be reached; check the network and the addr"):
        create_if_absent("gs://anonymous@images/a", b"")


def test_the_keys_of_the_users_profile_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID", raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    assert conditional_write._aws_keys() == {}
    (tmp_path / "credentials").write_text("[default]\naws_access_key_id = a\n[lab]\naws_access_key_id = b\n")
    monkeypatch.setenv("AWS_PROFILE", "lab")
    assert conditional_write._aws_keys() == {"aws_access_key_id": "b"}
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "c")
    assert conditional_write._aws_keys() == {}
