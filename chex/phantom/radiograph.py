"""Draws a phantom image: a chest with its signs, devices, pose, exposure, noise and markings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from chex.phantom.drawing import PIXELS_PER_CM, SIDE, Field, Stroke, disc, strokes
from chex.phantom.frontal import draw_frontal
from chex.phantom.lateral import draw_lateral
from chex.phantom.pathology import place_signs


@dataclass(frozen=True)
class Radiograph:
    """The content of one image."""

    view: str
    """'AP', 'PA' (or 'LL', 'RL': frontals drawn as AP), or '' for a lateral, as in the CSV's AP/PA column."""
    sex: str
    strength: Mapping[str, float]
    """Per scored observation, how strong its sign is: 0 (absent) to 1."""
    mimic: Mapping[str, float]
    """Per scored observation, how strong a mimic is, something that only looks like the sign: 0 (absent) to 1."""
    devices: bool


@dataclass(frozen=True)
class Nuisance:
    """The variation between images that says nothing about the patient. A pair is (mean, standard deviation) unless its
    docstring gives another meaning."""

    turn: float = 0.045
    """The standard deviation of the image's rotation, in radians."""
    shift: float = 0.9
    """The standard deviation of the image's shift along each axis, in centimetres."""
    field: tuple[float, float] = (31.0, 1.0)
    """The length on the patient that the image's short side covers, in centimetres."""
    gamma: tuple[float, float] = (1.0, 0.16)
    contrast: tuple[float, float] = (1.05, 0.10)
    brightness: tuple[float, float] = (-0.03, 0.05)
    grain: tuple[float, float] = (0.012, 0.032)
    """Range of the noise's standard deviation, as a share of full white."""
    tilted_exposure: float = 0.05
    """The standard deviation of a brightness gradient along each axis, from the middle to the edge."""
    landscape: tuple[float, float] = (0.45, 0.15)
    """The chance that a frontal, and that a lateral image is wider than high."""
    marker: float = 0.5
    """Chance of a letter marker."""
    border: float = 0.2
    """Chance of a black border."""


NUISANCE = Nuisance()
SHORT_SIDE, LONG_SIDE = 320, (320, 400)
"""Pixels; CheXpert-v1.0-small's images have a short side of 320."""
MARKERS = {"AP": ("R", "PORTABLE", "AP ERECT"), "PA": ("R", "L"), "": ("L",)}
"""The letters that may be printed on an image, by AP/PA."""


def draw_radiograph(
    radiograph: Radiograph, study_rng: np.random.Generator, image_rng: np.random.Generator
) -> np.ndarray:
    """Returns the image as uint8 (height, width), 0 black: short side 320, long side 320 to 400.

    Images of one study drawn with equal `study_rng` show the same chest; `image_rng` decides pose, exposure and size.
    """
    signs = place_signs(radiograph.strength, radiograph.mimic, study_rng)
    if radiograph.view:
        image = draw_frontal(signs, radiograph.view != "PA", radiograph.sex, study_rng, image_rng)
    else:
        image = draw_lateral(signs, radiograph.sex, study_rng, image_rng)
    if radiograph.devices:
        image = image + (0.28 if radiograph.view else 0.20) * _devices(study_rng)
    pixels = _expose(_pose(image, bool(radiograph.view), image_rng), image_rng)
    return _mark(pixels, MARKERS.get(radiograph.view, MARKERS["AP"]), image_rng)


def _devices(study_rng: np.random.Generator) -> Field:
    """Returns the brightness of lines, tubes, leads and sometimes a pacemaker, 0..1."""
    bright = strokes([line for line, chance in _lines(study_rng) if study_rng.random() < chance], 0.05)
    if study_rng.random() < 0.2:
        bright = np.maximum(bright, disc(float(study_rng.choice([-9, 9])), 11.5, 2.0, 1.6, 0.3, 0.2))
    return bright


