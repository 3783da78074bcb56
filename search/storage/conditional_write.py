"""Writes a file only if it does not exist yet (a conditional write), so exactly one of several machines succeeds."""

import configparser
import errno
import os
import secrets
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from chex.runtime.atomic_io import fsync_file, fsync_folder
from search.storage.remote_path import (
    PROBE_SECONDS,
    RETRY_SECONDS,
    connect_with_retries,
    errors_as_unreachable,
    s3_region,
    unreachable,
)
from search.storage.uri import child_uri, is_uri

NO_LINK_ERRORS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK)
REFUSAL_WORDS = ("501", "NotImplemented", "token request", "credential", "Permission", "permission", "401", "403")
"""Words in the error of a storage without conditional writes, or of a client without credentials for them."""


class NoConditionalWrites(Exception):
    """The storage has no conditional writes, or this machine cannot ask for them; the message says why."""


def create_if_absent(uri: str, content: bytes, retry: bool = True) -> bool:
    """Writes the whole file at `uri` and returns True; returns False if the file exists already.

    False can also mean that an earlier attempt of the same call wrote the file and its answer was lost: the caller has
    to read the file. Raises NoConditionalWrites. Raises Unreachable after minutes, or after seconds without `retry`.
    """
    scheme = urlsplit(uri).scheme if is_uri(uri) else "file"
    return (
        _create_by_link(uri, content)
        if scheme == "file"
        else _create_by_put(uri, content, RETRY_SECONDS if retry else PROBE_SECONDS)
    )


def why_no_conditional_writes(uri: str) -> str:
    """Returns why conditional writes below the folder `uri` do not work; "" if they work.

    Creates a small file twice and removes it. Raises Unreachable.
    """
    probe = child_uri(uri, f".created-{secrets.token_hex(4)}")
    try:
        create_if_absent(probe, b"1", retry=False)
        overwritten = create_if_absent(probe, b"2", retry=False)
    except NoConditionalWrites as error:
        return str(error)
    finally:
        connect_with_retries(probe).remove()
    return "its storage overwrites a file in a conditional write" if overwritten else ""


def _create_by_link(uri: str, content: bytes) -> bool:
    """Creates the file as a hard link, which is atomic on NFS too, where O_EXCL is not reliable."""
    path = Path(connect_with_retries(uri).path)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with errors_as_unreachable(uri):
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(content)
            fsync_file(temporary)
            try:
                os.link(temporary, path)
                fsync_folder(path.parent)
            except FileExistsError:
                return False
            except OSError as error:
                if error.errno not in NO_LINK_ERRORS:
                    raise
                raise NoConditionalWrites(f"its file system makes no links ({error.strerror})") from error
    finally:
        temporary.unlink(missing_ok=True)
    return True


def _create_by_put(uri: str, content: bytes, seconds: int) -> bool:
    import obstore
    from obstore.exceptions import AlreadyExistsError, BaseError, NotSupportedError

    store, key = _store(uri, seconds)
    try:
        obstore.put(store, key, content, mode="create", use_multipart=False)
    except AlreadyExistsError:
        return False
    except (BaseError, OSError) as error:
        message = str(error).split("\n\nDebug source")[0]
        if isinstance(error, NotSupportedError) or any(text in message for text in REFUSAL_WORDS):
            raise NoConditionalWrites(f"a conditional write is refused ({' '.join(message.split())[:200]})") from error
        raise unreachable(uri, OSError("404" if isinstance(error, FileNotFoundError) else "UNAVAILABLE")) from error
    return True


def _store(uri: str, seconds: int) -> tuple[Any, str]:
    """Returns the bucket of `uri`, opened with the same options as in remote_path, and the key of the file in it."""
    from obstore.store import GCSStore, S3Store

    parts, key = urlsplit(uri), connect_with_retries(uri).path.partition("/")[2]
    query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    anonymous, bucket = parts.username == "anonymous", parts.netloc.rpartition("@")[2]
    scheme, endpoint = query.get("scheme") or "https", query.get("endpoint_override")
    base = f"{scheme}://{endpoint}" if endpoint else None
    client: dict[str, Any] = {
        "client_options": {"allow_http": scheme == "http", "connect_timeout": timedelta(seconds=min(seconds, 10))},
        "retry_config": {
            "max_retries": 2 if seconds == PROBE_SECONDS else 10,
            "retry_timeout": timedelta(seconds=seconds),
        },
    }
    if parts.scheme == "gs":
        options: dict[str, Any] = {"base_url": base, "bearer_token": "anonymous" if anonymous else None}
        return GCSStore(bucket, **_without_none(options), **client), key
    credentials = {"skip_signature": True} if anonymous else _aws_keys()
    return S3Store(bucket, **_without_none({"region": s3_region(parts), "endpoint": base} | credentials), **client), key


def _without_none(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _aws_keys() -> dict[str, str]:
    """Returns the keys in the user's AWS profile, which obstore does not read; none if the environment has keys."""
    if "AWS_ACCESS_KEY_ID" in os.environ:
        return {}
    profiles = configparser.ConfigParser()
    profiles.read(Path(os.environ.get("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials")).expanduser())
    profile = os.environ.get("AWS_PROFILE", "default")
    names = ("aws_access_key_id", "aws_secret_access_key", "aws_session_token")
    return {name: profiles[profile][name] for name in names if profiles.has_option(profile, name)}
