"""What `auto` means on this machine, found out once and written into the run's config, so that it can be repeated."""

import statistics
import time

import torch

from chex.config import RunConfig
from chex.device import DeviceConfig, autocast, pick_device
from chex.memory import allowance
from chex.model import Classifier, build_model

REPEATS, FILMS = 3, 8

SOURCE_FILMS, SOURCE_MEMORY, SOURCE_SIZE = 32, 8200 * 2**20, 320
"""The source work's rule: 32 films of 320 px where more than 8,200 MiB are free, else 16."""


def settle(config: RunConfig, share: float = 1.0) -> RunConfig:
    """`config` without an `auto` in device.amp on CPUs and in batches.size; `share` of the GPU is the run's own.

    Raises InputError for a device that is not there, and for a share in which there is no room for anything.
    """
    device = pick_device(config.device)
    memory = allowance(share, _memory(device)) if device.type == "cuda" else None
    if config.batches.size == "auto":
        size = SOURCE_FILMS if memory is None else fitting_batch(memory, config.image.size)
        config = config.model_copy(update={"batches": config.batches.model_copy(update={"size": size})})
    if config.device.amp == "auto" and device.type == "cpu":
        amp = "bf16" if _has_bf16() and bf16_pays(config) else "off"
        config = config.model_copy(update={"device": config.device.model_copy(update={"amp": amp})})
    return config


def fitting_batch(memory: float, image_size: int) -> int:
    """How many films a step may learn from, a power of two from 4 to 256, in `memory` bytes.

    The source work's rule carried on: films in proportion to memory, and to the inverse of their area.
    """
    films = SOURCE_FILMS * memory / SOURCE_MEMORY * (SOURCE_SIZE / image_size) ** 2
    return min(256, max(4, 1 << max(0, int(films).bit_length() - 1)))


def bf16_pays(config: RunConfig) -> bool:
    """Whether a few steps of the run's network are quicker in bf16 than in float32, here and now."""
    model = build_model(config.model.model_copy(update={"pretrained": False}), outputs=1, seed=0)
    films = torch.zeros(FILMS, 1, config.image.size, config.image.size).to(memory_format=torch.channels_last)
    seconds: dict[str, list[float]] = {"bf16": [], "off": []}
    for _ in range(REPEATS + 1):
        for amp, taken in seconds.items():
            taken.append(_step(model, films, DeviceConfig.model_validate({"kind": "cpu", "amp": amp})))
    first, second = (statistics.median(taken[1:]) for taken in seconds.values())
    return first < second


def _step(model: Classifier, films: torch.Tensor, config: DeviceConfig) -> float:
    started = time.perf_counter()
    with autocast(config, films.device):
        loss = model(films).square().mean()
    loss.backward()
    return time.perf_counter() - started


def _has_bf16() -> bool:
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def _memory(device: torch.device) -> int:
    return int(torch.cuda.get_device_properties(device).total_memory)
