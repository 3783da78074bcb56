"""A run's phases counted in steps: the rows of each step, and the steps after which there is a report."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from chex.data.batches import epoch_batches, steps_per_epoch
from chex.optimization.phases import Phase


@dataclass(frozen=True)
class PhaseSteps:
    """One phase in steps. Steps are counted from 0 over the whole run."""

    number: int
    """From 0."""
    phase: Phase
    rows: np.ndarray
    """int64 (M,): the training rows of the phase."""
    first: int
    """The first step of the phase."""
    first_epoch: int
    """The first epoch of the phase, counted from 0 over the whole run."""
    epoch_steps: int
    """Steps per epoch."""

    @property
    def end(self) -> int:
        """The step after the last step of the phase."""
        return self.first + self.epoch_steps * self.phase.epochs

    def progress(self, step: int) -> float:
        """Returns the progress of the phase at `step`: from 0 at its first step to 1 at its last."""
        return (step - self.first) / max(1, self.end - self.first - 1)

    def epoch(self, step: int) -> float:
        """Returns the epochs of the run that are done before `step`."""
        return self.first_epoch + (step - self.first) / self.epoch_steps


class TrainingPlan:
    """All phases of a run in order."""

    def __init__(self, phases: Sequence[Phase], samples: Sequence[np.ndarray], batch_size: int, seed: int):
        self.batch_size, self.seed = batch_size, seed
        self.phases: list[PhaseSteps] = []
        first = epoch = 0
        for number, (phase, rows) in enumerate(zip(phases, samples, strict=True)):
            self.phases.append(PhaseSteps(number, phase, rows, first, epoch, steps_per_epoch(len(rows), batch_size)))
            first, epoch = self.phases[-1].end, epoch + phase.epochs
        self.steps = first
        """Steps of the whole run."""

    def phase_at(self, step: int) -> PhaseSteps:
        """Returns the phase of `step`; for the step after the run's last, the last phase."""
        return next(phase for phase in reversed(self.phases) if phase.first <= step)

    def report_steps(self, reports: int) -> set[int]:
        """Returns the number of steps done at each report: `reports` at equal distances, and one after each phase."""
        equal = {math.ceil(self.steps * k / reports) for k in range(1, reports + 1)}
        return equal | {phase.end for phase in self.phases}

    def batches_from(self, step: int) -> Iterator[np.ndarray]:
        """Yields the rows of `step` and of each later step, int64 (B,)."""
        for phase in self.phases[self.phase_at(step).number :]:
            epoch, position = divmod(max(0, step - phase.first), phase.epoch_steps)
            for number in range(epoch, phase.phase.epochs):
                batches = epoch_batches(phase.rows, self.batch_size, self.seed, phase.first_epoch + number)
                yield from batches[position:]
                position = 0
