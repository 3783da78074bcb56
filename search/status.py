"""How a search stands, read from its folder while it runs or after."""

import fcntl
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from rich.console import Group, RenderableType
from rich.text import Text

from search.book import BOOK, read_book
from search.budget import enough, over, too_many_failures
from search.ledger import TrialRow
from search.progress import images_done, left_told, render, time_left
from search.search_config import SearchConfig
from search.steps import Steps, load
from search.study import LOCK, load_begun

ROOM = 40
"""Trials shown where nothing says how high a screen is."""


Standing = Literal["not begun", "running", "ended", "given up", "not run here", "interrupted"]
"""`ended`: a limit of its budget is reached; `given up`: too many trials failed in turn; `not run here`: kept in a
storage, so that another machine may run it; `interrupted`: `chex-search resume` goes on with it."""


@dataclass(frozen=True)
class Stands:
    """How a search stands."""

    search: SearchConfig
    state: Standing
    told: str
    """The state in words, with the reason or what to type next."""
    rows: Sequence[TrialRow]
    """A row a trial that has begun."""
    seconds: float
    """How long the search has run, over all resumes."""


def stands(folder: Path) -> Stands:
    """Returns how the search in `folder` stands. Raises InputError where `folder` holds no search. Writes nothing."""
    search = load_begun(folder)
    if not (folder / BOOK).exists():
        return Stands(search, "not begun", "no trial has begun", (), 0.0)
    with read_book(folder, search.knobs()) as book:
        rows, seconds = book.rows(), book.seconds
    why = over(search.budget, rows, seconds) or enough(search.budget, rows)
    unfinished = any(row.state == "waiting" for row in rows)
    if is_running(folder):
        rows = [replace(row, state="running") if row.state == "waiting" else row for row in rows]
        return Stands(search, "running", "running", rows, seconds)
    if failing := too_many_failures(search.budget, rows):
        return Stands(search, "given up", f"given up: {failing}", rows, seconds)
    if why and not (unfinished and not over(search.budget, rows, seconds)):
        return Stands(search, "ended", f"at its end: {why}", rows, seconds)
    goes_on = f"`chex-search resume {folder}` goes on with it"
    if search.storage:
        told = f"not run by this machine; where no other runs it, {goes_on}"
        return Stands(search, "not run here", told, rows, seconds)
    return Stands(search, "interrupted", f"interrupted; {goes_on}", rows, seconds)


def status(folder: Path, width: int, room: int = ROOM) -> RenderableType:
    """At most `room` trials for a terminal of `width`, and whether the search runs, is interrupted or at its end.

    Raises InputError where `folder` holds no search. Writes nothing.
    """
    found = stands(folder)
    if found.state == "not begun":
        return Text(found.told)
    rows, seconds, budget = found.rows, found.seconds, found.search.budget
    steps: Steps = {}
    end = ""
    if found.state == "running":
        steps = load(folder)
        rate = images_done(rows, steps) / seconds if seconds else None
        end = left_told(time_left(rows, steps, budget, seconds, rate))
    return Group(render(rows, budget.trials, seconds, room, width, steps, end), Text(found.told))


def is_running(folder: Path) -> bool:
    """Returns whether a process of this machine runs the search in `folder`, which is not written to for it."""
    try:
        lock = os.open(folder / LOCK, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)  # let go with the file
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False
