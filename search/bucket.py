"""Files in a bucket (gs://, s3://) or on a disk, named by a URI; what goes wrong with them is told in a sentence."""

import base64
import hashlib
import os
import re
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from urllib.parse import SplitResult, parse_qs, urlencode, urlsplit

import google_crc32c
from pyarrow import fs

from chex.atomic import sync, sync_folder
from chex.errors import InputError
from search.room import out_of_room

T = TypeVar("T")
FIRST_WORD, LONG_WORK = 3, 300
"""Seconds for which requests are tried again: when a place is first asked, and in the middle of long work.

With 3, Google's client gives up 3 to 6 seconds after the first try; with its own default it takes 15 minutes.
"""
LIMIT = 8.0
"""Seconds after which a place that has not answered at all counts as unreachable."""

SCHEMES = ("gs", "s3", "file")
GOOGLE_LOGIN = (
    "log in with `gcloud auth application-default login`, or give the machine a service account with storage scope"
)
AWS_LOGIN = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give the machine a role that may use the bucket"


class Unreachable(InputError):
    """A bucket that cannot be used: no credentials, no network, not there, not permitted."""

    def __init__(self, what: str, reason: str, remedy: str):
        super().__init__(f"{what}: {reason}; {remedy}")
        self.reason, self.remedy = reason, remedy


def is_uri(text: str) -> bool:
    """Whether `text` names something by a URI (`gs://films/a.zip`); other texts are paths."""
    return "://" in text


@dataclass(frozen=True)
class Place:
    """A file or a folder. Every method raises Unreachable where the store does not do what is asked."""

    uri: str
    files: fs.FileSystem
    path: str

    def __truediv__(self, name: str) -> "Place":
        return Place(f"{self.uri.rstrip('/')}/{name}", self.files, f"{self.path.rstrip('/')}/{name}")

    @property
    def parent(self) -> "Place":
        """The folder that holds it."""
        return Place(self.uri.rstrip("/").rpartition("/")[0], self.files, self.path.rstrip("/").rpartition("/")[0])

    def info(self) -> fs.FileInfo:
        """What is there: type, size in bytes, time of its last change."""
        with told(self.uri):
            return self.files.get_file_info(self.path)

    def is_file(self) -> bool:
        """Whether it is a file; False where nothing is there."""
        return bool(self.info().is_file)

    def entries(self) -> dict[str, fs.FileInfo]:
        """Every file below it, by its path from here, in order; empty where nothing is there."""
        selector = fs.FileSelector(self.path, recursive=True, allow_not_found=True)
        with told(self.uri):
            found = self.files.get_file_info(selector)
        start = len(self.path.rstrip("/")) + 1
        return {each.path[start:]: each for each in sorted(found, key=lambda each: str(each.path)) if each.is_file}

    def folders(self) -> list[str]:
        """The names of the folders directly below it, in order; empty where nothing is there."""
        selector = fs.FileSelector(self.path, recursive=False, allow_not_found=True)
        with told(self.uri):
            found = self.files.get_file_info(selector)
        return sorted(each.base_name for each in found if each.type == fs.FileType.Directory)

    def open(self) -> fs.FileSystem:
        """The file, to read any part of; `read_at` may be called from several threads."""
        with told(self.uri):
            return self.files.open_input_file(self.path)

    def read(self) -> bytes:
        """The whole file. Its checksum is compared where the store has one (GCS: CRC32C, else MD5; others: none).

        What differs is read once more; then InputError is raised.
        """
        for _ in range(2):
            with told(self.uri), self.files.open_input_stream(self.path) as stream:
                content = stream.read()
                about = stream.metadata() or {}
            if not (wrong := _wrong(content, about)):
                return content
        raise InputError(f"{self.uri}: {wrong}; upload the file again")

    def write(self, content: bytes) -> None:
        """Makes this the file's content; it appears whole, or stays as it was.

        A bucket shows an object when all of it has come in. On a disk it is written beside and renamed, and is
        there after a loss of power too.
        """
        whole = not isinstance(self.files, fs.LocalFileSystem)
        target = self.path if whole else f"{self.path}.{secrets.token_hex(4)}.part"
        with told(self.uri):
            if not whole:
                self.files.create_dir(self.parent.path)
            with self.files.open_output_stream(target) as stream:
                stream.write(content)
            if not whole:
                sync(Path(target))
                self.files.move(target, self.path)
                sync_folder(Path(self.path).parent)

    def remove(self) -> None:
        """Removes the file; nothing happens where it is gone."""
        with told(self.uri):
            if self.files.get_file_info(self.path).is_file:
                self.files.delete_file(self.path)


