"""Resolves `auto` settings for this machine. The result is recorded in run.yaml, so that the run can be repeated."""

import statistics
import time

import torch

from chex.config import RunConfig
from chex.models.classifier import Classifier, build_model
from chex.runtime.device import autocast, pick_device
from chex.runtime.device_config import DeviceConfig
from chex.runtime.gpu_memory import usable_bytes

TIMED_STEPS, TIMED_IMAGES = 3, 8

SOURCE_IMAGES, SOURCE_MEMORY, SOURCE_SIZE = 32, 8200 * 2**20, 320
"""The rule of the source work (see configs/run/trial30.yaml): 32 images of 320 px if 8,200 MiB are free, else 16."""


def resolve_auto(config: RunConfig, share: float = 1.0) -> RunConfig:
    """Returns `config` without `auto` in batches.size and, on a CPU, in device.amp.

    The run may use `share` of the GPU. Raises InputError for a device that does not exist, and for a share that is
    smaller than what CUDA itself takes.
    """
    device = pick_device(config.device)
    memory = usable_bytes(share, _total_memory(device)) if device.type == "cuda" else None
    if config.batches.size == "auto":
        size = SOURCE_IMAGES if memory is None else largest_batch(memory, config.image.size)
        config = config.model_copy(update={"batches": config.batches.model_copy(update={"size": size})})
    if config.device.amp == "auto" and device.type == "cpu":
        amp = "bf16" if _has_bf16() and bf16_is_faster(config) else "off"
        config = config.model_copy(update={"device": config.device.model_copy(update={"amp": amp})})
    return config


def largest_batch(memory: float, image_size: int) -> int:
    """Returns a batch size for `memory` bytes of GPU memory, a power of two from 4 to 256.

    It is about proportional to the memory and inversely proportional to the area of an image (see SOURCE_IMAGES).
    """
    images = SOURCE_IMAGES * memory / SOURCE_MEMORY * (SOURCE_SIZE / image_size) ** 2
    return min(256, max(4, 1 << max(0, int(images).bit_length() - 1)))


def bf16_is_faster(config: RunConfig) -> bool:
    """Times a few steps of the run's network, and returns whether bf16 is faster than float32."""
    model = build_model(config.model.model_copy(update={"pretrained": False}), outputs=1, seed=0)
    images = torch.zeros(TIMED_IMAGES, 1, config.image.size, config.image.size).to(memory_format=torch.channels_last)
    seconds: dict[str, list[float]] = {"bf16": [], "off": []}
    for _ in range(TIMED_STEPS + 1):
        for amp, taken in seconds.items():
            taken.append(_time_step(model, images, DeviceConfig.model_validate({"kind": "cpu", "amp": amp})))
    bf16, float32 = (statistics.median(taken[1:]) for taken in seconds.values())
    return bf16 < float32


def _time_step(model: Classifier, images: torch.Tensor, config: DeviceConfig) -> float:
    started = time.perf_counter()
    with autocast(config, images.device):
        loss = model(images).square().mean()
    loss.backward()
    return time.perf_counter() - started


def _has_bf16() -> bool:
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def _total_memory(device: torch.device) -> int:
    return int(torch.cuda.get_device_properties(device).total_memory)
