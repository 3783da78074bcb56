"""What a trial takes of the machine, and whether the machine has it."""

import os

import torch
from pydantic import BaseModel, ConfigDict, Field, field_validator

from chex.errors import InputError


class Resources(BaseModel):
    """Per trial; as many trials run at once as the machine has room for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cpus_per_trial: int = Field(1, ge=1)
    """Also the trial's CPU threads."""
    gpus_per_trial: float = Field(0, ge=0)
    """0, a fraction (.25: four trials share a GPU) or a whole number."""

    @field_validator("gpus_per_trial")
    @classmethod
    def _fraction_or_whole(cls, value: float) -> float:
        if value > 1 and value % 1:
            raise ValueError(f"{value} is above 1 and not whole; use a fraction up to 1 or a whole number")
        return value


def check_resources(resources: Resources, cpus: int, gpus: int) -> None:
    """Raises InputError where one trial needs more than `cpus` or `gpus`: Ray would wait for ever."""
    for name, wanted, there, kind in (
        ("cpus_per_trial", resources.cpus_per_trial, cpus, "CPUs"),
        ("gpus_per_trial", resources.gpus_per_trial, gpus, "GPUs"),
    ):
        if wanted > there:
            raise InputError(
                f"resources.{name}: a trial asks for {wanted:g} {kind} and this machine has {there}; lower it"
            )


def machine() -> tuple[int, int]:
    """CPUs and GPUs that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    cpus = len(affinity(0)) if affinity else os.cpu_count() or 1
    return cpus, torch.cuda.device_count()
