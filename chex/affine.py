"""Small random rotations, shifts and zooms of a batch, on the device that trains."""

import numpy as np
import torch
from pydantic import Field
from torch.nn.functional import affine_grid, grid_sample

from chex.strict import Strict


class AffineConfig(Strict):
    """How far films are moved at most, either way; all zero: not at all. There are no flips: the heart is left."""

    degrees: float = Field(0.0, ge=0, le=45)
    """Of rotation about the centre."""
    shift: float = Field(0.0, ge=0, le=0.5)
    """Along each axis, as a share of the side."""
    scale: float = Field(0.0, ge=0, le=0.5)
    """A film is zoomed by a factor from 1 - scale to 1 + scale."""


def draw_affine(config: AffineConfig, count: int, rng: np.random.Generator) -> np.ndarray | None:
    """float32 (count, 2, 3): where in the film each pixel of the moved film comes from; None where nothing moves.

    Both in coordinates from -1 to 1, x before y.
    """
    if config == AffineConfig():
        return None
    reach = np.array([np.deg2rad(config.degrees), config.shift, config.shift, config.scale])
    angle, right, down, zoom = (reach * rng.uniform(-1, 1, size=(count, 4))).T
    cos, sin = np.cos(angle) / (1 + zoom), np.sin(angle) / (1 + zoom)
    back = np.stack([cos, sin, -sin, cos], axis=1).reshape(count, 2, 2)
    moved = np.stack([2 * right, 2 * down], axis=1)[:, :, None]
    return np.concatenate([back, -back @ moved], axis=2).astype(np.float32)


def warp(films: torch.Tensor, sources: np.ndarray, black: float) -> torch.Tensor:
    """float32 (B, 1, H, W): `films`, which are used up, moved as `draw_affine` says; what comes into view is `black`.

    Bilinear; films are squares.
    """
    grid = affine_grid(torch.from_numpy(sources).to(films.device), list(films.shape), align_corners=False)
    moved = grid_sample(films.sub_(black), grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return moved.add_(black)
