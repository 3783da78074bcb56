"""Searches against a clock of training images: workers, a budget, something that proposes and cuts, and who leads."""

import heapq
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from chex.runtime.rng import seed_for
from search.optimize.pruning import COMPLETE_PERCENT, RungReport
from search.space.space import Space

Sample = dict[str, Any]


@dataclass(frozen=True)
class Point(RungReport):
    """A report, with the AUROC of each observation if there are several."""

    values: tuple[float, ...] = ()


class Task(Protocol):
    """What trials train on."""

    space: Space

    def run(self, sample: Sample, seed: int) -> Iterator[Point]:
        """The reports of one run, one by one; each is made when it is asked for."""
        ...


@dataclass
class Trial:
    """A trial of a search; `state` is running, finished, stopped or failed."""

    number: int
    sample: Sample
    points: list[Point] = field(default_factory=list)
    lifted: list[RungReport] = field(default_factory=list)
    """The same with the best value so far in place of each report's own, as the product reports it."""
    state: str = "running"

    def add(self, point: Point) -> None:
        self.points.append(point)
        best = max([point.value, *(other.value for other in self.lifted[-1:])])
        self.lifted.append(RungReport(point.percent, point.images, point.value if math.isnan(point.value) else best))

    @property
    def value(self) -> float:
        """The best so far; NaN before the first report and for a failed trial."""
        return self.lifted[-1].value if self.lifted else math.nan

    @property
    def images(self) -> int:
        return self.points[-1].images if self.points else 0

    @property
    def kept(self) -> Point:
        """The report whose weights the trial keeps."""
        return max(self.points, key=lambda point: point.value)


class Searcher(Protocol):
    """What decides in a search."""

    def propose(self, trials: Sequence[Trial], spent: float) -> Sample:
        """The next trial's point; `spent` is the share of the budget that is gone."""
        ...

    def stops(self, trial: Trial, trials: Sequence[Trial]) -> bool:
        """Whether the trial, whose run could go on, is cut at its last report."""
        ...

    def ended(self, trial: Trial) -> None:
        """Hears that a trial is over."""
        ...

    def leader(self, trials: Sequence[Trial]) -> Trial | None:
        """The trial that wins if the search ends now."""
        ...


@dataclass(frozen=True)
class Lead:
    """From when on which trial leads, and with the weights of which report."""

    images: int
    trial: int
    sample: Sample
    percent: int


@dataclass
class Outcome:
    """What a search did."""

    trials: list[Trial]
    leads: list[Lead]


class Arena:
    """One search: workers of equal speed train until `budget` images have been seen, whatever is still running.

    With `limit` it ends when so many trials have.
    """

    def __init__(
        self, task: Task, searcher: Searcher, budget: float, workers: int, seed: int, limit: int | None = None
    ):
        self.task, self.searcher, self.budget, self.workers, self.seed = task, searcher, budget, workers, seed
        self.limit = limit
        self.trials: list[Trial] = []
        self.leads: list[Lead] = []
        self.queue: list[tuple[float, int, Point, Iterator[Point]]] = []

    def play(self) -> Outcome:
        for _ in range(self.workers):
            self._start(0)
        while self.queue:
            now, number, point, run = heapq.heappop(self.queue)
            if now * self.workers > self.budget:
                break
            trial = self.trials[number]
            trial.add(point)
            trial.state = self._state(trial)
            self._note(now)
            if trial.state == "running":
                self._ahead(now, trial, run)
            else:
                self.searcher.ended(trial)
                self._start(now)
        return Outcome(self.trials, self.leads)

    def _start(self, now: float) -> None:
        number = len(self.trials)
        if number == self.limit:
            return
        sample = self.searcher.propose(self.trials, now * self.workers / self.budget)
        self.trials.append(Trial(number, sample))
        self._ahead(now, self.trials[-1], self.task.run(sample, seed_for(self.seed, "run", number) % 2**32))

    def _ahead(self, now: float, trial: Trial, run: Iterator[RungReport]) -> None:
        """The trial's next report stands in the queue at the moment when its images will have been seen."""
        point = next(run)
        heapq.heappush(self.queue, (now + point.images - trial.images, trial.number, point, run))

    def _state(self, trial: Trial) -> str:
        if math.isnan(trial.points[-1].value):
            return "failed"
        if trial.points[-1].percent >= COMPLETE_PERCENT:
            return "finished"
        return "pruned" if self.searcher.stops(trial, self.trials) else "running"

    def _note(self, now: float) -> None:
        leader = self.searcher.leader(self.trials)
        if leader is None:
            return
        lead = Lead(round(now * self.workers), leader.number, leader.sample, leader.kept.percent)
        if not self.leads or (self.leads[-1].trial, self.leads[-1].percent) != (lead.trial, lead.percent):
            self.leads.append(lead)


def highest(trials: Sequence[Trial]) -> Trial | None:
    """The trial with the highest value so far, the first of equals."""
    valued = [trial for trial in trials if not math.isnan(trial.value)]
    return max(valued, key=lambda trial: trial.value) if valued else None


Opening = Callable[[Space, int], Searcher]
"""Makes the searcher of one search from its space and seed."""
