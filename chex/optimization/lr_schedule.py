"""The schedule: how learning rate and momentum change in the course of a phase."""

import math
from typing import Literal

from pydantic import Field

from chex.schema.strict_model import Strict

START_FACTOR, END_FACTOR = 1 / 25, 1e-5
HIGH_MOMENTUM, LOW_MOMENTUM, CONSTANT_MOMENTUM = 0.95, 0.85, 0.9

Shape = Literal["one_cycle", "cosine", "constant"]


class ScheduleConfig(Strict):
    """The length of a run and its learning rate curve. A run with phases takes them as the defaults of each phase."""

    epochs: int = Field(2, ge=1, le=1000)
    """How often the run passes over its sampled training rows."""
    shape: Shape = "one_cycle"
    """The learning rate after the warm-up: `one_cycle` and `cosine` fall along a cosine, `constant` stays at the peak.
    `one_cycle` cycles the momentum too."""
    warmup_fraction: float = Field(0.25, ge=0, lt=1)
    """The share of the phase in which the learning rate rises."""


def lr_and_momentum(shape: Shape, progress: float, warmup: float, momentum: float | None = None) -> tuple[float, float]:
    """Returns the factor on the peak learning rate, and the momentum, after the share `progress` of a phase.

    `progress` is in [0, 1], and so is `warmup`, the share of the phase in which the factor rises along a half cosine
    from 1/25 to 1. Then one_cycle and cosine fall along another half cosine to 1e-5. one_cycle moves the momentum from
    .95 to .85 and back (Smith 2018, arXiv:1803.09820, with the cosine annealing of fastai); the other shapes hold it at
    .9. If `momentum` is given, it replaces .95 and .9, and `momentum` - .1, at least 0, replaces .85.
    """
    high, low, constant = HIGH_MOMENTUM, LOW_MOMENTUM, CONSTANT_MOMENTUM
    if momentum is not None:
        high, low, constant = momentum, max(0.0, momentum - (HIGH_MOMENTUM - LOW_MOMENTUM)), momentum
    rising = progress < warmup
    done = progress / warmup if rising else (progress - warmup) / (1 - warmup)
    if shape == "constant" and not rising:
        return 1.0, constant
    factor = _cosine(START_FACTOR, 1.0, done) if rising else _cosine(1.0, END_FACTOR, done)
    if shape != "one_cycle":
        return factor, constant
    ends = (high, low) if rising else (low, high)
    return factor, _cosine(*ends, done)


def _cosine(start: float, end: float, done: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * done)) / 2
