"""Draws a lateral chest in centimetres: sternum on the left, spine on the right, and the signs seen from the side."""

import numpy as np

from chex.phantom.anatomy import ABDOMEN, FLUID, HEART, LUNG, SHAPE, SOFT_TISSUE
from chex.phantom.drawing import Field, Stroke, X, Y, blob, disc, mix, soft, strokes, texture
from chex.phantom.pathology import Signs


def draw_lateral(signs: Signs, sex: str, study_rng: np.random.Generator, image_rng: np.random.Generator) -> Field:
    """Returns the image's brightness on the canvas, about 0..1; the generators are those of `draw_frontal`."""
    dome = study_rng.normal(28.0, 0.9) - SHAPE.volume_loss * signs.strength["Atelectasis"] ** 2
    dome -= 1.8 * signs.mimic["Pleural Effusion"] * (signs.choice["Pleural Effusion"] < 0.5)
    lung = _lung(dome)
    image = _body(study_rng)
    mottle = texture(image_rng, 12)
    image = mix(image, LUNG + 0.16 + 0.10 * soft(10 - Y, 12) + 0.02 * mottle, lung * 0.9)
    image = image + lung * (_vessels(signs, study_rng) + _haze(signs, mottle))
    image = _heart(image, signs, dome, study_rng)
    image = mix(image, ABDOMEN, soft(Y - _floor(dome), 0.6) * soft(11.5 - np.abs(X), 1.5) * 0.9)
    image = _effusion(image, signs, dome)
    image = _consolidation(image, lung, signs, study_rng)
    image = _atelectasis(image, signs, dome, study_rng)
    image = image + 0.13 * _bones(study_rng) * (0.5 + 0.5 * lung)
    return image + 0.012 * texture(image_rng, 40) * lung + _breast(sex, study_rng)


def _front(y: Field) -> Field:
    """Returns x of the sternum's inner side at each height."""
    return -5.0 - 4.5 * np.clip((y - 8) / 16, 0, 1) ** 0.7


def _back(y: Field) -> Field:
    """Returns x of the posterior chest wall at each height."""
    return 8.0 + 2.5 * np.sin(np.clip((y - 6) / 28, 0, 1) * np.float32(np.pi))


def _floor(dome: float) -> Field:
    """Returns y of the diaphragm in cm at each x: high in front, low at the posterior angle."""
    back: Field = np.clip((X + 2.5) / 12.0, 0, 1.1) ** 1.7
    front: Field = np.clip((-3.0 - X) / 6.5, 0, 1.2) ** 2
    return dome + 5.6 * back + 2.2 * front


def _lung(dome: float) -> Field:
    return soft(X - _front(Y), 1.0) * soft(_back(Y) - X, 1.0) * soft(_floor(dome) - Y, 0.5) * soft(Y - 7.0, 3.0)


def _body(study_rng: np.random.Generator) -> Field:
    thick = study_rng.normal(2.4, 0.5)
    outline = soft(X - _front(Y) + thick, 1.2) * soft(_back(Y) + thick + 1.5 - X, 1.2)
    arms = 0.16 * soft(9.5 - Y + 0.3 * X, 3.0) * soft(10 - np.abs(X), 2)
    return (SOFT_TISSUE + arms) * outline


def _heart(image: Field, signs: Signs, dome: float, study_rng: np.random.Generator) -> Field:
    """Draws the heart; Cardiomegaly makes it deeper, so that its back reaches towards the spine."""
    strength = signs.strength["Cardiomegaly"]
    depth = study_rng.normal(4.2, 0.3) + (0.5 + 1.6 * strength) * (strength > 0) + 0.4 * signs.mimic["Cardiomegaly"]
    heart = disc(-8.8 + depth, dome - 0.6 * depth, depth, 1.15 * depth, -0.6, 2.0)
    great_vessels = 0.7 * disc(-2.0, 15.0, 3.0, 6.5, 0.25, 3.0)
    return mix(image, HEART - 0.04, np.maximum(heart, great_vessels) * 0.8)


def _vessels(signs: Signs, study_rng: np.random.Generator) -> Field:
    heavy = 1 + 0.5 * signs.mimic["Edema"] + 0.25 * signs.strength["Edema"]
    lines = []
    for angle in np.linspace(0, 6, 13) + study_rng.normal(0, 0.2, 13):
        start = np.array([1.0, 18.0]) + study_rng.normal(0, 1.3, 2)
        reach = study_rng.uniform(3, 7) * np.array([np.cos(angle), np.sin(angle)])
        lines.append(
            Stroke(
                np.array([start, start + 0.5 * reach, start + reach + study_rng.normal(0, 0.5, 2)]), 0.35 * heavy, 0.5
            )
        )
    return 0.14 * heavy * (strokes(lines, 0.15 + 0.3 * signs.strength["Edema"]) + blob(1.0, 18.0, 1.8, 2.2))