def reach(uri: str) -> Place:
    """The place at `uri`, or at a local path, after its store has answered.

    Raises Unreachable within 10 seconds where it does not, and InputError for a URI of another form. What is done there
    later is tried for minutes: a network may be away for a while.
    """
    _within(LIMIT, uri, lambda: _connected(uri, FIRST_WORD).info())
    return place_at(uri)


def place_at(uri: str) -> Place:
    """The place at `uri`, whose store has answered before; what is done there is tried for minutes."""
    return _connected(uri, LONG_WORK)


def check_there(uri: str) -> Place:
    """The file or folder at `uri`. Raises InputError where nothing is there; otherwise as `reach`."""
    place = reach(uri)
    if place.info().type == fs.FileType.NotFound:
        raise InputError(f"{shown(uri)}: nothing is there{_without_bucket(place)}; correct the address")
    return place


def check_writable(uri: str) -> None:
    """Writes and removes a small file below `uri`. Raises Unreachable, within 10 seconds, where that fails."""

    def work() -> None:
        probe = _connected(uri, FIRST_WORD) / f".writable-{secrets.token_hex(4)}"
        probe.write(b"")
        probe.remove()

    try:
        _within(LIMIT, uri, work)
    except Unreachable as error:
        raise Unreachable(shown(uri), f"it cannot be written, {error.reason}", error.remedy) from error


def below(uri: str, name: str) -> str:
    """The URI of the file or folder `name` inside `uri`."""
    path, mark, query = uri.partition("?")
    return f"{path.rstrip('/')}/{name}{mark}{query}"


def beside(uri: str, name: str) -> str:
    """The URI of `name` in the folder that holds `uri`."""
    path, mark, query = uri.partition("?")
    return f"{path.rstrip('/').rpartition('/')[0]}/{name}{mark}{query}"


def shown(uri: str) -> str:
    """`uri` without what only the client needs to know."""
    return uri.partition("?")[0]


def _connected(uri: str, seconds: int) -> Place:
    if not is_uri(uri):
        return Place(uri, fs.LocalFileSystem(), str(uri))
    parts = urlsplit(uri)
    if parts.scheme not in SCHEMES:
        raise InputError(f"{shown(uri)}: '{parts.scheme}://' is not supported; give gs://, s3:// or a path")
    if parts.password:
        raise InputError(
            f"{parts.scheme}://...@{parts.hostname}: a URI is written into files and must not hold a key; {AWS_LOGIN}"
        )
    try:
        if parts.scheme == "s3":
            files, path = _s3(parts, seconds), parts.netloc.rpartition("@")[2] + parts.path
        else:
            query = {"retry_limit_seconds": [str(seconds)]} if parts.scheme == "gs" else {}
            asked = urlencode(query | parse_qs(parts.query), doseq=True)
            files, path = fs.FileSystem.from_uri(parts._replace(query=asked).geturl())
    except ValueError as error:
        raise InputError(f"{shown(uri)} is no address ({_plain(error)}); write for example gs://bucket/file") from error
    except OSError as error:
        raise unreachable(uri, error) from error
    return Place(shown(uri), files, path.rstrip("/"))


