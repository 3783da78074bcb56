"""A phantom film: from what a patient has to a grayscale picture with a film's exposure, pose, devices and markings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from chex.phantom.frontal import draw_frontal
from chex.phantom.ink import PIXELS_PER_CM, SIDE, Field, Stroke, disc, strokes
from chex.phantom.lateral import draw_lateral
from chex.phantom.signs import place_signs


@dataclass(frozen=True)
class Film:
    """What one film shows."""

    view: str
    """'AP', 'PA' (or 'LL', 'RL': frontals drawn as AP), or '' for a lateral, as in the CSV's AP/PA column."""
    sex: str
    strength: Mapping[str, float]
    """Per scored observation, how strong its sign is: 0 (absent) to 1."""
    mimic: Mapping[str, float]
    """Per scored observation, how strong something is that only looks like it: 0 (absent) to 1."""
    devices: bool


@dataclass(frozen=True)
class Nuisance:
    """What differs from film to film and means nothing. Pairs are (mean, standard deviation) unless said."""

    turn: float = 0.045
    """Radians, standard deviation."""
    shift: float = 0.9
    """Centimetres, standard deviation."""
    field: tuple[float, float] = (31.0, 1.0)
    """Centimetres that the short side shows."""
    gamma: tuple[float, float] = (1.0, 0.16)
    contrast: tuple[float, float] = (1.05, 0.10)
    brightness: tuple[float, float] = (-0.03, 0.05)
    grain: tuple[float, float] = (0.012, 0.032)
    """Range of the noise's standard deviation, of full white."""
    tilted_exposure: float = 0.05
    landscape: tuple[float, float] = (0.45, 0.15)
    """Chances that a frontal and a lateral film are wider than high."""
    marker: float = 0.5
    """Chance of a letter marker."""
    border: float = 0.2
    """Chance of a black border."""


NUISANCE = Nuisance()
SHORT_SIDE, LONG_SIDE = 320, (320, 400)
"""Pixels; CheXpert-v1.0-small's films have a short side of 320."""
MARKERS = {"AP": ("R", "PORTABLE", "AP ERECT"), "PA": ("R", "L"), "": ("L",)}
"""What a film may be marked with, by AP/PA."""


def draw_film(film: Film, study: np.random.Generator, noise: np.random.Generator) -> np.ndarray:
    """The film as uint8 of shape (height, width), 0 black: short side 320, long side 320 to 400.

    Films of one study drawn with equal `study` generators show the same chest; `noise` decides pose, exposure and size.
    """
    signs = place_signs(film.strength, film.mimic, study)
    if film.view:
        image = draw_frontal(signs, film.view != "PA", film.sex, study, noise)
    else:
        image = draw_lateral(signs, film.sex, study, noise)
    if film.devices:
        image = image + (0.28 if film.view else 0.20) * _devices(study)
    pixels = _expose(_pose(image, bool(film.view), noise), noise)
    return _mark(pixels, MARKERS.get(film.view, MARKERS["AP"]), noise)


def _devices(study: np.random.Generator) -> Field:
    """Lines, tubes, leads and sometimes a pacemaker, 0..1."""
    bright = strokes([line for line, chance in _lines(study) if study.random() < chance], 0.05)
    if study.random() < 0.2:
        bright = np.maximum(bright, disc(float(study.choice([-9, 9])), 11.5, 2.0, 1.6, 0.3, 0.2))
    return bright


def _lines(study: np.random.Generator) -> list[tuple[Stroke, float]]:
    """(line, chance) of what may lie in or on the chest."""
    side = int(study.choice([-1, 1]))
    tube = np.column_stack([study.normal(0, 0.2, 2), [0.0, study.uniform(12, 15)]])
    central = np.array([[side * 5.5, 3.0], [side * 4.0, 8.0], [-1.5, 12.0], [-2.2, study.uniform(16, 20)]])
    feeding = np.column_stack([0.4 + study.normal(0, 0.25, 6), np.linspace(0, 33, 6)])
    feeding[-1, 0] += 3.5
    leads = [(_lead(study), 0.5) for _ in range(3)]
    return [
        (Stroke(tube, 0.5, 0.6), 0.45),
        (Stroke(_rounded(central), 0.25, 0.9), 0.6),
        (Stroke(_rounded(feeding), 0.25, 0.8), 0.4),
        *leads,
    ]


