"""One film file to a square of gray pixels."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from chex.processors import usable_cpus

Resize = Literal["letterbox", "squash"]
RULE = "2"
"""Part of every cache's key: change it whenever `decode` gives other pixels."""
UNDECODABLE = (OSError, ValueError, SyntaxError, Image.DecompressionBombError)
"""What Pillow raises for files that are damaged, not images or far too large."""


def decode(path: Path, size: int, resize: Resize = "letterbox") -> np.ndarray:
    """uint8 (size, size): the film in grayscale; `letterbox` centres it on black, `squash` drops its proportions.

    8-bit files keep their gray values. In 16-bit ones the file's own brightest pixel becomes 255: most hold 10 to 14
    bits and do not say how many, and by the full range a 12-bit film would be all but black.
    Raises one of UNDECODABLE.
    """
    with Image.open(path) as film:
        shape = _fitted(film.size, size) if resize == "letterbox" else (size, size)
        film.draft("L", (2 * shape[0], 2 * shape[1]))  # JPEG only: decodes at 1/2, 1/4 or 1/8, never below this
        gray = _gray(film)
    # What a draft does for JPEG the gap does for the rest: whole-number reduction first, down to twice the shape.
    fitted = np.asarray(gray.resize(shape, Image.Resampling.BILINEAR, reducing_gap=2.0))
    return fitted if resize == "squash" else _on_black(fitted, size)


def decoded(root: Path, paths: Sequence[str] | np.ndarray, size: int, resize: Resize) -> Iterator[np.ndarray | None]:
    """Each film as `decode` gives it, in the order of `paths`, or None where it cannot be decoded."""

    def decode_or_none(path: str) -> np.ndarray | None:
        try:
            return decode(root / path, size, resize)
        except UNDECODABLE:
            return None

    with ThreadPoolExecutor(usable_cpus()) as pool:
        for start in range(0, len(paths), 1024):
            yield from pool.map(decode_or_none, paths[start : start + 1024])


def _fitted(shape: tuple[int, int], size: int) -> tuple[int, int]:
    scale = size / max(shape)
    return max(1, round(shape[0] * scale)), max(1, round(shape[1] * scale))


def _gray(film: Image.Image) -> Image.Image:
    if not film.mode.startswith("I"):
        return film.convert("L")
    values = np.asarray(film, dtype=np.float32).clip(min=0)
    return Image.fromarray((values * (255 / max(values.max(), 1)) + 0.5).astype(np.uint8))


def _on_black(fitted: np.ndarray, size: int) -> np.ndarray:
    height, width = fitted.shape
    top, left = (size - height) // 2, (size - width) // 2
    square = np.zeros((size, size), dtype=np.uint8)
    square[top : top + height, left : left + width] = fitted
    return square
