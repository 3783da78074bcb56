"""Normalization of gray levels to the input range that a backbone was trained on."""

import math
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Normalization:
    """The map (gray - mean) / std, for gray levels from 0 to 1.

    Raises ValueError if `mean` is not from 0 to 1 or `std` is not above 0.
    """

    mean: float
    std: float

    def __post_init__(self) -> None:
        if not (0 <= self.mean <= 1 and 0 < self.std < math.inf):
            raise ValueError(f"mean {self.mean} is not from 0 to 1, or std {self.std} is not above 0")

    @property
    def black(self) -> float:
        """The normalized value of a black pixel."""
        return -self.mean / self.std

    def normalize_(self, gray: torch.Tensor) -> torch.Tensor:
        """Normalizes `gray`, float32 gray levels from 0 to 255, in place, and returns it."""
        return torch.add(torch.tensor(self.black), gray, alpha=1 / (255 * self.std), out=gray)  # in one pass
