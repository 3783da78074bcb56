"""Normalized batches on the training device, from rows of the image array."""

import itertools
from collections.abc import Iterator

import numpy as np
import torch

from chex.data.augment import apply_affine, draw_affine
from chex.data.data_config import BatchesConfig
from chex.data.normalization import Normalization
from chex.runtime.rng import rng_for


def epoch_batches(rows: np.ndarray, size: int, seed: int, epoch: int) -> list[np.ndarray]:
    """Returns the epoch's shuffled rows in batches of `size`; drops a smaller last batch unless it is the only one."""
    order = rng_for(seed, "order", epoch).permutation(rows)
    count = steps_per_epoch(len(rows), size)
    return [order[start : start + size] for start in range(0, count * size, size)]


def steps_per_epoch(rows: int, size: int) -> int:
    """Returns the number of batches in an epoch of `rows` rows, at least 1."""
    return max(1, rows // size)


def load_batch(
    images: np.ndarray, rows: np.ndarray, normalization: Normalization, device: torch.device
) -> torch.Tensor:
    """Returns float32 (B, 1, H, W) on `device`: the normalized images of `rows`, from uint8 (N, H, W)."""
    if device.type != "cpu":
        return normalize(torch.from_numpy(np.take(images, rows, axis=0)), normalization, device)
    return copy_normalized(torch.empty(len(rows), 1, *images.shape[1:]), images, rows, normalization)


def copy_normalized(
    batch: torch.Tensor, images: np.ndarray, rows: np.ndarray, normalization: Normalization
) -> torch.Tensor:
    """Writes the normalized images of `rows` into `batch`, float32 (B, 1, H, W) on the CPU, and returns it."""
    pixels = np.asarray(images)
    for image, values, row in zip(batch, batch.numpy(), rows, strict=True):
        np.copyto(values, pixels[row])  # one image at a time, so that it stays in the processor's cache
        normalization.normalize_(image)
    return batch


def normalize(pixels: torch.Tensor, normalization: Normalization, device: torch.device) -> torch.Tensor:
    """Returns float32 (B, 1, H, W) on `device`: normalized `pixels`, uint8 (B, H, W)."""
    return normalization.normalize_(pixels.unsqueeze(1).to(device, non_blocking=True).float())


def augment(images: torch.Tensor, black: float, config: BatchesConfig, seed: int, step: int) -> torch.Tensor:
    """Returns float32 (B, 1, H, W): normalized `images` with the random affine maps and intensities of `step`.

    Pixels from outside an image become `black`. Overwrites `images`.
    """
    maps = draw_affine(config.affine, len(images), rng_for(seed, "affine", step))
    moved = images if maps is None else apply_affine(images, maps, black)
    return jitter_intensity(moved, config.intensity_jitter, rng_for(seed, "lighting", step))


def jitter_intensity(batch: torch.Tensor, strength: float, rng: np.random.Generator) -> torch.Tensor:
    """Changes contrast and brightness of each normalized image at random, in place (see `intensity_jitter`)."""
    if strength == 0:
        return batch
    draws = rng.uniform(-strength, strength, size=(2, len(batch), 1, 1, 1)).astype(np.float32)
    contrast, brightness = torch.from_numpy(draws).to(batch.device)
    return batch.mul_(1 + contrast).add_(brightness)


def split_micro_batches(count: int, max_size: int) -> list[slice]:
    """Splits a batch of `count` images into micro-batches of about equal size, at most `max_size` (2 or more) each.

    No micro-batch has a single image, because batch norm cannot be trained on one: if `max_size` is 2 and `count` is
    odd, one micro-batch has 3. A batch of one image stays whole.
    """
    parts = max(1, min(-(-count // max_size), count // 2))
    edges = [count * k // parts for k in range(parts + 1)]
    return [slice(start, end) for start, end in itertools.pairwise(edges)]


def random_batches(rows: np.ndarray, count: int, max_size: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Returns `count` random `rows`, or all if there are fewer, in batches that `split_micro_batches` makes.

    Draws without replacement; a row that is several times in `rows` can be drawn several times.
    """
    chosen = rng.permutation(rows)[:count]
    return [chosen[part] for part in split_micro_batches(len(chosen), max_size)]


def sequential_batches(count: int, size: int) -> Iterator[np.ndarray]:
    """Yields the rows 0 to count - 1 in batches of at most `size`."""
    for start in range(0, count, size):
        yield np.arange(start, min(start + size, count))
