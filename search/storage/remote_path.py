"""Reads and writes files in a bucket (gs://, s3://) or on a disk, by URI; errors become a sentence for the user."""

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

from chex.errors import InputError
from chex.runtime.atomic_io import fsync_file, fsync_folder
from search.storage.disk_full import disk_full_reason
from search.storage.uri import Unreachable, is_uri, without_query

T = TypeVar("T")
PROBE_SECONDS, RETRY_SECONDS = 3, 300
"""Seconds for which a request is retried: for the first request to a storage, and during long work.

With 3, Google's client gives up 3 to 6 seconds after the first try; its own default is 15 minutes."""
ANSWER_SECONDS = 8.0
"""A storage that has not answered after this time counts as unreachable."""

SCHEMES = ("gs", "s3", "file")
GOOGLE_LOGIN = (
    "log in with `gcloud auth application-default login`, or give the machine a service account with storage scope"
)
AWS_LOGIN = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give the machine a role that may use the bucket"


@dataclass(frozen=True)
class RemotePath:
    """A file or a folder. Every method raises Unreachable if the storage refuses or does not answer."""

    uri: str
    filesystem: fs.FileSystem
    path: str

    def __truediv__(self, name: str) -> "RemotePath":
        return RemotePath(f"{self.uri.rstrip('/')}/{name}", self.filesystem, f"{self.path.rstrip('/')}/{name}")

    @property
    def parent(self) -> "RemotePath":
        """The folder that contains it."""
        return RemotePath(
            self.uri.rstrip("/").rpartition("/")[0], self.filesystem, self.path.rstrip("/").rpartition("/")[0]
        )

    def info(self) -> fs.FileInfo:
        """Returns its type, its size in bytes and the time of its last change."""
        with errors_as_unreachable(self.uri):
            return self.filesystem.get_file_info(self.path)

    def is_file(self) -> bool:
        """Returns whether it is a file; False if nothing exists there."""
        return bool(self.info().is_file)

    def entries(self) -> dict[str, fs.FileInfo]:
        """Returns every file below it by its relative path, in order; empty if nothing exists there."""
        selector = fs.FileSelector(self.path, recursive=True, allow_not_found=True)
        with errors_as_unreachable(self.uri):
            found = self.filesystem.get_file_info(selector)
        start = len(self.path.rstrip("/")) + 1
        return {file.path[start:]: file for file in sorted(found, key=lambda file: str(file.path)) if file.is_file}

    def folders(self) -> list[str]:
        """Returns the names of the folders directly below it, in order; empty if nothing exists there."""
        selector = fs.FileSelector(self.path, recursive=False, allow_not_found=True)
        with errors_as_unreachable(self.uri):
            found = self.filesystem.get_file_info(selector)
        return sorted(file.base_name for file in found if file.type == fs.FileType.Directory)

    def open(self) -> fs.FileSystem:
        """Opens the file for random access; `read_at` may be called from several threads."""
        with errors_as_unreachable(self.uri):
            return self.filesystem.open_input_file(self.path)

    def read(self) -> bytes:
        """Reads the whole file and compares it with the storage's checksum (GCS: CRC32C, else MD5; others have none).

        Reads a file that differs once more. Raises InputError if it differs again.
        """
        for _ in range(2):
            with errors_as_unreachable(self.uri), self.filesystem.open_input_stream(self.path) as stream:
                content = stream.read()
                metadata = stream.metadata() or {}
            if not (problem := _checksum_problem(content, metadata)):
                return content
        raise InputError(f"{self.uri}: {problem}; upload the file again")

    def write(self, content: bytes) -> None:
        """Replaces the file's content; the file appears whole or stays as it was.

        A bucket shows an object once all of it has arrived. On a disk the file is written to a temporary name, synced
        and renamed, so that it survives a loss of power.
        """
        atomic = not isinstance(self.filesystem, fs.LocalFileSystem)
        target = self.path if atomic else f"{self.path}.{secrets.token_hex(4)}.part"
        with errors_as_unreachable(self.uri):
            if not atomic:
                self.filesystem.create_dir(self.parent.path)
            with self.filesystem.open_output_stream(target) as stream:
                stream.write(content)
            if not atomic:
                fsync_file(Path(target))
                self.filesystem.move(target, self.path)
                fsync_folder(Path(self.path).parent)

    def remove(self) -> None:
        """Removes the file; does nothing if it does not exist."""
        with errors_as_unreachable(self.uri):
            if self.filesystem.get_file_info(self.path).is_file:
                self.filesystem.delete_file(self.path)


def connect(uri: str) -> RemotePath:
    """Returns the path at `uri`, or at a local path, after its storage has answered.

    Raises Unreachable within 10 seconds if it does not answer, and InputError if the URI is malformed. Later requests
    are retried for minutes, since a network may be down for a while.
    """
    _with_timeout(ANSWER_SECONDS, uri, lambda: _open(uri, PROBE_SECONDS).info())
    return connect_with_retries(uri)


def connect_with_retries(uri: str) -> RemotePath:
    """Returns the path at `uri`, whose storage has answered before; requests are retried for minutes."""
    return _open(uri, RETRY_SECONDS)


def connect_existing(uri: str) -> RemotePath:
    """Returns the file or folder at `uri`. Raises InputError if nothing exists there, and the errors of `connect`."""
    remote = connect(uri)
    if remote.info().type == fs.FileType.NotFound:
        raise InputError(f"{without_query(uri)}: nothing exists there{_missing_bucket(remote)}; correct the address")
    return remote


