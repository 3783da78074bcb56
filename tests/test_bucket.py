import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pyarrow import fs

from chex.errors import InputError
from search import bucket as store
from search.bucket import Place, Unreachable, below, beside, check_there, check_writable, reach

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


@pytest.mark.parametrize("home", ["bucket", "disk"])
def test_what_is_written_is_read_listed_and_removed(home: str, bucket: Where, tmp_path: Path) -> None:
    place = reach(bucket("a")) if home == "bucket" else reach(str(tmp_path / "a"))
    (place / "b/c.txt").write(b"hello")
    (place / "d.txt").write(b"")
    assert {name: each.size for name, each in place.entries().items()} == {"b/c.txt": 5, "d.txt": 0}
    assert (place / "b/c.txt").read() == b"hello"
    assert (place / "b/c.txt").open().read_at(2, 3) == b"lo"
    (place / "d.txt").remove()
    (place / "d.txt").remove()
    assert list(place.entries()) == ["b/c.txt"]


def test_an_empty_place_has_no_entries(bucket: Where) -> None:
    assert reach(bucket("nowhere")).entries() == {}


def test_bytes_that_differ_from_the_stores_checksum_are_read_again_and_then_refused(
    bucket: Where, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = reach(bucket("film"))
    place.write(b"film")
    wrong, seen = store._wrong, list[bytes]()

    def damaged(times: int) -> Callable[[bytes, dict[str, bytes]], str]:
        seen.clear()
        return lambda content, about: (seen.append(content), wrong(b"fiim" if len(seen) <= times else content, about))[
            1
        ]

    monkeypatch.setattr(store, "_wrong", damaged(1))
    assert place.read() == b"film"
    assert len(seen) == 2
    monkeypatch.setattr(store, "_wrong", damaged(2))
    with pytest.raises(InputError, match=r"film: its CRC32C is \S+ and should be \S+; upload the file again"):
        place.read()


@pytest.mark.parametrize(
    ("about", "problem"),
    [
        ({"md5Hash": b"XUFAKrxLKna5cZ2REBfFkg=="}, ""),
        ({"md5Hash": b"AAAAAAAAAAAAAAAAAAAAAA=="}, "its MD5 is XUFAKrxLKna5cZ2REBfFkg== and should be AAAAA"),
        ({"size": b"7"}, "5 bytes came of 7"),
        ({"crc32c": b"mnG7TA==", "md5Hash": b"which is not looked at"}, ""),
        ({"ETag": b"something of S3's"}, ""),
        ({}, ""),
    ],
)
def test_a_store_that_knows_a_checksum_is_believed(about: dict[str, bytes], problem: str) -> None:
    assert store._wrong(b"hello", about).startswith(problem)
    assert bool(store._wrong(b"hello", about)) == bool(problem)


def test_a_file_on_a_disk_that_cannot_be_written_whole_stays_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = reach(str(tmp_path / "state.pt"))
    place.write(b"whole")

    class Full(fs.LocalFileSystem):
        def move(self, *names: str) -> None:
            raise OSError(5, "Input/output error")

    with pytest.raises(Unreachable, match="Input/output error"):
        Place(place.uri, Full(), place.path).write(b"half")
    assert (tmp_path / "state.pt").read_bytes() == b"whole"


def test_nothing_there_is_told_and_so_is_a_bucket_that_does_not_exist(bucket: Where) -> None:
    with pytest.raises(InputError, match=r"/nothing.zip: nothing is there; correct the address"):
        check_there(bucket("nothing.zip"))
    absent = bucket("x").replace("@films/", "@no-films/")
    with pytest.raises(InputError, match=r"nothing is there, there is no bucket 'no-films'; correct the address"):
        check_there(absent)
    with pytest.raises(Unreachable, match=r"cannot be written, nothing is there, or there is no such bucket; create"):
        check_writable(absent)


def test_a_place_that_can_be_written_is_left_empty(bucket: Where) -> None:
    check_writable(bucket("results"))
    assert reach(bucket("results")).entries() == {}


@pytest.mark.parametrize("uri", ["gs://anonymous@films/a", "s3://anonymous@films/a"])
def test_a_store_that_nobody_serves_is_told(uri: str, closed: int) -> None:
    with pytest.raises(Unreachable, match=r"films/a: its store cannot be reached; check the network and the address"):
        reach(at(uri, closed))
    with pytest.raises(
        Unreachable, match=r"films/a: it cannot be written, its store cannot be reached; check the network"
    ):
        check_writable(at(uri, closed))


def test_a_store_that_never_answers_is_given_up(silent: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "LIMIT", 0.2)
    with pytest.raises(Unreachable, match=r"gs://anonymous@films/a: no answer within 0.2 seconds; check the network"):
        reach(at("gs://anonymous@films/a", silent))
    with pytest.raises(Unreachable, match=r"films/a: it cannot be written, no answer within 0.2 seconds; check"):
        check_writable(at("gs://anonymous@films/a", silent))


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ("Could not create a OAuth2 access token to authenticate", "no credentials .*; log in with `gcloud auth"),
        (
            "google::cloud::Status(PERMISSION_DENIED: x does not have storage.objects.create",
            "permission denied; use an",
        ),
        ("Something New", "Something New; check the address and the rights"),
    ],
)
def test_what_a_store_says_becomes_a_sentence(said: str, sentence: str) -> None:
    with pytest.raises(Unreachable, match=f"gs://films/a: {sentence}"), store.told("gs://films/a?x=y"):
        raise OSError(said)


def test_a_full_disk_is_not_the_buckets_fault() -> None:
    with pytest.raises(OSError, match="No space left"), store.told("gs://films/a"):
        raise OSError(28, "No space left on device")


@pytest.mark.parametrize(
    ("uri", "sentence"),
    [
        ("ftp://films/a", "ftp://films/a: 'ftp://' is not supported; give gs://, s3:// or a path"),
        ("s3://key:secret@films/a", "a URI is written into files and must not hold a key; set AWS_ACCESS_KEY_ID"),
        ("gs:///a", "gs:///a is no address .*; write for example gs://bucket/file"),
    ],
)
def test_an_address_of_another_form_is_refused_without_its_secrets(uri: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence) as told:
        reach(uri)
    assert "secret" not in str(told.value)


def test_an_address_goes_on_before_its_query() -> None:
    assert below("gs://b/results?x=y", "trials/001") == "gs://b/results/trials/001?x=y"
    assert beside("gs://b/films.zip?x=y", "cache") == "gs://b/cache?x=y"
    assert below("/a/b/", "c") == "/a/b/c"
