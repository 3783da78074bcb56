"""Where a run computes, and in what precision."""

from typing import Literal

import torch
from pydantic import Field

from chex.errors import InputError
from chex.processors import usable_cpus
from chex.strict import Strict


class DeviceConfig(Strict):
    """The machine's part in a run."""

    kind: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto`: a GPU where there is one."""
    threads: int | None = Field(None, ge=1, le=1024)
    """CPU threads of torch; blank: as many as torch takes by itself, at most the CPUs that the process has."""
    amp: Literal["auto", "bf16", "fp16", "off"] = "auto"
    """Precision of the forward pass. `auto`: bf16 on GPUs that have it and fp16 on others; on CPUs bf16 where a trial
    at the start shows that it pays (see settle.py)."""


def pick_device(config: DeviceConfig) -> torch.device:
    """The device, with the thread count set. Raises InputError where a GPU is asked for and torch sees none."""
    torch.set_num_threads(config.threads or min(torch.get_num_threads(), usable_cpus()))
    if config.kind == "cuda" and not torch.cuda.is_available():
        raise InputError("device.kind: 'cuda' is asked for and torch sees no GPU here; use device.kind=cpu or auto")
    wanted = "cuda" if config.kind == "auto" and torch.cuda.is_available() else config.kind
    device = torch.device("cpu" if wanted == "auto" else wanted)
    if config.amp == "fp16" and device.type == "cpu":
        raise InputError("device.amp: 'fp16' needs a GPU and this run computes on the CPU; use device.amp=off or bf16")
    return device


def precision(config: DeviceConfig, device: torch.device) -> torch.dtype | None:
    """What the forward pass computes in; None: float32. An `auto` that nobody settled is float32 on a CPU."""
    if config.amp == "auto":
        if device.type == "cpu":
            return None
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    return {"bf16": torch.bfloat16, "fp16": torch.float16, "off": None}[config.amp]


def autocast(config: DeviceConfig, device: torch.device) -> torch.autocast:
    """A context for the forward pass."""
    dtype = precision(config, device)
    return torch.autocast(device.type, dtype or torch.bfloat16, enabled=dtype is not None)


def gradient_scaler(config: DeviceConfig, device: torch.device) -> torch.amp.GradScaler:
    """What keeps small fp16 gradients from vanishing; it does nothing in other precisions."""
    return torch.amp.GradScaler(device.type, enabled=precision(config, device) == torch.float16)
