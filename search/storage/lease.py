"""Takes and checks the lease of a search: a numbered record in its storage, which exactly one machine can create.

A machine that takes over a search creates the record with the next number. From then on the machines with lower numbers
write nothing more. Each machine writes only its own record.
"""

import json
import re
import secrets
import socket
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from chex.runtime.atomic_io import write_text
from search.storage.conditional_write import NoConditionalWrites, create_if_absent
from search.storage.remote_path import RemotePath, connect_with_retries
from search.storage.uri import Unreachable, child_uri, without_query

LEASE_FOLDER = "driver"
"""The folder of the records in a search's folder and in its storage: driver/000001.json, driver/000002.json, ..."""
RECORD_NAME = re.compile(r"(\d{6})\.json")


@dataclass(frozen=True)
class LeaseRecord:
    """One process on one machine that runs a search."""

    host: str
    token: str
    syncs: int = 0
    """How often it has synced the search with the storage."""
    previous: str = ""
    """The version that the previous machine's record had at the takeover; blank for the first record."""

    @property
    def version(self) -> str:
        """Identifies the record's state; it changes with each sync."""
        return f"{self.token} {self.syncs}"

    def descends_from(self, other: "LeaseRecord") -> bool:
        """Returns whether the folder with this record has everything that a storage with the record `other` has."""
        return (self.token == other.token and self.syncs >= other.syncs) or self.previous == other.version


class LeaseLost(Unreachable):
    """Another machine has taken over the search."""

    def __init__(self, uri: str, other: LeaseRecord | None):
        host = other.host if other else "another machine"
        super().__init__(
            without_query(uri),
            f"{host} has taken over this search",
            "this machine no longer runs it; follow it on that machine",
        )


@dataclass(frozen=True)
class Lease:
    """The right to write into the storage of a search at `uri`; trials on other machines use the same lease."""

    uri: str
    number: int
    record: LeaseRecord

    @property
    def name(self) -> str:
        """The path of the record below the search's folder."""
        return f"{LEASE_FOLDER}/{self.number:06d}.json"

    def check(self) -> None:
        """Raises LeaseLost if another machine has taken over the search, Unreachable if the storage does not answer."""
        latest = latest_record(connect_with_retries(self.uri))
        if latest is None or latest[1].token != self.record.token:
            raise LeaseLost(self.uri, latest and latest[1])

    def renewed(self, folder: Path) -> "Lease":
        """Returns the lease after one more sync; writes its record to `folder` and the storage. Raises Unreachable."""
        lease = replace(self, record=replace(self.record, syncs=self.record.syncs + 1))
        write_record(lease, folder)
        (connect_with_retries(self.uri) / self.name).write(_to_json(lease.record).encode())
        return lease


def take_lease(uri: str, folder: Path | None = None) -> Lease:
    """Takes over the search at `uri`; also writes the record into `folder` if one is given.

    The folder gets the record first, so that a machine that stops between the two writes does not count as behind.
    Raises LeaseLost if another machine takes over at the same moment and is first, and Unreachable.
    """
    remote = connect_with_retries(uri)
    previous = latest_record(remote)
    previous_version, number = (previous[1].version, previous[0] + 1) if previous else ("", 1)
    lease = Lease(uri, number, LeaseRecord(socket.gethostname(), secrets.token_hex(8), previous=previous_version))
    if folder:
        write_record(lease, folder)
    if not _create_record(lease):
        latest = latest_record(remote)
        if latest is None or latest[1].token != lease.record.token:  # else it is ours: only the answer was lost
            raise LeaseLost(uri, latest and latest[1])
    return lease


def latest_record(remote: RemotePath) -> tuple[int, LeaseRecord] | None:
    """Returns the highest record number and its record; None if there is no record. Raises Unreachable."""
    numbers = [int(found[1]) for name in (remote / LEASE_FOLDER).entries() if (found := RECORD_NAME.fullmatch(name))]
    return (max(numbers), read_record(remote, max(numbers))) if numbers else None


def read_record(remote: RemotePath, number: int) -> LeaseRecord:
    """Returns the record with this number. Raises Unreachable."""
    return LeaseRecord(**json.loads((remote / LEASE_FOLDER / f"{number:06d}.json").read()))


def latest_local_record(folder: Path) -> LeaseRecord | None:
    """Returns the record with the highest number in a search's folder; None if there is no record."""
    paths = sorted(path for path in (folder / LEASE_FOLDER).glob("*.json") if RECORD_NAME.fullmatch(path.name))
    return LeaseRecord(**json.loads(paths[-1].read_bytes())) if paths else None


def write_record(lease: Lease, folder: Path) -> None:
    """Writes the record into the search's `folder`."""
    (folder / LEASE_FOLDER).mkdir(exist_ok=True)
    write_text(folder / lease.name, _to_json(lease.record))


def _create_record(lease: Lease) -> bool:
    """Creates the record of `lease`; returns whether it is certain that this machine created it.

    Returns False for a storage without conditional writes; the caller then reads which record exists.
    """
    uri, content = child_uri(lease.uri, lease.name), _to_json(lease.record).encode()
    try:
        return create_if_absent(uri, content)
    except NoConditionalWrites:
        if not connect_with_retries(uri).is_file():
            connect_with_retries(uri).write(content)
        return False


def _to_json(record: LeaseRecord) -> str:
    return json.dumps(asdict(record))
