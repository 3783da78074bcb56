"""The device of a run and its precision."""

import torch

from chex.errors import InputError
from chex.runtime.cpu_count import usable_cpus
from chex.runtime.device_config import DeviceConfig


def pick_device(config: DeviceConfig) -> torch.device:
    """Returns the device, and sets the number of torch's CPU threads.

    Raises InputError if the config asks for a GPU and torch sees none, or for fp16 on a CPU.
    """
    torch.set_num_threads(config.threads or min(torch.get_num_threads(), usable_cpus()))
    if config.kind == "cuda" and not torch.cuda.is_available():
        raise InputError("device.kind: 'cuda' is asked for and torch sees no GPU here; use device.kind=cpu or auto")
    wanted = "cuda" if config.kind == "auto" and torch.cuda.is_available() else config.kind
    device = torch.device("cpu" if wanted == "auto" else wanted)
    if config.amp == "fp16" and device.type == "cpu":
        raise InputError("device.amp: 'fp16' needs a GPU and this run computes on the CPU; use device.amp=off or bf16")
    return device


def autocast_dtype(config: DeviceConfig, device: torch.device) -> torch.dtype | None:
    """Returns the dtype of the forward pass; None: float32. `auto` is float32 on a CPU."""
    if config.amp == "auto":
        if device.type == "cpu":
            return None
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    return {"bf16": torch.bfloat16, "fp16": torch.float16, "off": None}[config.amp]


def autocast(config: DeviceConfig, device: torch.device) -> torch.autocast:
    """Returns the autocast context for the forward pass."""
    dtype = autocast_dtype(config, device)
    return torch.autocast(device.type, dtype or torch.bfloat16, enabled=dtype is not None)


def gradient_scaler(config: DeviceConfig, device: torch.device) -> torch.amp.GradScaler:
    """Returns a gradient scaler, which is disabled in precisions other than fp16."""
    return torch.amp.GradScaler(device.type, enabled=autocast_dtype(config, device) == torch.float16)
