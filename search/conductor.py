"""What happens next in a search, decided from its book; it knows no Ray.

Each thing that happened is in the book before it is acted on, and each action may be done twice: whatever stops the
process, a conductor of the same folder goes on from there.
"""

import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import replace
from typing import Any, Protocol

from chex.metrics import METRIC
from search.book import Book
from search.budget import enough, over, too_many_failures
from search.ledger import State, TrialRow, complete
from search.sampler import propose
from search.search_config import SearchConfig
from search.steps import Steps
from search.stopping import Point, cut
from search.trainable import FAILURE, HALT, HOST, NODE

RETRIES = 2
"""How often a trial whose process died is started again, from its last report, before it has failed; a new report
gives it as many again, so that a trial on machines that come and go ends all the same."""


class Listener(Protocol):
    """Hears what happens."""

    def began(self, row: TrialRow) -> None:
        """A new trial is in the book, and is about to start."""

    def reported(self, row: TrialRow, rows: Sequence[TrialRow]) -> None:
        """A trial has a new report."""

    def left_out(self, row: TrialRow, why: str) -> None:
        """The trial goes on on another node, since nothing can on the one that it had.

        What keeps this machine itself from going on is to be raised.
        """

    def ended(self, row: TrialRow, rows: Sequence[TrialRow]) -> None:
        """A trial has ended; may be told twice."""

    def changed(self, rows: Sequence[TrialRow]) -> None:
        """The rows are now these."""

    def stepped(self, steps: Steps) -> None:
        """Trials under way are so far; told in a thread of its own, and nothing follows from it."""


class Conductor:
    """Proposes trials, hears their reports, and says who goes on and when all is over."""

    def __init__(
        self,
        search: SearchConfig,
        book: Book,
        listener: Listener,
        at_once: int,
        clock: Callable[[], float] = time.monotonic,
        nodes: Callable[[], Set[str]] = frozenset,
    ):
        """`nodes` are those that are there with room for a trial, whatever runs on them."""
        self.search, self.book, self.listener, self.at_once, self.clock = search, book, listener, at_once, clock
        self.space, self.points, self.feasible = search.knobs(), search.first_points(), search.rules().feasible
        self.rows = book.rows()
        self.started, self.before = clock(), book.seconds
        self.halted = ""
        self.deaths = Counter[int]()
        self.nodes, self.left_out = nodes, set[str]()
        """Nodes on which no trial is to start, since nothing could go on there."""
        for row in list(self.rows):
            if row.state == "waiting":
                self._judge(row)
        self.listener.changed(self.rows)

    def next_trial(self) -> TrialRow | None:
        """A trial to start, or to go on with after an interruption; None while there is no room or none left to start.

        Raises Over where all is over.
        """
        under_way = sum(row.state == "running" for row in self.rows)
        if under_way >= self.at_once:
            return None
        row = next((row for row in self.rows if row.state == "waiting"), None)
        if row is None:
            if self.is_over():
                raise Over
            if self.starts_none():
                return None
            values = propose(self.search.sampler, self.space, self.points, self.book.history(), self.feasible)
            row = TrialRow(self.book.begin(values), "waiting", values)
            self.rows.append(row)
            self.listener.began(row)
        self._set(replace(row, state="running"))
        return self.rows[row.number - 1]

    def starts_none(self) -> bool:
        """Whether no trial is left to start; one under way may change that, by a new best or where its process dies."""
        waits = any(row.state == "waiting" for row in self.rows)
        return not waits and enough(self.search.budget, self.rows) is not None

    def heard(self, number: int, figures: Mapping[str, Any]) -> bool:
        """Takes in what a trial reports and says whether it may go on to its end.

        A report that is known already changes nothing.
        """
        row = self.rows[number - 1]
        if row.state != "running":
            return False
        if HALT in figures:
            self._leave(row, str(figures[HALT]), str(figures.get(NODE, "")), str(figures.get(HOST, "")))
            return False
        if FAILURE in figures or not math.isfinite(figures[METRIC]):
            self._end(row, "failed", str(figures.get(FAILURE, "undefined metric")))
            return False
        if figures["step"] <= row.step:
            return True
        row = replace(row, reports=(*row.reports, figures))
        del self.deaths[number]
        self.book.report(number, len(row.reports), figures)
        self.book.spend(self.seconds)
        self._set(row)
        self.listener.reported(row, self.rows)
        self._judge(row)
        return self.rows[number - 1].state in ("running", "finished")

    def failed(self, number: int, error: str) -> None:
        """A trial's process died or ended in an error: RETRIES times the trial waits to be started again."""
        row = self.rows[number - 1]
        if row.state != "running":
            return
        self.deaths[number] += 1
        if self.deaths[number] > RETRIES:
            self._end(row, "failed", error)
        else:
            self._set(replace(row, state="waiting"))

    def _leave(self, row: TrialRow, why: str, node: str, host: str) -> None:
        """Leaves a node out on which nothing can go on; where none is left, the search ends."""
        self.left_out.add(node)
        if not self.nodes() - self.left_out:
            self.halted = why
            return
        why = f"{host}: {why}"
        self.listener.left_out(row, why)
        self.failed(row.number, why)

    def is_over(self) -> str | None:
        """Why everything is to be stopped now, or None."""
        budget = self.search.budget
        return self.halted or too_many_failures(budget, self.rows) or over(budget, self.rows, self.seconds)

    @property
    def seconds(self) -> float:
        """How long the search has run, over all resumes."""
        return self.before + self.clock() - self.started

    def close(self) -> None:
        """Trials under way are left for a later conductor."""
        self.book.spend(self.seconds)
        self.rows = [replace(row, state="waiting") if row.state == "running" else row for row in self.rows]
        self.listener.changed(self.rows)
        self.book.close()

    def _judge(self, row: TrialRow) -> None:
        """Ends a trial that is complete, or that early stopping cuts at its last report."""
        if complete(row.report):
            self._end(row, "finished")
        elif row.reports and self.search.stopping and cut(self.search.stopping, row.number, curves(self.rows)):
            self._end(row, "stopped")

    def _end(self, row: TrialRow, state: State, error: str = "") -> None:
        row = replace(row, state=state, error=error)
        self._set(row)
        self.listener.ended(row, self.rows)
        self.book.end(row.number, state, row.value, error)

    def _set(self, row: TrialRow) -> None:
        self.rows[row.number - 1] = row
        self.listener.changed(self.rows)


class Over(Exception):
    """No new trial starts, and those under way are to be stopped."""


def curves(rows: Sequence[TrialRow]) -> dict[int, list[Point]]:
    """Each trial's reports, as early stopping compares them."""
    return {
        row.number: [Point(float(r["percent"]), int(r["images_seen"]), float(r[METRIC])) for r in row.reports]
        for row in rows
    }
