"""What a trial takes of the machine, and how many trials it has room for at once."""

import os
from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator

from chex.errors import InputError

UNITS = 10_000
"""Ray counts a GPU in ten-thousandths."""


def _cpus(value: object) -> object:
    if value != "auto" and not (type(value) is int and value >= 1):
        raise ValueError(f"{value!r} is refused, it should be 'auto' or a whole number from 1")
    return value


class Resources(BaseModel):
    """Per trial; as many trials run at once as the machine has room for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cpus_per_trial: Annotated[int | str, BeforeValidator(_cpus)] = "auto"
    """Also the trial's CPU threads. `auto`: 1, or beside GPUs an equal part of the CPUs for each trial they hold."""
    gpus_per_trial: float = Field(0, ge=0)
    """0, a fraction (.25: four trials share a GPU, each with a quarter of its memory) or a whole number."""

    @field_validator("gpus_per_trial")
    @classmethod
    def _fraction_or_whole(cls, value: float) -> float:
        if value > 1 and value % 1:
            raise ValueError(f"{value} is above 1 and not whole; use a fraction up to 1 or a whole number")
        if abs(_units(value) - value * UNITS) > 1e-6 or (value and not _units(value)):
            raise ValueError(f"{value} has more than four decimals, all that Ray counts; use {max(value, 1e-4):.4f}")
        return value


@dataclass(frozen=True)
class Allotment:
    """What a machine gives to the trials of a search."""

    cpus_per_trial: int
    gpus_per_trial: float
    at_once: int
    """How many trials it has room for, 1 or more."""
    idle_cpus: int
    idle_gpus: float
    """What no trial has while so many run: at .4 of a GPU each, a fifth of every GPU."""


def allotted(resources: Resources, cpus: int, gpus: int, where: str = "this machine") -> Allotment:
    """How `resources` are met on a machine of `cpus` (1 or more) and `gpus`; `where` names it in an error.

    A fraction of a GPU is of one and the same GPU: what is left of two GPUs makes no third trial's. Raises InputError
    where the machine has no room for one trial: Ray would wait for ever.
    """
    share = resources.gpus_per_trial
    by_gpu = _held_by_gpus(share, gpus)
    if isinstance(resources.cpus_per_trial, int):
        own = resources.cpus_per_trial
    else:
        own = max(1, cpus // by_gpu) if by_gpu else 1
    at_once = min(cpus // own, cpus if by_gpu is None else by_gpu)
    if at_once == 0:
        raise _infeasible(own, share, cpus, gpus, where)
    idle_gpus = (gpus * UNITS - at_once * _units(share)) / UNITS
    return Allotment(own, share, at_once, cpus - at_once * own, idle_gpus)


def _held_by_gpus(share: float, gpus: int) -> int | None:
    """How many trials `gpus` have room for; None where trials take none."""
    if share == 0:
        return None
    return gpus * (UNITS // _units(share)) if share <= 1 else gpus // round(share)


def _units(share: float) -> int:
    return round(share * UNITS)


def _infeasible(own: int, share: float, cpus: int, gpus: int, where: str) -> InputError:
    remedies = [f"resources.cpus_per_trial to {cpus} or auto"] if own > cpus else []
    if share > gpus:
        remedies.append(f"resources.gpus_per_trial to {gpus}")
    return InputError(
        f"resources: a trial asks for {_counted(own, 'CPU')} and {_counted(share, 'GPU')}, and {where} has "
        f"{_counted(cpus, 'CPU')} and {_counted(gpus, 'GPU')}; lower {' and '.join(remedies)}"
    )


def _counted(count: float, what: str) -> str:
    return f"{count:g} {what}{'s' if count > 1 else ''}" if count else f"no {what}"


def machine() -> tuple[int, int]:
    """CPUs and GPUs that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    cpus = len(affinity(0)) if affinity else os.cpu_count() or 1
    return cpus, torch.cuda.device_count()
