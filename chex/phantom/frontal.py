"""Draws a frontal chest in centimetres: the anatomy, the signs of the five scored observations and their mimics."""

import numpy as np

from chex.phantom.anatomy import (
    ABDOMEN,
    FLUID,
    HEART,
    LEFT,
    LUNG,
    MEDIASTINUM,
    RIGHT,
    SHAPE,
    SOFT_TISSUE,
    Chest,
    diaphragm,
    fluid_top,
    frontal_chest,
    lung_mask,
    wall,
)
from chex.phantom.drawing import Field, Stroke, X, Y, blob, disc, mix, soft, strokes, texture
from chex.phantom.pathology import Signs


def draw_frontal(
    signs: Signs, ap: bool, sex: str, study_rng: np.random.Generator, image_rng: np.random.Generator
) -> Field:
    """Returns the image's brightness on the canvas, about 0..1.

    `study_rng` draws what all images of one study share (shape, sides, places), `image_rng` what differs between them.
    """
    chest = frontal_chest(signs, ap, study_rng)
    sides = {side: lung_mask(chest, side) for side in (RIGHT, LEFT)}
    lungs = sides[RIGHT] + sides[LEFT]
    image = _body(chest, study_rng)
    mottle = texture(image_rng, 12)
    image = mix(image, LUNG + 0.10 * soft(Y - 20, 22) + 0.02 * mottle, lungs * 0.92)
    image = image + lungs * (0.22 * _vessels(signs, study_rng) + _haze(signs, mottle, study_rng))
    heart = heart_mask(chest, signs)
    image = mix(image, HEART + 0.05 * soft(12 - abs(X), 14), heart * 0.9)
    abdomen = _abdomen(chest)
    image = mix(image, ABDOMEN + 0.02 * texture(image_rng, 5), abdomen * 0.95)
    image = _stomach(image, chest, study_rng)
    for side in (RIGHT, LEFT):
        image = _pleura(image, chest, signs, side)
        image = _consolidation(image, sides[side], signs, side, study_rng)
        image = _atelectasis(image, chest, signs, side, study_rng)
    image = image + 0.13 * _bones(chest, study_rng) * (0.45 + 0.55 * lungs * (1 - 0.9 * heart))
    return image + _breasts(sex, study_rng) * (1 - 0.8 * abdomen) + 0.012 * texture(image_rng, 40) * lungs


# --- anatomy ------------------------------------------------------------------------------------------------------


def heart_mask(chest: Chest, signs: Signs) -> Field:
    """Returns the mask of heart, great vessels and aortic knob; a fat pad beside the heart mimics Cardiomegaly."""
    base = 0.5 * (chest.dome[0] + chest.dome[1])
    a, b = chest.heart / 2, 0.40 * chest.heart
    y = base - 0.55 * b
    body = disc(chest.heart_x, y, a, b * 1.08, 0.42, 0.8)
    great_vessels = disc(0.3, y - b * 1.1, 3.4, 5.2, 0, 1.0)
    aortic_knob = disc(1.9, 12.8, 2.0, 2.2, 0, 1.0)
    mask = np.maximum(np.maximum(body, great_vessels), aortic_knob)
    if signs.choice["Cardiomegaly"] < 0.6:
        pad = disc(chest.heart_x + 0.85 * a, base + 1.6, 2.6, 2.0, 0.6, 1.5)
        mask = np.maximum(mask, 0.75 * signs.mimic["Cardiomegaly"] * pad)
    return mask


def _body(chest: Chest, study_rng: np.random.Generator) -> Field:
    neck = study_rng.normal(5.8, 0.4)
    shoulder = neck + (_flank(chest) - neck) * np.clip((Y - 2.0) / 6.5, 0, 1) ** 0.6 + np.clip(9 - Y, 0, 4) * 0.2
    outline = soft(shoulder - np.abs(X), 1.2)
    arms = soft(np.abs(X) - (17.0 + 0.10 * Y), 1.5) * soft(Y - 7 - 0.15 * np.abs(X), 3) * 0.8
    middle = (MEDIASTINUM - SOFT_TISSUE) * soft(3.2 - np.abs(X), 2.0) * soft(Y - 8, 6)
    trachea = 0.13 * soft(0.9 - np.abs(X + 0.2), 0.8) * soft(16 - Y, 2.5)
    return np.maximum(outline, arms) * SOFT_TISSUE + middle * outline - trachea * outline


def _flank(chest: Chest) -> Field:
    """Returns the distance of the skin from the midline at each height below the shoulders."""
    return chest.half + 3.4 + 0.8 * soft(Y - 26, 18)


