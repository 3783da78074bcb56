"""Reads the status of a search from its folder, while it runs or later."""

import fcntl
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from rich.console import Group, RenderableType
from rich.text import Text

from search.config.budget import too_many_failures, why_no_more_trials, why_stop
from search.config.search_config import SearchConfig
from search.config.search_folder import load_search_folder
from search.monitor.live_table import format_time_left, images_done, render, time_left
from search.trials.layout import LOCK, STUDY
from search.trials.study_store import read_study
from search.trials.trial import TrialRecord
from search.trials.trial_progress import Steps, load_steps

DEFAULT_MAX_TRIALS = 40
"""The most trials shown if the height of the screen is unknown."""


State = Literal["not started", "running", "ended", "stopped", "not run here", "interrupted"]
"""`ended`: a limit of its budget is reached; `stopped`: too many consecutive trials failed; `not run here`: it has a
storage, so another machine may be running it; `interrupted`: `chex-search resume` continues it."""


@dataclass(frozen=True)
class SearchStatus:
    """The status of a search."""

    search: SearchConfig
    state: State
    message: str
    """The state in words, with the reason or the next command."""
    rows: Sequence[TrialRecord]
    """The trials that have started."""
    seconds: float
    """Running time of the search in seconds, over all resumes."""


def read_status(folder: Path) -> SearchStatus:
    """Returns the status of the search in `folder`. Raises InputError if there is no search. Writes nothing."""
    search = load_search_folder(folder)
    if not (folder / STUDY).exists():
        return SearchStatus(search, "not started", "no trial has started", (), 0.0)
    with read_study(folder, search.search_space()) as study:
        rows, seconds = study.trials(), study.elapsed_seconds
    end_reason = why_stop(search.budget, rows, seconds) or why_no_more_trials(search.budget, rows)
    unfinished = any(row.state == "pending" for row in rows)
    if is_running(folder):
        rows = [replace(row, state="running") if row.state == "pending" else row for row in rows]
        return SearchStatus(search, "running", "running", rows, seconds)
    if failure_reason := too_many_failures(search.budget, rows):
        return SearchStatus(search, "stopped", f"stopped: {failure_reason}", rows, seconds)
    if end_reason and not (unfinished and not why_stop(search.budget, rows, seconds)):
        return SearchStatus(search, "ended", f"ended: {end_reason}", rows, seconds)
    resume_hint = f"`chex-search resume {folder}` continues it"
    if search.storage_uri:
        message = f"not run by this machine; if no other machine runs it, {resume_hint}"
        return SearchStatus(search, "not run here", message, rows, seconds)
    return SearchStatus(search, "interrupted", f"interrupted; {resume_hint}", rows, seconds)


def render_status(folder: Path, width: int, max_trials: int = DEFAULT_MAX_TRIALS) -> RenderableType:
    """Returns a table of at most `max_trials` trials for a terminal of `width`, and the state of the search.

    Raises InputError if `folder` has no search. Writes nothing.
    """
    search_status = read_status(folder)
    if search_status.state == "not started":
        return Text(search_status.message)
    rows, seconds, budget = search_status.rows, search_status.seconds, search_status.search.budget
    steps: Steps = {}
    time_left_text = ""
    if search_status.state == "running":
        steps = load_steps(folder)
        rate = images_done(rows, steps) / seconds if seconds else None
        time_left_text = format_time_left(time_left(rows, steps, budget, seconds, rate))
    return Group(
        render(rows, budget.trials, seconds, max_trials, width, steps, time_left_text), Text(search_status.message)
    )


def is_running(folder: Path) -> bool:
    """Tells whether a process of this machine runs the search in `folder`, without writing to the folder."""
    try:
        lock = os.open(folder / LOCK, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)  # released when the file is closed
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False
