"""The phases of a run. Each has its own length, learning rates, frozen layers and sample of the training rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import BeforeValidator, Field

from chex.optimization.lr_schedule import ScheduleConfig, Shape
from chex.optimization.optimizer_config import OptimizerConfig, check_lrs
from chex.schema.strict_model import Strict, is_int


def _check_freeze(value: object) -> object:
    if value != "backbone" and not (is_int(value) and value >= 0):
        raise ValueError(f"{value!r} is refused; give how many layer groups to freeze, or 'backbone'")
    return value


Freeze = Annotated[int | str, BeforeValidator(_check_freeze)]
"""A config field: how many layer groups, from the stem on, are not trained; `backbone`: all but the head."""


class PhaseConfig(Strict):
    """One phase. A blank field takes its value from the run's `schedule`, `optimizer` or `seed`."""

    epochs: int | None = Field(None, ge=1, le=1000)
    shape: Shape | None = None
    warmup_fraction: float | None = Field(None, ge=0, lt=1)
    lr: float | None = Field(None, gt=0, le=10)
    """The peak learning rate of the head."""
    lr_stem: float | None = Field(None, gt=0, le=10)
    """The peak learning rate of the first layer group; the groups up to the head follow at equal ratios. Blank while
    `lr` is set: `lr` for all groups."""
    freeze: Freeze = 0
    sample_seed: int | None = Field(None, ge=0, lt=2**32)
    """The seed of the phase's sample of the training rows; blank: the run's seed."""


@dataclass(frozen=True)
class Phase:
    """One phase, in which no field is blank."""

    epochs: int
    shape: Shape
    warmup_fraction: float
    lr: float
    lr_stem: float
    freeze: int | str
    sample_seed: int


def build_phases(
    phases: Sequence[PhaseConfig], schedule: ScheduleConfig, optimizer: OptimizerConfig, seed: int
) -> list[Phase]:
    """Returns the run's phases: one for each of `phases`, or, without any, one with the defaults."""
    return [_resolve(phase, schedule, optimizer, seed) for phase in phases or [PhaseConfig()]]


def check_phases(phases: Sequence[PhaseConfig], optimizer: OptimizerConfig) -> None:
    """Raises ValueError for a phase whose lr_stem, from the phase or from `optimizer`, is above its lr."""
    for number, phase in enumerate(build_phases(phases, ScheduleConfig(), optimizer, seed=0)):
        try:
            check_lrs(phase.lr_stem, phase.lr)
        except ValueError as error:
            raise ValueError(f"phases.{number}: {error}") from None


def _resolve(config: PhaseConfig, schedule: ScheduleConfig, optimizer: OptimizerConfig, seed: int) -> Phase:
    lr = optimizer.lr if config.lr is None else config.lr
    lr_stem = config.lr_stem
    if lr_stem is None and config.lr is None:
        lr_stem = optimizer.lr_stem
    return Phase(
        epochs=schedule.epochs if config.epochs is None else config.epochs,
        shape=config.shape or schedule.shape,
        warmup_fraction=schedule.warmup_fraction if config.warmup_fraction is None else config.warmup_fraction,
        lr=lr,
        lr_stem=lr if lr_stem is None else lr_stem,
        freeze=config.freeze,
        sample_seed=seed if config.sample_seed is None else config.sample_seed,
    )
