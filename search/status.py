"""How a search stands, read from its folder while it runs or after."""

from dataclasses import replace
from pathlib import Path

from filelock import FileLock, Timeout
from rich.console import Group, RenderableType
from rich.text import Text

from search.book import BOOK, Book
from search.budget import enough, over, too_many_failures
from search.progress import images_done, left_told, render, time_left
from search.steps import Steps, load
from search.study import LOCK, load_begun

ROOM = 40
"""Trials shown where nothing says how high a screen is."""


def status(folder: Path, width: int, room: int = ROOM) -> RenderableType:
    """At most `room` trials for a terminal of `width`, and whether the search runs, is interrupted or at its end.

    Raises InputError where `folder` holds no search. Writes nothing.
    """
    search = load_begun(folder)
    if not (folder / BOOK).exists():
        return Text("no trial has begun")
    book = Book(folder, search.knobs())
    rows, seconds = book.rows(), book.seconds
    book.close()
    why = over(search.budget, rows, seconds) or enough(search.budget, rows)
    unfinished = any(row.state == "waiting" for row in rows)
    steps: Steps = {}
    end = ""
    if is_running(folder):
        rows = [replace(row, state="running") if row.state == "waiting" else row for row in rows]
        state, steps = "running", load(folder)
        rate = images_done(rows, steps) / seconds if seconds else None
        end = left_told(time_left(rows, steps, search.budget, seconds, rate))
    elif failing := too_many_failures(search.budget, rows):
        state = f"given up: {failing}"
    elif why and not (unfinished and not over(search.budget, rows, seconds)):
        state = f"at its end: {why}"
    elif search.storage:
        state = f"not run by this machine; where no other runs it, `chex-search resume {folder}` goes on with it"
    else:
        state = f"interrupted; `chex-search resume {folder}` goes on with it"
    return Group(render(rows, search.budget.trials, seconds, room, width, steps, end), Text(state))


def is_running(folder: Path) -> bool:
    """Whether a process of this machine runs the search in `folder`."""
    try:
        with FileLock(folder / LOCK).acquire(timeout=0):
            return False
    except Timeout:
        return True
