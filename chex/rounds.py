"""Rounds: the stages of a run, each with its own length, rates, frozen layers and sample."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import BeforeValidator, Field

from chex.optimizer import OptimizerConfig, check_rates
from chex.schedule import ScheduleConfig, Shape
from chex.strict import Strict, whole


def _frozen(value: object) -> object:
    if value != "backbone" and not (whole(value) and value >= 0):
        raise ValueError(f"{value!r} is refused, it should be 'backbone' or how many layer groups are frozen")
    return value


Frozen = Annotated[int | str, BeforeValidator(_frozen)]
"""A config field: how many layer groups, from the stem on, stay as they are; `backbone`: all but the head."""


class RoundConfig(Strict):
    """One round; what is left blank is the run's own."""

    epochs: int | None = Field(None, ge=1, le=1000)
    shape: Shape | None = None
    warmup: float | None = Field(None, ge=0, lt=1)
    lr: float | None = Field(None, gt=0, le=10)
    """Peak rate of the head."""
    lr_low: float | None = Field(None, gt=0, le=10)
    """Peak rate of the first layer group; those between are at equal ratios. Blank beside an `lr`: the same for all."""
    frozen: Frozen = 0
    sample: int | None = Field(None, ge=0, lt=2**32)
    """Seed of the round's sample of the training rows; blank: the run's seed."""


@dataclass(frozen=True)
class Round:
    """One round with everything said."""

    epochs: int
    shape: Shape
    warmup: float
    lr: float
    lr_low: float
    frozen: int | str
    sample: int


def build_rounds(
    rounds: Sequence[RoundConfig], schedule: ScheduleConfig, optimizer: OptimizerConfig, seed: int
) -> list[Round]:
    """The run's rounds, one or more: those of `rounds`, or one that follows `schedule` and `optimizer`."""
    return [_filled(each, schedule, optimizer, seed) for each in rounds or [RoundConfig()]]


def check_rounds(rounds: Sequence[RoundConfig], optimizer: OptimizerConfig) -> None:
    """Raises ValueError for a round whose lr_low, its own or the optimizer's, is above its lr."""
    for number, each in enumerate(build_rounds(rounds, ScheduleConfig(), optimizer, seed=0)):
        try:
            check_rates(each.lr_low, each.lr)
        except ValueError as error:
            raise ValueError(f"rounds.{number}: {error}") from None


def _filled(given: RoundConfig, schedule: ScheduleConfig, optimizer: OptimizerConfig, seed: int) -> Round:
    lr = optimizer.lr if given.lr is None else given.lr
    low = given.lr_low if given.lr_low is not None else (optimizer.lr_low if given.lr is None else None)
    return Round(
        epochs=schedule.epochs if given.epochs is None else given.epochs,
        shape=given.shape or schedule.shape,
        warmup=schedule.warmup if given.warmup is None else given.warmup,
        lr=lr,
        lr_low=lr if low is None else low,
        frozen=given.frozen,
        sample=seed if given.sample is None else given.sample,
    )
