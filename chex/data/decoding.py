"""Decodes an image file to a square of gray pixels."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from chex.data.data_config import Resize
from chex.runtime.cpu_count import usable_cpus

DECODER_VERSION = "2"
"""Part of the name of every image cache. Change it whenever `decode` returns other pixels than before."""
UNDECODABLE = (OSError, ValueError, SyntaxError, Image.DecompressionBombError)
"""The errors of Pillow for files that are damaged, no images or far too large."""


def decode(path: Path, size: int, resize: Resize = "letterbox") -> np.ndarray:
    """Returns uint8 (size, size): the image in gray; `letterbox` centres it on black, `stretch` fills the square.

    8-bit files keep their gray levels. In a 16-bit file the brightest pixel becomes 255: most such files use 10 to 14
    bits and do not say how many, and scaled by the full range a 12-bit image would be nearly black.
    Raises one of UNDECODABLE.
    """
    with Image.open(path) as image:
        shape = _fit(image.size, size) if resize == "letterbox" else (size, size)
        image.draft("L", (2 * shape[0], 2 * shape[1]))  # JPEG only: decodes at 1/2, 1/4 or 1/8, never below this
        gray = _to_gray(image)
    # For other formats reducing_gap does the same: it first reduces by a whole factor, at most to twice the shape.
    fitted = np.asarray(gray.resize(shape, Image.Resampling.BILINEAR, reducing_gap=2.0))
    return fitted if resize == "stretch" else _on_black(fitted, size)


def decode_all(root: Path, paths: Sequence[str] | np.ndarray, size: int, resize: Resize) -> Iterator[np.ndarray | None]:
    """Yields the decoded image of each path, in order; None if it cannot be decoded."""

    def decode_or_none(path: str) -> np.ndarray | None:
        try:
            return decode(root / path, size, resize)
        except UNDECODABLE:
            return None

    with ThreadPoolExecutor(usable_cpus()) as pool:
        for start in range(0, len(paths), 1024):
            yield from pool.map(decode_or_none, paths[start : start + 1024])


def _fit(shape: tuple[int, int], size: int) -> tuple[int, int]:
    """Returns `shape` scaled so that its longer side is `size`."""
    scale = size / max(shape)
    return max(1, round(shape[0] * scale)), max(1, round(shape[1] * scale))


def _to_gray(image: Image.Image) -> Image.Image:
    if not image.mode.startswith("I"):
        return image.convert("L")
    values = np.asarray(image, dtype=np.float32).clip(min=0)
    return Image.fromarray((values * (255 / max(values.max(), 1)) + 0.5).astype(np.uint8))


def _on_black(fitted: np.ndarray, size: int) -> np.ndarray:
    height, width = fitted.shape
    top, left = (size - height) // 2, (size - width) // 2
    square = np.zeros((size, size), dtype=np.uint8)
    square[top : top + height, left : left + width] = fitted
    return square
