"""The driver's part in a search's storage: its folder goes there, and what trials left there comes back."""

import json
import re
import secrets
import socket
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from chex import checkpoint
from chex.atomic import write_text
from chex.errors import InputError
from search.book import BOOK, LOCKED_SECONDS
from search.bucket import Place, Unreachable, below, check_writable, reach, shown
from search.home import KEPT
from search.mirror import pull, push

CONFIG = "search.yaml"
DRIVER = "driver.json"
"""Which machine goes on with a search, and how often it has kept it; the same in its folder and in its storage."""
EVERY_SECONDS = 2.0
LARGE = (checkpoint.STATE, checkpoint.EARLIER, checkpoint.WEIGHTS)
"""What of a trial is needed only until it has ended."""
OTHERS = re.compile(r"(tune|confirm)/|trials/[^/]+/(" + "|".join(map(re.escape, (*KEPT, checkpoint.EARLIER))) + ")$")
"""Below a search's folder: what Ray Tune writes for itself, a search of its own, and what trials keep themselves."""


@dataclass(frozen=True)
class _Driver:
    """A command that goes on with a search, on one machine."""

    host: str
    token: str
    kept: int = 0
    after: str = ""
    """The mark of whom it takes the search over from: until it is in the storage, that one's is there."""

    @property
    def mark(self) -> str:
        """Changes with each keeping."""
        return f"{self.token} {self.kept}"

    def follows(self, there: "_Driver") -> bool:
        """Whether the folder that has this lacks nothing of a storage that has `there`."""
        return (self.token == there.token and self.kept >= there.kept) or self.after == there.mark


class Superseded(Unreachable):
    """Another machine goes on with the search."""

    def __init__(self, uri: str, other: _Driver | None):
        host = other.host if other else "another machine"
        super().__init__(
            shown(uri), f"{host} goes on with this search since", "this machine's part has ended; see there"
        )


class Stored:
    """What is kept of a search in its storage, at a URI.

    The book is copied after the files that it speaks of, and a trial's state is removed only after the book that says
    how the trial ended: whatever is lost with this machine, a search goes on from what is there. Who begins to keep a
    search takes it over; an earlier one that is still at work then finds that out, and changes nothing more.
    """

    def __init__(self, folder: Path, uri: str):
        """Raises Unreachable."""
        self.folder, self.uri, self.place = folder, uri, reach(uri)
        before = _driver_at(self.place)
        self.driver = _Driver(socket.gethostname(), secrets.token_hex(8), after=before.mark if before else "")
        self.superseded: Superseded | None = None
        self._sign()
        self.tidied = set[int]()
        self.one_at_a_time, self.changed, self.over = threading.Lock(), threading.Event(), threading.Event()

    def keep(self) -> None:
        """Copies what is new in the search's folder; it is there when this returns. Raises Unreachable."""
        with self.one_at_a_time:
            self._check_not_superseded()
            self.changed.clear()
            book, ended = _copied(self.folder / BOOK)
            push(self.folder, self.uri, _of_driver, patient=True)
            if book:
                (self.place / BOOK).write(book)
            for number in ended - self.tidied:
                for name in LARGE:
                    (self.place / "trials" / f"{number:03d}" / name).remove()
                self.tidied.add(number)
            self.driver = replace(self.driver, kept=self.driver.kept + 1)
            self._sign()

    def soon(self) -> None:
        """Copies what is new within a few seconds. Raises Superseded."""
        if self.superseded:
            raise self.superseded
        self.changed.set()

    def fetch(self, name: str, weights: bool = True) -> None:
        """Brings what a run left at `name` into the search's folder, without its state. Raises Unreachable."""
        wanted = {*KEPT} - {checkpoint.STATE} - ({checkpoint.WEIGHTS} if not weights else set())
        pull(below(self.uri, name), self.folder / name, wanted.__contains__, patient=True)

    def watch(self) -> None:
        """Sends what is new a few seconds after `soon` was called, until `over` is set."""
        while not self.over.is_set():
            self.changed.wait()
            if self.over.wait(EVERY_SECONDS):
                return
            try:
                self.keep()
            except Superseded:
                return
            except Unreachable:  # for a while, or for good: then a trial's start or the search's end says so
                self.changed.set()

    def _check_not_superseded(self) -> None:
        there = _driver_at(self.place)
        if there is None or there.token != self.driver.token:
            self.superseded = Superseded(self.uri, there)
            raise self.superseded

    def _sign(self) -> None:
        content = json.dumps(asdict(self.driver))
        write_text(self.folder / DRIVER, content)
        (self.place / DRIVER).write(content.encode())


@contextmanager
def kept(folder: Path, uri: str | None) -> Iterator[Stored | None]:
    """A Stored that works while the block runs, and holds all that the block left after it; None without a storage.

    Raises Unreachable.
    """
    if uri is None:
        yield None
        return
    stored = Stored(folder, uri)
    stored.keep()
    thread = threading.Thread(target=stored.watch, name="stored", daemon=True)
    thread.start()
    try:
        yield stored
    finally:
        stored.over.set()
        stored.changed.set()
        thread.join()
        stored.keep()


def deliver(folder: Path, uri: str | None, *names: str) -> None:
    """Makes these files in the storage at `uri` what they are in the search's `folder`; others are left alone.

    Nothing happens where there is no storage, or none that keeps the search. Raises Unreachable, within seconds where
    the store does not answer.
    """
    if uri is not None and (reach(uri) / CONFIG).is_file():
        push(folder, uri, names.__contains__)


def check_storage(folder: Path, uri: str | None, fresh: bool) -> None:
    """Raises InputError where another search is kept at `uri`, or where another machine has gone on with the search
    since `folder` had it; and Unreachable where nothing can be kept."""
    if uri is None:
        return
    check_writable(uri)
    if fresh:
        return
    place = reach(uri)
    if (folder / CONFIG).exists():
        _check_followed(folder, place)
    elif (place / CONFIG).is_file():
        raise InputError(
            f"{place.uri} holds a search already; go on with it: `chex-search resume {place.uri}`, give this one a "
            "--name of its own, or start over with --fresh"
        )


def _check_followed(folder: Path, place: Place) -> None:
    """Raises InputError where `folder` lacks what another machine has kept since."""
    there, path = _driver_at(place), folder / DRIVER
    ours = _Driver(**json.loads(path.read_bytes())) if path.exists() else None
    if there and not (ours and ours.follows(there)):
        raise InputError(
            f"{folder} is behind {place.uri}, which {there.host} has gone on with; move the folder away, and go on "
            f"with what is there: `chex-search resume {place.uri}`"
        )


def _driver_at(place: Place) -> _Driver | None:
    return _Driver(**json.loads((place / DRIVER).read())) if (place / DRIVER).is_file() else None


def forget(uri: str | None, name: str = "") -> None:
    """Removes a file of the search kept at `uri`, or all of it. Raises Unreachable."""
    if uri is not None:
        place = reach(uri)
        for each in [name] if name else place.entries():
            (place / each).remove()


def _of_driver(name: str) -> bool:
    return not OTHERS.match(name) and name not in (BOOK, DRIVER)


def _copied(book: Path) -> tuple[bytes, set[int]]:
    """The book as it is now, whole, and the numbers of the trials that it says have ended."""
    if not book.exists():
        return b"", set()
    with closing(sqlite3.connect(book, timeout=LOCKED_SECONDS)) as ours, closing(sqlite3.connect(":memory:")) as copy:
        ours.backup(copy)
        numbers = copy.execute("select number from trials where state not in ('RUNNING', 'WAITING')").fetchall()
        return copy.serialize(), {number + 1 for (number,) in numbers}
