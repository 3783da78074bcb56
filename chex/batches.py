"""Cache rows to normalised batches on the training device."""

import itertools
from collections.abc import Iterator
from typing import Annotated

import numpy as np
import torch
from pydantic import BeforeValidator, Field

from chex.affine import AffineConfig, draw_affine, warp
from chex.errors import InputError
from chex.normalisation import Normalisation
from chex.seeds import stream
from chex.strict import Strict, whole


def _batch_size(value: object) -> object:
    if value != "auto" and not (whole(value) and 2 <= value <= 4096):
        raise ValueError(f"{value!r} is refused, it should be 'auto' or a whole number from 2 to 4096")
    return value


BatchSize = Annotated[int | str, BeforeValidator(_batch_size)]
"""A config field: films, or `auto`."""


class BatchesConfig(Strict):
    """How images become batches."""

    size: BatchSize = 32
    """Films that a step learns from; `auto`: as many as the memory of the trial's share of the GPU allows."""
    micro: int | None = Field(None, ge=2, le=4096)
    """Images that pass through the network at once; a step gathers the gradients of several passes. Blank: `size`. With
    2, one pass of an odd batch has 3."""
    lighting: float = Field(0.2, ge=0, lt=1)
    """Each film's contrast is scaled by 1 +- lighting and its brightness moved by +- lighting standard deviations."""
    affine: AffineConfig = AffineConfig()


def epoch_batches(rows: np.ndarray, size: int, seed: int, epoch: int) -> list[np.ndarray]:
    """The epoch's shuffled rows in batches of `size`; a last smaller batch is left out unless it is the only one."""
    order = stream(seed, "order", epoch).permutation(rows)
    count = steps_per_epoch(len(rows), size)
    return [order[start : start + size] for start in range(0, count * size, size)]


def steps_per_epoch(rows: int, size: int) -> int:
    """Batches in an epoch of `rows`, 1 or more."""
    return max(1, rows // size)


def load_batch(
    images: np.ndarray, rows: np.ndarray, normalisation: Normalisation, device: torch.device
) -> torch.Tensor:
    """float32 (B, 1, H, W): the films of `rows`, normalised."""
    if device.type != "cpu":
        return normalised(torch.from_numpy(np.take(images, rows, axis=0)), normalisation, device)
    return fill(torch.empty(len(rows), 1, *images.shape[1:]), images, rows, normalisation)


def fill(films: torch.Tensor, images: np.ndarray, rows: np.ndarray, normalisation: Normalisation) -> torch.Tensor:
    """`films`, float32 (B, 1, H, W) on the CPU, written over with the films of `rows`, normalised."""
    pixels = np.asarray(images)
    for film, values, row in zip(films, films.numpy(), rows, strict=True):
        np.copyto(values, pixels[row])  # film by film, each stays in the core's cache until it is done
        normalisation.over(film)
    return films


def normalised(pixels: torch.Tensor, normalisation: Normalisation, device: torch.device) -> torch.Tensor:
    """float32 (B, 1, H, W) on `device`, from uint8 (B, H, W)."""
    return normalisation.over(pixels.unsqueeze(1).to(device, non_blocking=True).float())


def augmented(films: torch.Tensor, black: float, config: BatchesConfig, seed: int, step: int) -> torch.Tensor:
    """float32 (B, 1, H, W): the normalised `films`, which are used up, moved and lit as `step` draws it.

    What comes into view is `black`.
    """
    sources = draw_affine(config.affine, len(films), stream(seed, "affine", step))
    moved = films if sources is None else warp(films, sources, black)
    return light(moved, config.lighting, stream(seed, "lighting", step))


def light(batch: torch.Tensor, strength: float, rng: np.random.Generator) -> torch.Tensor:
    """`batch` with each film's contrast and brightness changed at random, in place."""
    if strength == 0:
        return batch
    draws = rng.uniform(-strength, strength, size=(2, len(batch), 1, 1, 1)).astype(np.float32)
    contrast, brightness = torch.from_numpy(draws).to(batch.device)
    return batch.mul_(1 + contrast).add_(brightness)


def batch_size(config: BatchesConfig) -> int:
    """Films that a step learns from; an `auto` that nobody settled is 32."""
    return 32 if isinstance(config.size, str) else config.size


def check_batch(size: int) -> None:
    """Raises InputError for a --batch of no films."""
    if size < 1:
        raise InputError(f"--batch {size}: films are scored 1 or more at a time; give --batch 1 or more")


def passes(count: int, most: int) -> list[slice]:
    """The `count` images of a batch in pieces of about equal length: at most `most` images each, which is 2 or more.

    No piece of several images has a single one, because batch norm cannot be trained on it: with `most` 2 and an odd
    `count`, one piece has 3.
    """
    pieces = max(1, min(-(-count // most), count // 2))
    edges = [count * k // pieces for k in range(pieces + 1)]
    return [slice(start, end) for start, end in itertools.pairwise(edges)]


def drawn(rows: np.ndarray, count: int, most: int, rng: np.random.Generator) -> list[np.ndarray]:
    """`count` of `rows`, or all where there are fewer, drawn at random, in batches as `passes` gives them.

    Each position is equally likely and is drawn once at most; a row that `rows` repeats may come again.
    """
    chosen = rng.permutation(rows)[:count]
    return [chosen[piece] for piece in passes(len(chosen), most)]


def in_order(count: int, size: int) -> Iterator[np.ndarray]:
    """Rows 0 to count - 1 in pieces of at most `size`."""
    for start in range(0, count, size):
        yield np.arange(start, min(start + size, count))
