"""Random rotations, translations and zooms of a batch, on the training device."""

import numpy as np
import torch
from torch.nn.functional import affine_grid, grid_sample

from chex.data.data_config import AffineConfig


def draw_affine(config: AffineConfig, count: int, rng: np.random.Generator) -> np.ndarray | None:
    """Returns float32 (count, 2, 3): random affine maps from the pixels of the output to those of the input.

    Coordinates run from -1 to 1, x before y. None if the config moves nothing.
    """
    if config == AffineConfig():
        return None
    limits = np.array([np.deg2rad(config.degrees), config.translate, config.translate, config.scale])
    angle, right, down, zoom = (limits * rng.uniform(-1, 1, size=(count, 4))).T
    cos, sin = np.cos(angle) / (1 + zoom), np.sin(angle) / (1 + zoom)
    inverse = np.stack([cos, sin, -sin, cos], axis=1).reshape(count, 2, 2)
    translation = np.stack([2 * right, 2 * down], axis=1)[:, :, None]
    return np.concatenate([inverse, -inverse @ translation], axis=2).astype(np.float32)


def apply_affine(images: torch.Tensor, maps: np.ndarray, black: float) -> torch.Tensor:
    """Returns float32 (B, 1, H, W): square `images` moved by the maps of `draw_affine`, with bilinear interpolation.

    Pixels from outside an image become `black`. Overwrites `images`.
    """
    grid = affine_grid(torch.from_numpy(maps).to(images.device), list(images.shape), align_corners=False)
    moved = grid_sample(images.sub_(black), grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return moved.add_(black)
