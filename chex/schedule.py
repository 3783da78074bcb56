"""How learning rate and momentum move over a round."""

import math
from typing import Literal

from pydantic import Field

from chex.strict import Strict

START_FACTOR, END_FACTOR = 1 / 25, 1e-5
HIGH_MOMENTUM, LOW_MOMENTUM, PLAIN_MOMENTUM = 0.95, 0.85, 0.9

Shape = Literal["one_cycle", "cosine", "constant"]


class ScheduleConfig(Strict):
    """Length and shape of a run, or of each of its rounds that does not say otherwise."""

    epochs: int = Field(2, ge=1, le=1000)
    """Passes over the sampled rows."""
    shape: Shape = "one_cycle"
    """`one_cycle` cycles the momentum too; `cosine` falls after the warm-up; `constant` stays at the peak after it."""
    warmup: float = Field(0.25, ge=0, lt=1)
    """Share of the round in which the rate rises."""


def rate_and_momentum(shape: Shape, progress: float, warmup: float, own: float | None = None) -> tuple[float, float]:
    """Factor on the learning rate, and momentum, when `progress` in [0, 1] of a round is done.

    The factor rises along a half cosine from 1/25 to 1 in the first `warmup` of the round. After it, one_cycle and
    cosine fall along another to 1e-5. one_cycle moves momentum .95 to .85 and back (Smith 2018, arXiv:1803.09820, with
    the cosine legs of fastai); the others keep it at .9. The optimizer's `own` momentum stands for the .95, with .1
    less (0 at least) at the peak of the rate, and for the .9.
    """
    high, low, plain = HIGH_MOMENTUM, LOW_MOMENTUM, PLAIN_MOMENTUM
    if own is not None:
        high, low, plain = own, max(0.0, own - (HIGH_MOMENTUM - LOW_MOMENTUM)), own
    rising = progress < warmup
    done = progress / warmup if rising else (progress - warmup) / (1 - warmup)
    if shape == "constant" and not rising:
        return 1.0, plain
    factor = _between(START_FACTOR, 1.0, done) if rising else _between(1.0, END_FACTOR, done)
    if shape != "one_cycle":
        return factor, plain
    ends = (high, low) if rising else (low, high)
    return factor, _between(*ends, done)


def _between(start: float, end: float, done: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * done)) / 2
