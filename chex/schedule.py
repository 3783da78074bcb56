"""How learning rate and momentum move over a run."""

import math

from pydantic import BaseModel, ConfigDict, Field

START_FACTOR, END_FACTOR = 1 / 25, 1e-5
HIGH_MOMENTUM, LOW_MOMENTUM = 0.95, 0.85


class ScheduleConfig(BaseModel):
    """Length and shape of a run's one-cycle schedule."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: int = Field(2, ge=1, le=1000)
    """Passes over the sampled rows."""
    warmup: float = Field(0.25, ge=0, lt=1)
    """Share of the run in which the rate rises."""


def one_cycle(progress: float, warmup: float) -> tuple[float, float]:
    """Factor on the learning rate, and momentum, when `progress` in [0, 1] of the run is done.

    The factor rises from 1/25 to 1 in the first `warmup` of the run and falls to 1e-5, both along a half cosine;
    momentum goes .95 to .85 and back (Smith 2018, arXiv:1803.09820, with the cosine legs of fastai).
    """
    if progress < warmup:
        return _between(START_FACTOR, 1.0, progress / warmup), _between(HIGH_MOMENTUM, LOW_MOMENTUM, progress / warmup)
    done = (progress - warmup) / (1 - warmup)
    return _between(1.0, END_FACTOR, done), _between(LOW_MOMENTUM, HIGH_MOMENTUM, done)


def _between(start: float, end: float, done: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * done)) / 2
