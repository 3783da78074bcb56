"""Draws soft shapes, strokes and textures on one square canvas that is measured in centimetres."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter

PIXELS_PER_CM = 7
WIDTH_CM = 43.0
SIDE = round(WIDTH_CM * PIXELS_PER_CM)

Field = npt.NDArray[np.floating]
"""A float32 array that broadcasts to (SIDE, SIDE); masks are within 0..1."""

X: Field = ((np.arange(SIDE, dtype=np.float32) + 0.5) / PIXELS_PER_CM - WIDTH_CM / 2)[None, :]
"""Centimetres to the right of the canvas's middle, shape (1, SIDE)."""
Y: Field = ((np.arange(SIDE, dtype=np.float32) + 0.5) / PIXELS_PER_CM)[:, None]
"""Centimetres below the canvas's top, shape (SIDE, 1)."""


def soft(distance: Field, edge: float) -> Field:
    """Returns a smooth step: 0 where `distance` (cm) is below -edge/2, 1 above edge/2."""
    t: Field = np.clip(distance / np.float32(edge) + np.float32(0.5), 0, 1)
    return t * t * (3 - 2 * t)


def disc(x: float, y: float, a: float, b: float, tilt: float = 0.0, edge: float = 0.5) -> Field:
    """Returns an ellipse's mask: centre, half axes and width of the soft rim in cm, `tilt` in radians clockwise."""
    short = np.float32(min(a, b))

    def mask(u: Field, v: Field) -> Field:
        return soft((1 - np.hypot(u / np.float32(a), v / np.float32(b))) * short, edge)

    return _stamp(mask, x, y, max(a, b) * (1 + edge / min(a, b)), tilt)


def blob(x: float, y: float, a: float, b: float, tilt: float = 0.0) -> Field:
    """Returns a Gaussian bump of height 1 with standard deviations `a` and `b` in cm, cut off at three of them."""

    def bump(u: Field, v: Field) -> Field:
        height: Field = np.exp(np.float32(-0.5) * (np.square(u / np.float32(a)) + np.square(v / np.float32(b))))
        return height

    return _stamp(bump, x, y, 3 * max(a, b), tilt)


def _stamp(shape: Callable[[Field, Field], Field], x: float, y: float, reach: float, tilt: float) -> Field:
    """Evaluates `shape` along its tilted axes, only within `reach` cm of (x, y) because most shapes are small."""
    field = np.zeros((SIDE, SIDE), dtype=np.float32)
    columns, rows = (
        slice(max(0, int((c - reach) * PIXELS_PER_CM)), max(0, int((c + reach) * PIXELS_PER_CM) + 1))
        for c in (x + WIDTH_CM / 2, y)
    )
    dx, dy = X[:, columns] - np.float32(x), Y[rows] - np.float32(y)
    cos, sin = np.float32(np.cos(tilt)), np.float32(np.sin(tilt))
    field[rows, columns] = shape(dx * cos + dy * sin, dy * cos - dx * sin)
    return field


def mix(field: Field, value: Field | float, mask: Field) -> Field:
    """Returns `field` where `mask` is 0, `value` where it is 1, and mixes them in between."""
    return field + (value - field) * mask


@dataclass(frozen=True)
class Stroke:
    """A line through some points."""

    points: np.ndarray
    """(n, 2), x and y on the canvas in centimetres."""
    width: float
    """In centimetres."""
    weight: float = 1.0
    """Brightness, 0..1."""


def strokes(lines: Sequence[Stroke], blur: float) -> Field:
    """Draws lines in 0..1, the later over the earlier, blurred by a Gaussian of `blur` cm."""
    image = Image.new("L", (SIDE, SIDE))
    pen = ImageDraw.Draw(image)
    for line in lines:
        pixels = (line.points + np.array([WIDTH_CM / 2, 0.0])) * PIXELS_PER_CM
        width = max(1, round(line.width * PIXELS_PER_CM))
        pen.line([tuple(p) for p in pixels.tolist()], fill=round(255 * line.weight), width=width, joint="curve")
    blurred = image.filter(ImageFilter.GaussianBlur(blur * PIXELS_PER_CM))
    return np.asarray(blurred, dtype=np.float32) / np.float32(255)


def texture(rng: np.random.Generator, cells: int) -> Field:
    """Returns smooth noise of about unit variance with `cells` bumps across the canvas."""
    coarse = Image.fromarray(rng.standard_normal((cells, cells), dtype=np.float32))
    return np.asarray(coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC))
