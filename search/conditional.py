"""A file that is written only where there is none yet: of several machines that try it at once, one alone succeeds."""

import configparser
import errno
import os
import secrets
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from chex.atomic import sync, sync_folder
from search.bucket import FIRST_WORD, LONG_WORK, below, is_uri, place_at, s3_region, told, unreachable

NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK)
REFUSED = ("501", "NotImplemented", "token request", "credential", "Permission", "permission", "401", "403")
"""What is in the message of a store that has no such writes, or of a client that has no credentials for them."""


class Unconditional(Exception):
    """The store has no conditional writes, or they cannot be asked for from here; the message says why."""


def create(uri: str, content: bytes, patient: bool = True) -> bool:
    """Writes the new file at `uri`, whole, and returns True; returns False where a file is there already.

    False may also come of an earlier try of the same call whose answer was lost: read what is there. Raises
    Unconditional, and Unreachable after minutes, or seconds where it is not `patient`.
    """
    scheme = urlsplit(uri).scheme if is_uri(uri) else "file"
    return _linked(uri, content) if scheme == "file" else _put(uri, content, LONG_WORK if patient else FIRST_WORD)


def why_unconditional(uri: str) -> str:
    """Returns why a file below the folder `uri` cannot be created by one machine alone; "" where it can.

    Creates a small file twice, and removes it. Raises Unreachable.
    """
    probe = below(uri, f".created-{secrets.token_hex(4)}")
    try:
        create(probe, b"1", patient=False)
        twice = create(probe, b"2", patient=False)
    except Unconditional as error:
        return str(error)
    finally:
        place_at(probe).remove()
    return "its store overwrites a file that it was told not to" if twice else ""


def _linked(uri: str, content: bytes) -> bool:
    """Creates the file as a link, which appears whole or not at all, on NFS too, where O_EXCL cannot be relied on."""
    path = Path(place_at(uri).path)
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with told(uri):
            path.parent.mkdir(parents=True, exist_ok=True)
            beside.write_bytes(content)
            sync(beside)
            try:
                os.link(beside, path)
                sync_folder(path.parent)
            except FileExistsError:
                return False
            except OSError as error:
                if error.errno not in NO_LINKS:
                    raise
                raise Unconditional(f"its file system makes no links ({error.strerror})") from error
    finally:
        beside.unlink(missing_ok=True)
    return True


def _put(uri: str, content: bytes, seconds: int) -> bool:
    import obstore
    from obstore.exceptions import AlreadyExistsError, BaseError, NotSupportedError

    store, key = _store(uri, seconds)
    try:
        obstore.put(store, key, content, mode="create", use_multipart=False)
    except AlreadyExistsError:
        return False
    except (BaseError, OSError) as error:
        said = str(error).split("\n\nDebug source")[0]
        if isinstance(error, NotSupportedError) or any(each in said for each in REFUSED):
            raise Unconditional(f"a conditional write is refused ({' '.join(said.split())[:200]})") from error
        raise unreachable(uri, OSError("404" if isinstance(error, FileNotFoundError) else "UNAVAILABLE")) from error
    return True


def _store(uri: str, seconds: int) -> tuple[Any, str]:
    """The bucket that `uri` is in, reached as `search.bucket` reaches it, and the key of the file in it."""
    from obstore.store import GCSStore, S3Store

    parts, key = urlsplit(uri), place_at(uri).path.partition("/")[2]
    given = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    anonymous, bucket = parts.username == "anonymous", parts.netloc.rpartition("@")[2]
    scheme, endpoint = given.get("scheme") or "https", given.get("endpoint_override")
    base = f"{scheme}://{endpoint}" if endpoint else None
    how: dict[str, Any] = {
        "client_options": {"allow_http": scheme == "http", "connect_timeout": timedelta(seconds=min(seconds, 10))},
        "retry_config": {
            "max_retries": 2 if seconds == FIRST_WORD else 10,
            "retry_timeout": timedelta(seconds=seconds),
        },
    }
    if parts.scheme == "gs":
        own: dict[str, Any] = {"base_url": base, "bearer_token": "anonymous" if anonymous else None}
        return GCSStore(bucket, **_given(own), **how), key
    keys = {"skip_signature": True} if anonymous else _aws_keys()
    return S3Store(bucket, **_given({"region": s3_region(parts), "endpoint": base} | keys), **how), key


def _given(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _aws_keys() -> dict[str, str]:
    """The keys of the user's profile where the environment has none: obstore does not read that file itself."""
    if "AWS_ACCESS_KEY_ID" in os.environ:
        return {}
    profiles = configparser.ConfigParser()
    profiles.read(Path(os.environ.get("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials")).expanduser())
    profile = os.environ.get("AWS_PROFILE", "default")
    names = ("aws_access_key_id", "aws_secret_access_key", "aws_session_token")
    return {name: profiles[profile][name] for name in names if profiles.has_option(profile, name)}
