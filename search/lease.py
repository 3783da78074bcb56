"""Which machine goes on with a search: a numbered record in the search's storage, that one machine alone can create.

Whoever takes a search over creates the record of the next number, if nobody has created it first; from then on the
holders of lower numbers write nothing more. Each writes its own record only.
"""

import json
import re
import secrets
import socket
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from chex.atomic import write_text
from search.bucket import Place, Unreachable, below, place_at, shown
from search.conditional import Unconditional, create

FOLDER = "driver"
"""In a search's folder and in its storage: driver/000001.json, driver/000002.json, ..."""
NUMBER = re.compile(r"(\d{6})\.json")


@dataclass(frozen=True)
class Record:
    """A command that goes on with a search, on one machine."""

    host: str
    token: str
    kept: int = 0
    """How often it has kept the search."""
    after: str = ""
    """The mark of whom it takes the search over from; blank where it is the first."""

    @property
    def mark(self) -> str:
        """Changes with each keeping."""
        return f"{self.token} {self.kept}"

    def follows(self, there: "Record") -> bool:
        """Whether the folder that has this record lacks nothing of a storage that has `there`."""
        return (self.token == there.token and self.kept >= there.kept) or self.after == there.mark


class Superseded(Unreachable):
    """Another machine goes on with the search."""

    def __init__(self, uri: str, other: Record | None):
        host = other.host if other else "another machine"
        super().__init__(
            shown(uri), f"{host} goes on with this search since", "this machine's part has ended; see there"
        )


@dataclass(frozen=True)
class Lease:
    """The right to write into the storage of a search, at `uri`; its trials on other machines hold it too."""

    uri: str
    number: int
    record: Record

    @property
    def name(self) -> str:
        """The path of the record below the search's folder."""
        return f"{FOLDER}/{self.number:06d}.json"

    def check(self) -> None:
        """Raises Superseded where another machine has taken the search over, and Unreachable."""
        there = newest(place_at(self.uri))
        if there is None or there[1].token != self.record.token:
            raise Superseded(self.uri, there and there[1])

    def kept_once_more(self, folder: Path) -> "Lease":
        """Notes in the search's `folder` and its storage that the search has been kept. Raises Unreachable."""
        lease = replace(self, record=replace(self.record, kept=self.record.kept + 1))
        write_record(lease, folder)
        (place_at(self.uri) / self.name).write(_text(lease.record).encode())
        return lease


def take(uri: str, folder: Path | None = None) -> Lease:
    """Takes the search at `uri` over from whoever has it; `folder`, if it is given, has the record too.

    It is in the folder first: a machine that is cut off in between has not fallen behind. Raises Superseded where
    another machine does it at the same moment and is first, and Unreachable.
    """
    place = place_at(uri)
    before = newest(place)
    after, number = (before[1].mark, before[0] + 1) if before else ("", 1)
    lease = Lease(uri, number, Record(socket.gethostname(), secrets.token_hex(8), after=after))
    if folder:
        write_record(lease, folder)
    if not _created(lease):
        there = newest(place)
        if there is None or there[1].token != lease.record.token:  # it is ours where an answer was lost
            raise Superseded(uri, there and there[1])
    return lease


def newest(place: Place) -> tuple[int, Record] | None:
    """Returns the highest number and its record in the storage at `place`; None where there is none.

    Raises Unreachable.
    """
    numbers = [int(found[1]) for name in (place / FOLDER).entries() if (found := NUMBER.fullmatch(name))]
    return (max(numbers), record_at(place, max(numbers))) if numbers else None


def record_at(place: Place, number: int) -> Record:
    """Returns the record of a number that is there. Raises Unreachable."""
    return Record(**json.loads((place / FOLDER / f"{number:06d}.json").read()))


def newest_in(folder: Path) -> Record | None:
    """Returns the record of the highest number in a search's folder; None where there is none."""
    found = sorted(path for path in (folder / FOLDER).glob("*.json") if NUMBER.fullmatch(path.name))
    return Record(**json.loads(found[-1].read_bytes())) if found else None


def write_record(lease: Lease, folder: Path) -> None:
    """Writes the record into the search's `folder`."""
    (folder / FOLDER).mkdir(exist_ok=True)
    write_text(folder / lease.name, _text(lease.record))


def _created(lease: Lease) -> bool:
    """Creates the record of `lease`; returns whether this machine is known to have created it.

    Where the store has no conditional writes the answer is False, and the caller reads which record is there.
    """
    where, content = below(lease.uri, lease.name), _text(lease.record).encode()
    try:
        return create(where, content)
    except Unconditional:
        if not place_at(where).is_file():
            place_at(where).write(content)
        return False


def _text(record: Record) -> str:
    return json.dumps(asdict(record))