def _rounded(points: np.ndarray) -> np.ndarray:
    """The polyline with its corners cut off three times over."""
    for _ in range(3):
        near, far = 0.75 * points[:-1] + 0.25 * points[1:], 0.25 * points[:-1] + 0.75 * points[1:]
        points = np.vstack([points[:1], np.stack([near, far], axis=1).reshape(-1, 2), points[-1:]])
    return points


def _lead(study: np.random.Generator) -> Stroke:
    start = np.array([study.uniform(-12, 12), study.uniform(6, 24)])
    steps = np.cumsum(study.normal(0, 1, (14, 2)) * (0.8, 0.3) + (study.choice([-1, 1]) * 1.0, 0.6), axis=0)
    return Stroke(start + steps, 0.15, 0.85)


def _pose(image: Field, frontal: bool, noise: np.random.Generator) -> Field:
    """The canvas as the film's pixels: turned, shifted, at the film's size."""
    long_side = int(noise.integers(*LONG_SIDE, endpoint=True))
    wide = noise.random() < NUISANCE.landscape[0 if frontal else 1]
    width, height = (long_side, SHORT_SIDE) if wide else (SHORT_SIDE, long_side)
    step = noise.normal(*NUISANCE.field) / SHORT_SIDE * PIXELS_PER_CM
    angle = noise.normal(0, NUISANCE.turn)
    middle = np.array([SIDE / 2, 21.0 * PIXELS_PER_CM]) + noise.normal(0, NUISANCE.shift, 2) * PIXELS_PER_CM
    turn = step * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    origin = middle - turn @ (width / 2, height / 2)
    matrix = (*turn[0], origin[0], *turn[1], origin[1])
    canvas = Image.fromarray(np.ascontiguousarray(image, dtype=np.float32))
    return np.asarray(canvas.transform((width, height), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR))


def _expose(image: Field, noise: np.random.Generator) -> np.ndarray:
    """Brightness about 0..1 as uint8, with uneven exposure, contrast, gamma and grain."""
    height, width = image.shape
    slope = noise.normal(0, NUISANCE.tilted_exposure, 2).astype(np.float32)
    lit = image + slope[0] * np.linspace(-1, 1, width, dtype=np.float32)
    lit = lit + slope[1] * np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    lit = np.float32(noise.normal(*NUISANCE.contrast)) * lit + np.float32(noise.normal(*NUISANCE.brightness))
    lit = np.clip(lit, 0, 1) ** np.float32(np.clip(noise.normal(*NUISANCE.gamma), 0.6, 1.6))
    grain = np.float32(noise.uniform(*NUISANCE.grain))
    lit = lit + grain * noise.standard_normal(image.shape, dtype=np.float32)
    return np.round(255 * np.clip(lit, 0, 1)).astype(np.uint8)


def _mark(pixels: np.ndarray, markers: Sequence[str], noise: np.random.Generator) -> np.ndarray:
    """A letter marker and a black border, each on some films."""
    height, width = pixels.shape
    picture = Image.fromarray(pixels)
    pen = ImageDraw.Draw(picture)
    if noise.random() < NUISANCE.marker:
        corner = (int(noise.integers(8, 30)), int(noise.integers(8, 60)))
        marker, size = markers[int(noise.integers(len(markers)))], int(noise.integers(10, 20))
        pen.text(corner, marker, fill=235, font_size=size)
    if noise.random() < NUISANCE.border:
        pen.rectangle((0, 0, width - 1, height - 1), outline=0, width=int(noise.integers(3, 14)))
    return np.asarray(picture)