def _abdomen(chest: Chest) -> Field:
    edge = np.where(X < 0, diaphragm(chest, RIGHT), diaphragm(chest, LEFT))
    rim = 0.5 + 2.5 * np.clip(np.abs(X) - chest.half, 0, 3)
    return soft((Y - edge) / rim, 1.0) * soft(_flank(chest) - np.abs(X), 1.2)


def _stomach(image: Field, chest: Chest, study_rng: np.random.Generator) -> Field:
    """Draws gas in the stomach under the left hemidiaphragm, in half of the studies."""
    size, x, shown = study_rng.uniform(1.0, 2.3), study_rng.uniform(5, 8), study_rng.random() < 0.5
    if not shown:
        return image
    return mix(image, 0.42, 0.8 * disc(x, chest.dome[1] + 1.2 + size, size * 1.4, size, 0, 0.8))


def _vessels(signs: Signs, study_rng: np.random.Generator) -> Field:
    """Returns branching vessels from the hila outwards; Edema blurs them, its mimic only makes them heavier."""
    heavy = 1 + 0.5 * signs.mimic["Edema"] + 0.25 * signs.strength["Edema"]
    lines = []
    for side in (RIGHT, LEFT):
        for angle in np.linspace(-1.3, 1.4, 10) + study_rng.normal(0, 0.12, 10):
            start = np.array([side * study_rng.uniform(2.6, 4.2), 17.0 + 2.4 * angle])
            reach = study_rng.uniform(5, 9.5) * (1 + 0.25 * signs.mimic["Edema"])
            lines += _branch(start, angle, side, reach, 0.42 * heavy, study_rng)
    hila = 0.6 * heavy * (blob(-3.9, 17.4, 1.3, 2.4, 0.2) + blob(4.0, 16.8, 1.2, 2.2, -0.2))
    return np.minimum(strokes(lines, 0.13 + 0.30 * signs.strength["Edema"]) + hila, 1.2)


def _branch(
    start: np.ndarray, angle: float, side: int, reach: float, width: float, study_rng: np.random.Generator
) -> list[Stroke]:
    bend = study_rng.normal(0.1, 0.3)
    t = np.linspace(0, 1, 6)[:, None]
    direction = angle + bend * t
    points = start + reach * t * np.hstack([side * np.cos(direction), np.sin(direction)])
    fork = points[3] + reach * 0.4 * t * np.hstack([side * np.cos(direction - 0.6), np.sin(direction - 0.6)])
    tapering = [Stroke(points[i : i + 2], width * (1 - 0.14 * i), 0.85 - 0.13 * i) for i in range(5)]
    return [Stroke(fork, width * 0.4, 0.3), *reversed(tapering)]


def _bones(chest: Chest, study_rng: np.random.Generator) -> Field:
    """Returns ribs, clavicles, scapulae and spine, 0..1."""
    lines, gap = [], study_rng.normal(2.35, 0.08)
    reach = np.linspace(0, 1, 12)
    clarity = study_rng.uniform(0.5, 1.0)
    for side in (RIGHT, LEFT):
        for rib in range(10):
            top = chest.apex + 0.2 + gap * rib
            width = float(np.interp(top + 2.5, Y[:, 0], wall(chest)[:, 0])) + 0.5
            back = np.column_stack(
                [side * (2 + (width - 2) * reach), top - 1.2 * np.sin(2.2 * reach) + 4.2 * reach**2.2]
            )
            front = np.column_stack([side * (width - (width - 3.5) * reach), top + 3.2 + 4.6 * reach**1.2])
            lines += [Stroke(front, 0.9, 0.28 * clarity), Stroke(back, 0.95, 0.75 * clarity)]
        dip = study_rng.normal(0, 0.4)
        collar = [
            [side * 1.8, chest.apex + 3.4],
            [side * 6.5, chest.apex + 1.6 + dip],
            [side * 15.5, chest.apex - 0.4 + dip],
        ]
        lines.append(Stroke(np.array(collar), 1.1, 0.9))
        blade = [[side * 13.0, chest.apex + 3], [side * study_rng.uniform(11.5, 14), chest.apex + 13]]
        lines.append(Stroke(np.array(blade), 0.6, 0.45))
    discs: Field = 0.25 * np.square(np.sin(np.float32(np.pi / 2.6) * Y)) * soft(2.0 - np.abs(X), 0.6)
    return strokes(lines, 0.14) + discs


def _breasts(sex: str, study_rng: np.random.Generator) -> Field:
    size, y, density = study_rng.uniform(4.5, 6.5), study_rng.uniform(23, 27), study_rng.uniform(0.05, 0.12)
    if sex != "Female":
        return 0 * X
    return density * (disc(-7.8, y, size * 1.1, size, 0, 3.0) + disc(7.8, y + 0.4, size * 1.1, size, 0, 3.0))


