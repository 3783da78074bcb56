"""The driver's part in a search's storage: its folder goes there, and what trials left there comes back."""

import re
import sqlite3
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from chex import checkpoint
from chex.errors import InputError
from chex.output_folder import MARK
from search.book import BOOK, LOCKED_SECONDS
from search.bucket import Place, Unreachable, below, check_writable, reach, shown
from search.conditional import why_unconditional
from search.home import KEPT
from search.lease import FOLDER, Superseded, newest, newest_in, record_at, take
from search.mirror import pull, push

CONFIG = "search.yaml"
EVERY_SECONDS = 2.0
LARGE = (checkpoint.STATE, checkpoint.EARLIER, checkpoint.WEIGHTS)
"""What of a trial is needed only until it has ended."""
OTHERS = re.compile(
    rf"(tune|confirm|{FOLDER})/|steps\.json$|trials/[^/]+/("
    + "|".join(map(re.escape, (*KEPT, checkpoint.EARLIER)))
    + ")$"
)
"""Below a search's folder: what Ray Tune writes for itself, a search of its own, the records of who had the search,
steps, and what trials keep themselves."""


class Stored:
    """What is kept of a search in its storage, at a URI.

    The book is copied after the files that it speaks of, and a trial's state is removed only after the book that says
    how the trial ended: whatever is lost with this machine, a search goes on from what is there. Whoever begins to keep
    a search takes it over. An earlier one that is still at work finds that out before the next file that it would
    write, and so do its trials; only a file that is on its way in that moment still arrives.
    """

    def __init__(self, folder: Path, uri: str):
        """Raises InputError where `folder` lacks what the storage has, Superseded and Unreachable."""
        self.folder, self.uri, self.place = folder, uri, reach(uri)
        goes_on = (self.place / CONFIG).is_file()
        if goes_on:
            _check_followed(folder, self.place)
        self.lease = take(uri, folder)
        if goes_on and self.lease.number > 1:
            self._check_nothing_came()
        self.superseded: Superseded | None = None
        self.tidied = set[int]()
        self.one_at_a_time, self.changed, self.over = threading.Lock(), threading.Event(), threading.Event()

    def keep(self) -> None:
        """Copies what is new in the search's folder; it is there when this returns. Raises Unreachable."""
        with self.one_at_a_time:
            self._check()
            self.changed.clear()
            book, ended = _copied(self.folder / BOOK)
            push(self.folder, self.uri, _of_driver, patient=True, check=self._check)
            if book:
                self._check()
                (self.place / BOOK).write(book)
            for number in ended - self.tidied:
                for name in LARGE:
                    self._check()
                    (self.place / "trials" / f"{number:03d}" / name).remove()
                self.tidied.add(number)
            self.lease = self.lease.kept_once_more(self.folder)

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

    def _check(self) -> None:
        try:
            self.lease.check()
        except Superseded as error:
            self.superseded = error
            raise

    def _check_nothing_came(self) -> None:
        """Raises InputError where the one before has kept the search after this one had read it, and before the lease
        was taken."""
        before = record_at(self.place, self.lease.number - 1)
        if self.lease.record.after != before.mark:
            (self.folder / self.lease.name).unlink()
            raise _behind(self.folder, self.uri, before.host)


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
    since `folder` had it; for a `fresh` one where something else than a search is kept there; and Unreachable where
    nothing can be kept.

    Says on stderr where the store cannot tell apart two machines that take the search over at the same moment.
    """
    if uri is None:
        return
    check_writable(uri)
    if why := why_unconditional(uri):
        print(
            f"{shown(uri)}: {why}; two machines that go on with one search at the same moment may both do so until one "
            "of them keeps it: resume a search on one machine only",
            file=sys.stderr,
        )
    place = reach(uri)
    if fresh:
        _check_ours(place)
        return
    if (folder / CONFIG).exists():
        _check_followed(folder, place)
    elif (place / CONFIG).is_file():
        raise InputError(
            f"{place.uri} holds a search already; go on with it: `chex-search resume {place.uri}`, give this one a "
            "--name of its own, or start over with --fresh"
        )


def _check_ours(place: Place) -> None:
    """Raises InputError where `place` holds files and none of them says that this program keeps a search there."""
    names = [name for name in place.entries() if not name.startswith((".writable-", ".created-"))]
    if names and not any(name in (MARK, CONFIG) or name.startswith(f"{FOLDER}/") for name in names):
        raise InputError(
            f"{place.uri} holds files that are not a search's (no {CONFIG} among them, first {min(names)}), and "
            "--fresh does not delete them; give the search another --name or --storage"
        )


def _check_followed(folder: Path, place: Place) -> None:
    """Raises InputError where `folder` lacks what another machine has kept since."""
    there, ours = newest(place), newest_in(folder)
    if there and not (ours and ours.follows(there[1])):
        raise _behind(folder, place.uri, there[1].host)


def _behind(folder: Path, uri: str, host: str) -> InputError:
    return InputError(
        f"{folder} is behind {shown(uri)}, which {host} has gone on with; move the folder away, and go on with what is "
        f"there: `chex-search resume {shown(uri)}`"
    )


def forget(uri: str | None, name: str = "") -> None:
    """Removes a file of the search kept at `uri`, or all of it, after it was taken over.

    What says who had the search stays: another machine that is still at work on it has to find out. Raises Unreachable,
    and InputError where all is to be removed and it is no search.
    """
    if uri is None:
        return
    place = reach(uri)
    if not name:
        _check_ours(place)
        take(uri)
    for each in [name] if name else place.entries():
        if not each.startswith(f"{FOLDER}/"):
            (place / each).remove()


def _of_driver(name: str) -> bool:
    return not OTHERS.match(name) and name != BOOK


def _copied(book: Path) -> tuple[bytes, set[int]]:
    """The book as it is now, whole, and the numbers of the trials that it says have ended."""
    if not book.exists():
        return b"", set()
    with closing(sqlite3.connect(book, timeout=LOCKED_SECONDS)) as ours, closing(sqlite3.connect(":memory:")) as copy:
        ours.backup(copy)
        numbers = copy.execute("select number from trials where state not in ('RUNNING', 'WAITING')").fetchall()
        return copy.serialize(), {number + 1 for (number,) in numbers}