def _lines(study_rng: np.random.Generator) -> list[tuple[Stroke, float]]:
    """Returns (line, chance that it is drawn) for each device that may lie in or on the chest."""
    side = int(study_rng.choice([-1, 1]))
    tube = np.column_stack([study_rng.normal(0, 0.2, 2), [0.0, study_rng.uniform(12, 15)]])
    central = np.array([[side * 5.5, 3.0], [side * 4.0, 8.0], [-1.5, 12.0], [-2.2, study_rng.uniform(16, 20)]])
    feeding = np.column_stack([0.4 + study_rng.normal(0, 0.25, 6), np.linspace(0, 33, 6)])
    feeding[-1, 0] += 3.5
    leads = [(_lead(study_rng), 0.5) for _ in range(3)]
    return [
        (Stroke(tube, 0.5, 0.6), 0.45),
        (Stroke(_rounded(central), 0.25, 0.9), 0.6),
        (Stroke(_rounded(feeding), 0.25, 0.8), 0.4),
        *leads,
    ]


def _rounded(points: np.ndarray) -> np.ndarray:
    """Returns the polyline after cutting off its corners three times (Chaikin's algorithm)."""
    for _ in range(3):
        near, far = 0.75 * points[:-1] + 0.25 * points[1:], 0.25 * points[:-1] + 0.75 * points[1:]
        points = np.vstack([points[:1], np.stack([near, far], axis=1).reshape(-1, 2), points[-1:]])
    return points


def _lead(study_rng: np.random.Generator) -> Stroke:
    start = np.array([study_rng.uniform(-12, 12), study_rng.uniform(6, 24)])
    steps = np.cumsum(study_rng.normal(0, 1, (14, 2)) * (0.8, 0.3) + (study_rng.choice([-1, 1]) * 1.0, 0.6), axis=0)
    return Stroke(start + steps, 0.15, 0.85)


def _pose(image: Field, frontal: bool, image_rng: np.random.Generator) -> Field:
    """Returns the canvas turned, shifted and resampled at the image's size."""
    long_side = int(image_rng.integers(*LONG_SIDE, endpoint=True))
    wide = image_rng.random() < NUISANCE.landscape[0 if frontal else 1]
    width, height = (long_side, SHORT_SIDE) if wide else (SHORT_SIDE, long_side)
    step = image_rng.normal(*NUISANCE.field) / SHORT_SIDE * PIXELS_PER_CM
    angle = image_rng.normal(0, NUISANCE.turn)
    middle = np.array([SIDE / 2, 21.0 * PIXELS_PER_CM]) + image_rng.normal(0, NUISANCE.shift, 2) * PIXELS_PER_CM
    turn = step * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    origin = middle - turn @ (width / 2, height / 2)
    matrix = (*turn[0], origin[0], *turn[1], origin[1])
    canvas = Image.fromarray(np.ascontiguousarray(image, dtype=np.float32))
    return np.asarray(canvas.transform((width, height), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR))


def _expose(image: Field, image_rng: np.random.Generator) -> np.ndarray:
    """Returns `image`, brightness about 0..1, as uint8 with random gradient, contrast, gamma and grain."""
    height, width = image.shape
    slope = image_rng.normal(0, NUISANCE.tilted_exposure, 2).astype(np.float32)
    lit = image + slope[0] * np.linspace(-1, 1, width, dtype=np.float32)
    lit = lit + slope[1] * np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    lit = np.float32(image_rng.normal(*NUISANCE.contrast)) * lit + np.float32(image_rng.normal(*NUISANCE.brightness))
    lit = np.clip(lit, 0, 1) ** np.float32(np.clip(image_rng.normal(*NUISANCE.gamma), 0.6, 1.6))
    grain = np.float32(image_rng.uniform(*NUISANCE.grain))
    lit = lit + grain * image_rng.standard_normal(image.shape, dtype=np.float32)
    return np.round(255 * np.clip(lit, 0, 1)).astype(np.uint8)


def _mark(pixels: np.ndarray, markers: Sequence[str], image_rng: np.random.Generator) -> np.ndarray:
    """Draws a letter marker and a black border, each on some images."""
    height, width = pixels.shape
    picture = Image.fromarray(pixels)
    pen = ImageDraw.Draw(picture)
    if image_rng.random() < NUISANCE.marker:
        corner = (int(image_rng.integers(8, 30)), int(image_rng.integers(8, 60)))
        marker, size = markers[int(image_rng.integers(len(markers)))], int(image_rng.integers(10, 20))
        pen.text(corner, marker, fill=235, font_size=size)
    if image_rng.random() < NUISANCE.border:
        pen.rectangle((0, 0, width - 1, height - 1), outline=0, width=int(image_rng.integers(3, 14)))
    return np.asarray(picture)
