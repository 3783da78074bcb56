"""A run's rounds counted in steps: which films each step learns from, and after which steps there is a report."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from chex.batches import epoch_batches, steps_per_epoch
from chex.rounds import Round


@dataclass(frozen=True)
class Stage:
    """A round in steps."""

    number: int
    """From 0."""
    plan: Round
    rows: np.ndarray
    """int64 (M,): its training rows."""
    first: int
    """The step, counted over the run, with which it starts."""
    first_epoch: int
    epoch_steps: int

    @property
    def end(self) -> int:
        """The step with which the next would start."""
        return self.first + self.epoch_steps * self.plan.epochs

    def done(self, step: int) -> float:
        """How much of the round is done before `step`, 0 to 1 at its last step."""
        return (step - self.first) / max(1, self.end - self.first - 1)

    def epoch(self, step: int) -> float:
        """Epochs of the run that are done before `step`."""
        return self.first_epoch + (step - self.first) / self.epoch_steps


class Stages:
    """All rounds of a run, one after the other."""

    def __init__(self, rounds: Sequence[Round], samples: Sequence[np.ndarray], batch: int, seed: int):
        self.batch, self.seed, self.all = batch, seed, list[Stage]()
        first = epoch = 0
        for number, (plan, rows) in enumerate(zip(rounds, samples, strict=True)):
            self.all.append(Stage(number, plan, rows, first, epoch, steps_per_epoch(len(rows), batch)))
            first, epoch = self.all[-1].end, epoch + plan.epochs
        self.steps = first

    def at(self, step: int) -> Stage:
        """The round that `step` belongs to; the last one for the step after the run's last."""
        return next(each for each in reversed(self.all) if each.first <= step)

    def report_steps(self, reports: int) -> set[int]:
        """How many steps are done at each report: `reports` at equal distances, and one at the end of each round."""
        return {math.ceil(self.steps * k / reports) for k in range(1, reports + 1)} | {each.end for each in self.all}

    def rows_to_come(self, step: int) -> Iterator[np.ndarray]:
        """int64 (B,): the rows of `step` and of each step after it."""
        for stage in self.all[self.at(step).number :]:
            epoch, position = divmod(max(0, step - stage.first), stage.epoch_steps)
            for number in range(epoch, stage.plan.epochs):
                yield from epoch_batches(stage.rows, self.batch, self.seed, stage.first_epoch + number)[position:]
                position = 0