# --- signs --------------------------------------------------------------------------------------------------------


def _haze(signs: Signs, mottle: Field, study_rng: np.random.Generator) -> Field:
    """Returns the brightness that Edema adds: haze around both hila, and short lines at the lateral bases."""
    strength = signs.strength["Edema"]
    spread, heights = study_rng.uniform(3.6, 4.8), np.arange(23.5, 28.5, 0.8) + study_rng.normal(0, 0.1, 7)
    if not strength:
        return 0 * X
    cloud = (blob(-6.0, 18.5, spread, 5.5) + blob(6.0, 18.5, spread, 5.5)) * (1 + 0.25 * mottle) + 0.25
    septa = [np.array([[side * 10.6, y], [side * 13.0, y + 0.1]]) for side in (RIGHT, LEFT) for y in heights]
    return strength * (0.19 * cloud + 0.14 * strokes([Stroke(line, 0.12, 0.8) for line in septa], 0.06))


def _pleura(image: Field, chest: Chest, signs: Signs, side: int) -> Field:
    """Draws Pleural Effusion, fluid with a meniscus in the costophrenic angle, or its mimic, pleura thickened there."""
    share, x = signs.share("Pleural Effusion", side), X * side
    inside = soft(wall(chest) + 0.2 - x, 0.6) * soft(x - 2.5, 1.0)
    if share:
        least, more = SHAPE.fluid_depth
        image = mix(
            image, np.maximum(image, FLUID), 0.95 * soft(Y - fluid_top(chest, side, least + more * share), 0.6) * inside
        )
    scar = signs.mimic["Pleural Effusion"] * (signs.choice["Pleural Effusion"] >= 0.5)
    if scar and signs.side["Pleural Effusion"] == side:
        index = 0 if side == RIGHT else 1
        low = chest.dome[index] + 0.8 * chest.sharp[index]
        image = mix(image, 0.60, 0.8 * scar * disc(side * (chest.half - 0.5), low - 1.2, 0.9, 3.0, -0.15 * side, 0.7))
    return image


def _consolidation(image: Field, lung: Field, signs: Signs, side: int, study_rng: np.random.Generator) -> Field:
    """Draws Consolidation, a patchy dense area in one lung, or its mimic, a nodule or a crossing of ribs."""
    x, y = side * study_rng.uniform(5.5, 9.5), study_rng.uniform(12.5, 25.0)
    parts = study_rng.normal(0, 1.5, (4, 2)), study_rng.uniform(1.1, 2.3, (4, 2))
    if side != signs.side["Consolidation"]:
        return image
    strength, mimic = signs.strength["Consolidation"], signs.mimic["Consolidation"]
    if strength:
        size = 0.85 + 0.5 * strength
        patches = sum(
            blob(x + dx * size, y + dy * size, a * size, b * size) for (dx, dy), (a, b) in zip(*parts, strict=True)
        )
        image = mix(image, 0.68, lung * np.minimum(patches, 1) * (0.40 + 0.55 * strength))
    if mimic and signs.choice["Consolidation"] < 0.5:
        image = image + 0.24 * mimic * lung * disc(x, y, 1.0, 0.95, 0, 0.7)
    elif mimic:
        image = image + 0.20 * mimic * lung * disc(x, y, 2.6, 0.9, 0.5 * side, 1.2)
    return image


def _atelectasis(image: Field, chest: Chest, signs: Signs, side: int, study_rng: np.random.Generator) -> Field:
    """Draws Atelectasis, a plate and crowding above a raised hemidiaphragm, or its mimic, a thin linear scar."""
    tilt, lift = side * study_rng.normal(-0.12, 0.10), study_rng.uniform(0.9, 2.2)
    scar_tilt, scar_lift = study_rng.uniform(-0.5, 0.5), study_rng.uniform(1.5, 5.0)
    if side != signs.side["Atelectasis"]:
        return image
    strength, mimic = signs.strength["Atelectasis"], signs.mimic["Atelectasis"]
    x, y = side * 0.55 * chest.half, chest.dome[0 if side == RIGHT else 1]
    if strength:
        plate = disc(x, y - lift, 4.2 + 1.2 * strength, 0.45 + 0.85 * strength**2, tilt, 0.5)
        crowded = blob(x * 1.15, y - 0.4, 3.8, 2.1) * (0.55 + 0.35 * strength)
        image = mix(image, np.maximum(image, 0.68), np.maximum(plate * (0.4 + 0.5 * strength), crowded))
    if mimic:
        scar = disc(x, y - scar_lift, 2.4, 0.22, scar_tilt, 0.4)
        image = mix(image, np.maximum(image, 0.66), scar * 0.7 * mimic)
    return image