def _s3(parts: SplitResult, seconds: int) -> fs.FileSystem:
    """Of a URI `s3://bucket/path?region=...&scheme=...&endpoint_override=...`; without a region AWS is asked for it."""
    given = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    short = seconds == FIRST_WORD
    return fs.S3FileSystem(
        region=s3_region(parts),
        scheme=given.get("scheme"),
        endpoint_override=given.get("endpoint_override"),
        anonymous=parts.username == "anonymous",
        connect_timeout=seconds if short else 10,
        request_timeout=seconds if short else 60,
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=1 if short else 10),
    )


def s3_region(parts: SplitResult) -> str:
    """Returns the region of an `s3://` URI's bucket; AWS is asked where neither the URI nor the user says it."""
    given = parse_qs(parts.query).get("region", [""])[-1]
    region = given or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    return str(region or fs.resolve_s3_region(parts.netloc.rpartition("@")[2]))


def _within(seconds: float, uri: str, work: Callable[[], T]) -> T:
    """What `work` returns or raises. Raises Unreachable after `seconds`; the thread is then left to its fate."""
    came: list[T] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            came.append(work())
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if failed:
        raise failed[0]
    if not came:
        raise Unreachable(shown(uri), f"no answer within {seconds:g} seconds", "check the network and the address")
    return came[0]


@contextmanager
def told(uri: str) -> Iterator[None]:
    """Where the block raises what a store's client raises, Unreachable says it; a full disk stays an OSError."""
    try:
        yield
    except OSError as error:
        if out_of_room(error):
            raise
        raise unreachable(uri, error) from error


def unreachable(uri: str, error: OSError) -> Unreachable:
    """Returns what the user is told of an error of a store's client."""
    said = str(error)
    login = AWS_LOGIN if uri.startswith("s3") else GOOGLE_LOGIN
    if "OAuth2" in said or "credentials" in said.lower():
        reason, remedy = "no credentials for it can be had here, or no network to get them by", login
    elif re.search(r"CURL error|curlCode|UNAVAILABLE|NETWORK_CONNECTION", said):
        reason, remedy = "its store cannot be reached", "check the network and the address"
    elif re.search(r"PERMISSION_DENIED|UNAUTHENTICATED|ACCESS_DENIED|Permission denied|\b40[13]\b", said):
        reason, remedy = "permission denied", f"use an account that may, or {login}" if is_uri(uri) else "change it"
    elif re.search(r"NOT_FOUND|NO_SUCH_BUCKET|No such file|\b404\b", said):
        reason, remedy = "nothing is there, or there is no such bucket", "create the bucket, or correct the address"
    else:
        reason, remedy = _plain(error), "check the address and the rights"
    return Unreachable(shown(uri), reason, remedy)


def _plain(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]


def _without_bucket(place: Place) -> str:
    """What to add where the bucket itself is missing; nothing where it is there, or may not be asked about."""
    bucket = place.path.partition("/")[0]
    if isinstance(place.files, fs.LocalFileSystem):
        return ""
    try:
        missing = place.files.get_file_info(bucket).type == fs.FileType.NotFound
    except OSError:
        return ""
    return f", there is no bucket '{bucket}'" if missing else ""


def _wrong(content: bytes, about: dict[str, bytes]) -> str:
    """How `content` differs from what the store knows of it; "" where it does not."""
    about = {str(name).lower(): value for name, value in about.items()}
    size, crc, md5 = (about.get(name, b"").decode() for name in ("size", "crc32c", "md5hash"))
    if size and int(size) != len(content):
        return f"{len(content):,} bytes came of {int(size):,}"
    if crc:
        found = base64.b64encode(google_crc32c.value(content).to_bytes(4, "big")).decode()
        return "" if found == crc else f"its CRC32C is {found} and should be {crc}"
    found = base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode() if md5 else ""
    return "" if found == md5 else f"its MD5 is {found} and should be {md5}"
