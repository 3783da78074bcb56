"""Implements `chex-search list`: one line per search of a folder or a storage."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.table import Table
from rich.text import Text

from chex.errors import InputError
from chex.reporting.console import format_decimal
from search.monitor.status import read_status
from search.space.space import Space
from search.storage.remote_path import connect_existing
from search.storage.uri import is_uri, without_query
from search.trials.layout import CONFIG, STUDY
from search.trials.study_store import read_study
from search.trials.trial import ended, winner

COLUMNS = ("name", "state", "trials", "best AUROC", "started", "updated", "data")


@dataclass(frozen=True)
class SearchSummary:
    """One search in the list."""

    name: str
    """The name of its folder."""
    state: str
    """One of `search.monitor.status.State`, or `unreadable`."""
    message: str
    """The state in words, or the reason why the search is unreadable."""
    ended: int
    """Number of trials that ended."""
    trials: int | None
    """Number of trials in its budget; None if it is unreadable."""
    best_auroc: float | None
    """The best validation AUROC so far, not corrected for selection; None without a result."""
    started: str | None
    """When the first trial started, ISO 8601, by the clock of the machine that ran it; None if none has started."""
    updated: str | None
    """When its study was last written, ISO 8601; None without a study."""
    data: str | None
    """Its tree, or the URI that the tree is fetched from."""


def list_searches(results: str) -> list[SearchSummary]:
    """Returns the searches in the folder or at the URI `results`, by name, including unreadable ones.

    Raises InputError if `results` does not exist, and Unreachable if a storage cannot be reached.
    """
    if is_uri(results):
        return _list_storage(results)
    root = Path(results)
    if not root.is_dir():
        raise InputError(f"--results {results}: no such folder; give the folder or the URI that contains searches")
    return [_summarize(each.name, each) for each in sorted(root.iterdir()) if (each / CONFIG).is_file()]


def _list_storage(uri: str) -> list[SearchSummary]:
    storage, summaries = connect_existing(uri), []
    for name in storage.folders():
        if name.startswith(".") or not (storage / name / CONFIG).is_file():
            continue
        with TemporaryDirectory() as temporary:
            folder, updated = Path(temporary, name), None
            folder.mkdir()
            (folder / CONFIG).write_bytes((storage / name / CONFIG).read())
            if (storage / name / STUDY).is_file():
                (folder / STUDY).write_bytes((storage / name / STUDY).read())
                updated = (storage / name / STUDY).info().mtime
            summaries.append(_summarize(name, folder, updated))
    return summaries


def _summarize(name: str, folder: Path, updated: datetime | None = None) -> SearchSummary:
    try:
        status = read_status(folder)
        started = _started(folder, status.search.search_space())
    except InputError as error:
        return SearchSummary(name, "unreadable", str(error), 0, None, None, None, None, None)
    study = folder / STUDY
    if updated is None and study.is_file():
        updated = datetime.fromtimestamp(study.stat().st_mtime)
    best_trial, data_uri = winner(status.rows), status.search.data_uri
    return SearchSummary(
        name,
        status.state,
        status.message,
        len(ended(status.rows)),
        status.search.budget.trials,
        best_trial.value if best_trial else None,
        _iso(started),
        _iso(updated),
        without_query(data_uri) if data_uri else str(status.search.base.data.root or "") or None,
    )


def _started(folder: Path, space: Space) -> datetime | None:
    if not (folder / STUDY).is_file():
        return None
    with read_study(folder, space) as study:
        return min((trial.datetime_start for trial in study.history() if trial.datetime_start), default=None)


def _iso(time: datetime | None) -> str | None:
    return time.astimezone().isoformat(timespec="seconds") if time else None


def as_records(searches: Sequence[SearchSummary]) -> list[dict[str, Any]]:
    """Returns the list for `--json`: a dict with the fields of SearchSummary for each search."""
    return [asdict(each) for each in searches]


def as_lines(searches: Sequence[SearchSummary]) -> list[str]:
    """Returns the list as tab-separated lines, with the names of the columns first."""
    return ["\t".join(row) for row in (COLUMNS, *map(_cells, searches))]


def as_table(searches: Sequence[SearchSummary]) -> Table:
    """Returns the list as a table for a terminal."""
    table = Table(box=None, pad_edge=False)
    for column in COLUMNS:
        table.add_column(column, justify="right" if column in ("trials", "best AUROC") else "left", overflow="fold")
    for each in searches:
        table.add_row(*map(Text, _cells(each)))
    return table


def _cells(summary: SearchSummary) -> tuple[str, ...]:
    trials = f"{summary.ended}/{'?' if summary.trials is None else summary.trials}"
    auroc = "-" if summary.best_auroc is None else format_decimal(summary.best_auroc)
    state = f"{summary.state}: {summary.message}" if summary.state == "unreadable" else summary.state
    return (summary.name, state, trials, auroc, _minute(summary.started), _minute(summary.updated), summary.data or "-")


def _minute(time: str | None) -> str:
    return time[:16].replace("T", " ") if time else "-"
