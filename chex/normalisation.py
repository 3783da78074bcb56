"""How gray levels become the numbers that a backbone was trained on."""

import math
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Normalisation:
    """A gray level from 0 to 1, less `mean`, divided by `std`.

    Raises ValueError for a mean that is not from 0 to 1, and for a std that is not above 0.
    """

    mean: float
    std: float

    def __post_init__(self) -> None:
        if not (0 <= self.mean <= 1 and 0 < self.std < math.inf):
            raise ValueError(f"mean {self.mean} is not from 0 to 1, or std {self.std} is not above 0")

    @property
    def black(self) -> float:
        """The number that a black pixel becomes."""
        return -self.mean / self.std

    def over(self, gray: torch.Tensor) -> torch.Tensor:
        """Returns `gray`, float32 gray levels from 0 to 255, written over with its normalised values."""
        return torch.add(torch.tensor(self.black), gray, alpha=1 / (255 * self.std), out=gray)  # in one pass
