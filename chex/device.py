"""Where a run computes: device, threads and number format."""

from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field

from chex.errors import InputError


class DeviceConfig(BaseModel):
    """The hardware that one run uses. On a CPU, results are bit-identical for the same number of threads."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto`: a GPU where there is one."""
    threads: int | None = Field(None, ge=1, le=1024)
    """CPU threads of torch; blank: as many as torch takes by itself."""
    bf16: bool | None = None
    """Train under bfloat16 autocast; blank: on GPUs that have it."""


def pick_device(config: DeviceConfig) -> torch.device:
    """The device, with the thread count set. Raises InputError where a GPU is asked for and torch sees none."""
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    if config.kind == "cuda" and not torch.cuda.is_available():
        raise InputError("device.kind: 'cuda' is asked for and torch sees no GPU here; use device.kind=cpu or auto")
    wanted = "cuda" if config.kind == "auto" and torch.cuda.is_available() else config.kind
    return torch.device("cpu" if wanted == "auto" else wanted)


def autocast(config: DeviceConfig, device: torch.device) -> torch.autocast:
    """A context for the forward pass."""
    has_bf16 = device.type == "cuda" and torch.cuda.is_bf16_supported()
    enabled = has_bf16 if config.bf16 is None else config.bf16
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled)
