"""`chex-search list`: the searches of a folder, or of a storage, a line each."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.table import Table
from rich.text import Text

from chex.console import decimal
from chex.errors import InputError
from search.book import BOOK, read_book
from search.bucket import check_there, is_uri, shown
from search.ledger import ended, winner
from search.space import Space
from search.status import stands
from search.stored import CONFIG

HEADS = ("name", "state", "trials", "best AUROC", "started", "updated", "data")


@dataclass(frozen=True)
class Listed:
    """What the list says of one search."""

    name: str
    """The name of its folder."""
    state: str
    """One of `search.status.Standing`, or `unreadable`."""
    told: str
    """The state in words; of what is unreadable, why."""
    ended: int
    """Trials that ended."""
    trials: int | None
    """What its budget allows."""
    best_auroc: float | None
    """The best validation AUROC so far, on the images that chose it; None without a result."""
    started: str | None
    """When the first trial began, ISO 8601, by the clock of the machine that ran it; None before."""
    updated: str | None
    """When its book was last written, ISO 8601; None where it has none."""
    data: str | None
    """Its tree, or where that is fetched from."""


def listed(results: str) -> list[Listed]:
    """Returns the searches in the folder or at the URI `results`, by name; what cannot be read is in the list too.

    Raises InputError where `results` is no folder or nothing is there, and Unreachable.
    """
    if is_uri(results):
        return _in_storage(results)
    root = Path(results)
    if not root.is_dir():
        raise InputError(
            f"--results {results}: there is no such folder; give the folder or the URI that holds searches"
        )
    return [_one(each.name, each) for each in sorted(root.iterdir()) if (each / CONFIG).is_file()]


def _in_storage(uri: str) -> list[Listed]:
    place, found = check_there(uri), []
    for name in place.folders():
        if name.startswith(".") or not (place / name / CONFIG).is_file():
            continue
        with TemporaryDirectory() as copied:
            folder, updated = Path(copied, name), None
            folder.mkdir()
            (folder / CONFIG).write_bytes((place / name / CONFIG).read())
            if (place / name / BOOK).is_file():
                (folder / BOOK).write_bytes((place / name / BOOK).read())
                updated = (place / name / BOOK).info().mtime
            found.append(_one(name, folder, updated))
    return found


def _one(name: str, folder: Path, updated: datetime | None = None) -> Listed:
    try:
        held = stands(folder)
        started = _started(folder, held.search.knobs())
    except InputError as error:
        return Listed(name, "unreadable", str(error), 0, None, None, None, None, None)
    book = folder / BOOK
    if updated is None and book.is_file():
        updated = datetime.fromtimestamp(book.stat().st_mtime)
    leader, source = winner(held.rows), held.search.source
    return Listed(
        name,
        held.state,
        held.told,
        len(ended(held.rows)),
        held.search.budget.trials,
        leader.value if leader else None,
        _iso(started),
        _iso(updated),
        shown(source) if source else str(held.search.base.data.root or "") or None,
    )


def _started(folder: Path, space: Space) -> datetime | None:
    if not (folder / BOOK).is_file():
        return None
    with read_book(folder, space) as book:
        return min((trial.datetime_start for trial in book.history() if trial.datetime_start), default=None)


def _iso(when: datetime | None) -> str | None:
    return when.astimezone().isoformat(timespec="seconds") if when else None


def records(searches: Sequence[Listed]) -> list[dict[str, Any]]:
    """Returns them for `--json`: the fields of `Listed`."""
    return [asdict(each) for each in searches]


def lines(searches: Sequence[Listed]) -> list[str]:
    """Returns them for a file or another program: a line each after the heads, separated by tabs."""
    return ["\t".join(row) for row in (HEADS, *map(_cells, searches))]


def as_table(searches: Sequence[Listed]) -> Table:
    """Returns them for a terminal."""
    table = Table(box=None, pad_edge=False)
    for head in HEADS:
        table.add_column(head, justify="right" if head in ("trials", "best AUROC") else "left", overflow="fold")
    for each in searches:
        table.add_row(*map(Text, _cells(each)))
    return table


def _cells(one: Listed) -> tuple[str, ...]:
    trials = f"{one.ended}/{'?' if one.trials is None else one.trials}"
    auroc = "-" if one.best_auroc is None else decimal(one.best_auroc)
    state = f"{one.state}: {one.told}" if one.state == "unreadable" else one.state
    return (one.name, state, trials, auroc, _minute(one.started), _minute(one.updated), one.data or "-")


def _minute(when: str | None) -> str:
    return when[:16].replace("T", " ") if when else "-"
