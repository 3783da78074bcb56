import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pyarrow import fs

from chex.errors import InputError
from search.storage import remote_path as store
from search.storage.remote_path import RemotePath, check_writable, connect, connect_existing
from search.storage.uri import Unreachable, child_uri

Where = Callable[[str], str]


@pytest.fixture
def silent() -> Iterator[int]:
    """A port at which connections are taken and never answered."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield listening.getsockname()[1]


@pytest.fixture
def closed() -> int:
    """A port at which nobody listens."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return int(unused.getsockname()[1])


def at(uri: str, port: int) -> str:
    own = "region=here" if uri.startswith("s3") else "retry_limit_seconds=1"
    return f"{uri}?scheme=http&endpoint_override=127.0.0.1%3A{port}&{own}"


@pytest.mark.parametrize("folder", ["bucket", "disk"])
def test_a_written_file_is_read_listed_and_removed(folder: str, bucket: Where, tmp_path: Path) -> None:
    remote = connect(bucket("a")) if folder == "bucket" else connect(str(tmp_path / "a"))
    (remote / "b/c.txt").write(b"hello")
    (remote / "d.txt").write(b"")
    assert {name: each.size for name, each in remote.entries().items()} == {"b/c.txt": 5, "d.txt": 0}
    assert (remote / "b/c.txt").read() == b"hello"
    assert (remote / "b/c.txt").open().read_at(2, 3) == b"lo"
    (remote / "d.txt").remove()
    (remote / "d.txt").remove()
    assert list(remote.entries()) == ["b/c.txt"]


def test_an_empty_path_has_no_entries(bucket: Where) -> None:
    assert connect(bucket("nowhere")).entries() == {}


def test_content_with_a_wrong_checksum_is_read_again_and_then_refused(
    bucket: Where, monkeypatch: pytest.MonkeyPatch
) -> None:
    remote = connect(bucket("image"))
    remote.write(b"image")
    wrong, seen = store._checksum_problem, list[bytes]()

    def damaged(times: int) -> Callable[[bytes, dict[str, bytes]], str]:
        seen.clear()
        return lambda content, about: (seen.append(content), wrong(b"imagf" if len(seen) <= times else content, about))[
            1
        ]

    monkeypatch.setattr(store, "_checksum_problem", damaged(1))
    assert remote.read() == b"image"
    assert len(seen) == 2
    monkeypatch.setattr(store, "_checksum_problem", damaged(2))
    with pytest.raises(InputError, match=r"image: its CRC32C is \S+ and should be \S+; upload the file again"):
        remote.read()


@pytest.mark.parametrize(
    ("about", "problem"),
    [
        ({"md5Hash": b"XUFAKrxLKna5cZ2REBfFkg=="}, ""),
        ({"md5Hash": b"AAAAAAAAAAAAAAAAAAAAAA=="}, "its MD5 is XUFAKrxLKna5cZ2REBfFkg== and should be AAAAA"),
        ({"size": b"7"}, "5 of 7 bytes arrived"),
        ({"crc32c": b"mnG7TA==", "md5Hash": b"which is not looked at"}, ""),
        ({"ETag": b"something of S3's"}, ""),
        ({}, ""),
    ],
)
def test_content_is_compared_with_the_storages_checksum(about: dict[str, bytes], problem: str) -> None:
    assert store._checksum_problem(b"hello", about).startswith(problem)
    assert bool(store._checksum_problem(b"hello", about)) == bool(problem)


def test_a_file_on_a_disk_that_cannot_be_written_whole_stays_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remote = connect(str(tmp_path / "state.pt"))
    remote.write(b"whole")

    class Full(fs.LocalFileSystem):
        def move(self, *names: str) -> None:
            raise OSError(5, "Input/output error")

    with pytest.raises(Unreachable, match="Input/output error"):
        RemotePath(remote.uri, Full(), remote.path).write(b"half")
    assert (tmp_path / "state.pt").read_bytes() == b"whole"


def test_a_missing_file_and_a_missing_bucket_are_reported(bucket: Where) -> None:
    with pytest.raises(InputError, match=r"/nothing.zip: nothing exists there; correct the address"):
        connect_existing(bucket("nothing.zip"))
    absent = bucket("x").replace("@images/", "@no-images/")
    with pytest.raises(InputError, match=r"nothing exists there, there is no bucket 'no-images'; correct the address"):
        connect_existing(absent)
    with pytest.raises(
        Unreachable, match=r"cannot be written, nothing exists there, or the bucket does not exist; create"
    ):
        check_writable(absent)


def test_the_write_check_leaves_nothing_behind(bucket: Where) -> None:
    check_writable(bucket("results"))
    assert connect(bucket("results")).entries() == {}


@pytest.mark.parametrize("uri", ["gs://anonymous@images/a", "s3://anonymous@images/a"])
def test_a_storage_without_a_server_is_reported(uri: str, closed: int) -> None:
    with pytest.raises(
        Unreachable, match=r"images/a: its storage cannot be reached; check the network and the address"
    ):
        connect(at(uri, closed))
    with pytest.raises(
        Unreachable, match=r"images/a: it cannot be written, its storage cannot be reached; check the network"
    ):
        check_writable(at(uri, closed))


def test_a_storage_that_never_answers_times_out(silent: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "ANSWER_SECONDS", 0.2)
    with pytest.raises(Unreachable, match=r"gs://anonymous@images/a: no answer within 0.2 seconds; check the network"):
        connect(at("gs://anonymous@images/a", silent))
    with pytest.raises(Unreachable, match=r"images/a: it cannot be written, no answer within 0.2 seconds; check"):
        check_writable(at("gs://anonymous@images/a", silent))


@pytest.mark.parametrize(
    ("output", "sentence"),
    [
        ("Could not create a OAuth2 access token to authenticate", "no credentials .*; log in with `gcloud auth"),
        (
            "google::cloud::Status(PERMISSION_DENIED: x does not have storage.objects.create",
            "permission denied; use an",
        ),
        ("Something New", "Something New; check the address and the permissions"),
    ],
)
def test_an_error_of_a_storage_becomes_a_sentence(output: str, sentence: str) -> None:
    with (
        pytest.raises(Unreachable, match=f"gs://images/a: {sentence}"),
        store.errors_as_unreachable("gs://images/a?x=y"),
    ):
        raise OSError(output)


def test_a_full_disk_is_not_reported_as_an_unreachable_storage() -> None:
    with pytest.raises(OSError, match="No space left"), store.errors_as_unreachable("gs://images/a"):
        raise OSError(28, "No space left on device")


@pytest.mark.parametrize(
    ("uri", "sentence"),
    [
        ("ftp://images/a", "ftp://images/a: 'ftp://' is not supported; give gs://, s3:// or a path"),
        ("s3://key:secret@images/a", "a URI is written into files and must not hold a key; set AWS_ACCESS_KEY_ID"),
        ("gs:///a", "gs:///a is not an address .*; write for example gs://bucket/file"),
    ],
)
def test_a_malformed_uri_is_refused_without_printing_its_secrets(uri: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence) as message:
        connect(uri)
    assert "secret" not in str(message.value)


def test_a_child_is_added_before_the_query_of_a_uri() -> None:
    assert child_uri("gs://b/results?x=y", "trials/001") == "gs://b/results/trials/001?x=y"
    assert child_uri("/a/b/", "c") == "/a/b/c"