def _haze(signs: Signs, mottle: Field) -> Field:
    strength = signs.strength["Edema"]
    return strength * 0.17 * (blob(1.0, 18.5, 4.5, 5.5) * (1 + 0.25 * mottle) + 0.35) if strength else 0 * X


def _effusion(image: Field, signs: Signs, dome: float) -> Field:
    """Draws fluid in the posterior angle, with a meniscus that climbs the back wall, or its mimic."""
    inside = soft(_back(Y) + 0.3 - X, 0.8) * soft(X + 6, 1.5)
    strength = signs.strength["Pleural Effusion"]
    if strength:
        least, more = SHAPE.fluid_depth
        top = dome + 5.2 - (least + 1.3 * more * strength) * (0.25 + 0.75 * np.clip((X + 6) / 15, 0, 1) ** 3)
        image = mix(image, np.maximum(image, FLUID), 0.92 * soft(Y - top, 0.7) * inside)
    scar = signs.mimic["Pleural Effusion"] * (signs.choice["Pleural Effusion"] >= 0.5)
    return mix(image, 0.6, 0.8 * scar * disc(9.4, dome + 2.4, 0.8, 2.6, 0.1, 0.7)) if scar else image


def _consolidation(image: Field, lung: Field, signs: Signs, study_rng: np.random.Generator) -> Field:
    x, y = study_rng.uniform(-3, 6), study_rng.uniform(13, 25)
    parts = study_rng.normal(0, 1.4, (4, 2)), study_rng.uniform(1.1, 2.2, (4, 2))
    strength, mimic = signs.strength["Consolidation"], signs.mimic["Consolidation"]
    if strength:
        size = 0.85 + 0.5 * strength
        patches = sum(
            blob(x + dx * size, y + dy * size, a * size, b * size) for (dx, dy), (a, b) in zip(*parts, strict=True)
        )
        image = mix(image, 0.70, lung * np.minimum(patches, 1) * (0.35 + 0.50 * strength))
    return image + 0.18 * mimic * lung * disc(x, y, 1.0, 0.95, 0, 0.7) if mimic else image


def _atelectasis(image: Field, signs: Signs, dome: float, study_rng: np.random.Generator) -> Field:
    lift, scar_lift, tilt = study_rng.uniform(0.4, 1.4), study_rng.uniform(1.5, 5.0), study_rng.uniform(-0.2, 0.7)
    strength, mimic = signs.strength["Atelectasis"], signs.mimic["Atelectasis"]
    if strength:
        plate = disc(3.5, dome + 1.0 - lift, 4.2 + 1.2 * strength, 0.45 + 0.85 * strength**2, 0.35, 0.5)
        crowded = blob(3.5, dome + 0.6, 3.8, 2.1, 0.35) * (0.55 + 0.35 * strength)
        image = mix(image, np.maximum(image, 0.70), np.maximum(plate * (0.4 + 0.5 * strength), crowded))
    if mimic:
        scar = disc(3.0, dome + 1.0 - scar_lift, 2.4, 0.22, tilt, 0.4)
        image = mix(image, np.maximum(image, 0.68), scar * 0.7 * mimic)
    return image


def _bones(study_rng: np.random.Generator) -> Field:
    """Returns spine, ribs seen end on and sternum, 0..1."""
    reach, clarity = np.linspace(0, 1, 10), study_rng.uniform(0.5, 1.0)
    lines = []
    for rib in range(9):
        top = 7.5 + 2.4 * rib
        curve = np.column_stack([8.5 - 16.5 * reach, top + 6.5 * reach**1.3])
        lines.append(Stroke(curve, 0.7, 0.35 * clarity))
    front = np.arange(8.0, 26.0, 2.0)
    lines.append(Stroke(np.column_stack([_front(front) - 0.6, front]), 0.9, 0.7))
    spine: Field = soft(1.6 - np.abs(X - (_back(Y) - 1.2)), 0.8) * (
        0.45 + 0.5 * np.square(np.sin(np.float32(np.pi / 2.7) * Y))
    )
    return strokes(lines, 0.15) + spine


def _breast(sex: str, study_rng: np.random.Generator) -> Field:
    size, y, density = study_rng.uniform(2.5, 4.0), study_rng.uniform(22, 26), study_rng.uniform(0.05, 0.12)
    return density * disc(-11.0, y, size, size * 1.3, 0, 1.2) if sex == "Female" else 0 * X