def check_writable(uri: str) -> None:
    """Writes and removes a small file below `uri`. Raises Unreachable within 10 seconds if that fails."""

    def write_probe() -> None:
        probe = _open(uri, PROBE_SECONDS) / f".writable-{secrets.token_hex(4)}"
        probe.write(b"")
        probe.remove()

    try:
        _with_timeout(ANSWER_SECONDS, uri, write_probe)
    except Unreachable as error:
        raise Unreachable(without_query(uri), f"it cannot be written, {error.reason}", error.remedy) from error


def _open(uri: str, seconds: int) -> RemotePath:
    if not is_uri(uri):
        return RemotePath(uri, fs.LocalFileSystem(), str(uri))
    parts = urlsplit(uri)
    if parts.scheme not in SCHEMES:
        raise InputError(f"{without_query(uri)}: '{parts.scheme}://' is not supported; give gs://, s3:// or a path")
    if parts.password:
        raise InputError(
            f"{parts.scheme}://...@{parts.hostname}: a URI is written into files and must not hold a key; {AWS_LOGIN}"
        )
    try:
        if parts.scheme == "s3":
            filesystem, path = _s3(parts, seconds), parts.netloc.rpartition("@")[2] + parts.path
        else:
            query = {"retry_limit_seconds": [str(seconds)]} if parts.scheme == "gs" else {}
            query_text = urlencode(query | parse_qs(parts.query), doseq=True)
            filesystem, path = fs.FileSystem.from_uri(parts._replace(query=query_text).geturl())
    except ValueError as error:
        raise InputError(
            f"{without_query(uri)} is not an address ({_one_line(error)}); write for example gs://bucket/file"
        ) from error
    except OSError as error:
        raise unreachable(uri, error) from error
    return RemotePath(without_query(uri), filesystem, path.rstrip("/"))


def _s3(parts: SplitResult, seconds: int) -> fs.FileSystem:
    """Opens the storage of a URI `s3://bucket/path?region=...&scheme=...&endpoint_override=...`."""
    options = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    probing = seconds == PROBE_SECONDS
    return fs.S3FileSystem(
        region=s3_region(parts),
        scheme=options.get("scheme"),
        endpoint_override=options.get("endpoint_override"),
        anonymous=parts.username == "anonymous",
        connect_timeout=seconds if probing else 10,
        request_timeout=seconds if probing else 60,
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=1 if probing else 10),
    )


def s3_region(parts: SplitResult) -> str:
    """Returns the region of an `s3://` URI's bucket; asks AWS if neither the URI nor the environment gives it."""
    region_option = parse_qs(parts.query).get("region", [""])[-1]
    region = region_option or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    return str(region or fs.resolve_s3_region(parts.netloc.rpartition("@")[2]))


def _with_timeout(seconds: float, uri: str, function: Callable[[], T]) -> T:
    """Returns or raises what `function` does. Raises Unreachable after `seconds` and abandons the worker thread."""
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(function())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if errors:
        raise errors[0]
    if not results:
        raise Unreachable(
            without_query(uri), f"no answer within {seconds:g} seconds", "check the network and the address"
        )
    return results[0]


@contextmanager
def errors_as_unreachable(uri: str) -> Iterator[None]:
    """Converts the errors of a storage's client inside the block to Unreachable; a full disk stays an OSError."""
    try:
        yield
    except OSError as error:
        if disk_full_reason(error):
            raise
        raise unreachable(uri, error) from error


def unreachable(uri: str, error: OSError) -> Unreachable:
    """Returns the error for the user that corresponds to an error of a storage's client."""
    message = str(error)
    login = AWS_LOGIN if uri.startswith("s3") else GOOGLE_LOGIN
    if "OAuth2" in message or "credentials" in message.lower():
        reason, remedy = "no credentials for it, or no network to get them", login
    elif re.search(r"CURL error|curlCode|UNAVAILABLE|NETWORK_CONNECTION", message):
        reason, remedy = "its storage cannot be reached", "check the network and the address"
    elif re.search(r"PERMISSION_DENIED|UNAUTHENTICATED|ACCESS_DENIED|Permission denied|\b40[13]\b", message):
        reason, remedy = (
            "permission denied",
            f"use an account with access, or {login}" if is_uri(uri) else "change the permissions",
        )
    elif re.search(r"NOT_FOUND|NO_SUCH_BUCKET|No such file|\b404\b", message):
        reason, remedy = (
            "nothing exists there, or the bucket does not exist",
            "create the bucket, or correct the address",
        )
    else:
        reason, remedy = _one_line(error), "check the address and the permissions"
    return Unreachable(without_query(uri), reason, remedy)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]


def _missing_bucket(remote: RemotePath) -> str:
    """Returns the part of a sentence that says that the bucket does not exist; "" if it exists or cannot be checked."""
    bucket = remote.path.partition("/")[0]
    if isinstance(remote.filesystem, fs.LocalFileSystem):
        return ""
    try:
        missing = remote.filesystem.get_file_info(bucket).type == fs.FileType.NotFound
    except OSError:
        return ""
    return f", there is no bucket '{bucket}'" if missing else ""


def _checksum_problem(content: bytes, metadata: dict[str, bytes]) -> str:
    """Returns how `content` differs from the storage's metadata; "" if it does not differ."""
    metadata = {str(name).lower(): value for name, value in metadata.items()}
    size, crc, md5 = (metadata.get(name, b"").decode() for name in ("size", "crc32c", "md5hash"))
    if size and int(size) != len(content):
        return f"{len(content):,} of {int(size):,} bytes arrived"
    if crc:
        checksum = base64.b64encode(google_crc32c.value(content).to_bytes(4, "big")).decode()
        return "" if checksum == crc else f"its CRC32C is {checksum} and should be {crc}"
    checksum = base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode() if md5 else ""
    return "" if checksum == md5 else f"its MD5 is {checksum} and should be {md5}"
