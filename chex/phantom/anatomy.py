"""Defines the shape of a frontal chest in centimetres, and how the scored observations change it."""

from dataclasses import dataclass

import numpy as np

from chex.phantom.drawing import Field, X, Y, soft
from chex.phantom.pathology import Signs

RIGHT, LEFT = -1, 1
"""The patient's right is on the image's left, where x is negative."""

SOFT_TISSUE, LUNG, MEDIASTINUM, HEART, ABDOMEN, FLUID = 0.62, 0.20, 0.78, 0.74, 0.80, 0.72
"""The brightness of each tissue before exposure, 0 black to 1 white."""


@dataclass(frozen=True)
class Chest:
    """The shape of one study's chest. Lengths are in cm; pairs are (right, left)."""

    half: float
    """Half the inner width of the thorax at its widest."""
    apex: float
    """y of the lungs' upper end on the canvas (smaller is higher)."""
    dome: tuple[float, float]
    """y of the top of each hemidiaphragm on the canvas (smaller is higher)."""
    heart: float
    """Transverse width of the heart."""
    heart_x: float
    """x of the heart's centre on the canvas (positive is the patient's left)."""
    sharp: tuple[float, float]
    """How deep each costophrenic angle lies below its dome."""


@dataclass(frozen=True)
class Shape:
    """How much signs change the chest's shape, in cm or as shares of the thorax's width."""

    normal_ratio: tuple[float, float] = (0.450, 0.032)
    """Cardiothoracic ratio of a normal heart: mean, standard deviation."""
    enlarged_ratio: tuple[float, float] = (0.500, 0.130)
    """Cardiothoracic ratio of an enlarged heart: the smallest, and how much full strength adds."""
    magnified_in_ap: tuple[float, float] = (1.09, 0.035)
    """Factor on the heart's width in an AP image: mean, standard deviation."""
    shallow_breath_in_ap: float = 0.8
    """How far a bedside patient's shallow breath raises the domes."""
    volume_loss: float = 4.2
    """How far Atelectasis at full strength raises a hemidiaphragm."""
    raised_dome: float = 2.2
    """How far the mimic of Pleural Effusion at full strength raises a hemidiaphragm."""
    fluid_depth: tuple[float, float] = (0.7, 7.5)
    """Depth of an effusion: the smallest, and how much full strength adds."""


SHAPE = Shape()


def frontal_chest(signs: Signs, ap: bool, study_rng: np.random.Generator) -> Chest:
    """Draws the shape of one study's chest: Cardiomegaly widens the heart, Atelectasis raises a dome."""
    half = study_rng.normal(13.4, 0.6)
    breath = study_rng.normal(0, 0.8) + ap * SHAPE.shallow_breath_in_ap + 1.5 * signs.mimic["Cardiomegaly"]
    heart = 2 * half * _cardiothoracic_ratio(signs, ap, study_rng) * (1 + 0.012 * breath)
    dome = _domes(signs, breath, study_rng)
    sharp = (study_rng.normal(5.2, 0.5), study_rng.normal(5.2, 0.5))
    return Chest(half, study_rng.normal(6.5, 0.5), dome, heart, study_rng.normal(1.9, 0.35), sharp)


def _cardiothoracic_ratio(signs: Signs, ap: bool, study_rng: np.random.Generator) -> float:
    """Returns the ratio as the image shows it: the beam of an AP image comes from the front and magnifies the heart."""
    normal, magnified = min(study_rng.normal(*SHAPE.normal_ratio), 0.5), study_rng.normal(*SHAPE.magnified_in_ap)
    least, more = SHAPE.enlarged_ratio
    strength = signs.strength["Cardiomegaly"]
    ratio = least + more * strength if strength else normal
    return float(ratio * ((magnified if ap else 1) + 0.05 * signs.mimic["Cardiomegaly"]))


def _domes(signs: Signs, breath: float, study_rng: np.random.Generator) -> tuple[float, float]:
    lift = {side: breath - study_rng.normal(0, 0.35) for side in (RIGHT, LEFT)}
    lift[signs.side["Atelectasis"]] += SHAPE.volume_loss * signs.strength["Atelectasis"] ** 2
    if signs.choice["Pleural Effusion"] < 0.5:
        lift[signs.side["Pleural Effusion"]] += SHAPE.raised_dome * signs.mimic["Pleural Effusion"]
    return 28.2 - lift[RIGHT], 29.1 - lift[LEFT]


def wall(chest: Chest) -> Field:
    """Returns the distance in cm of the inner chest wall from the midline at each height, shape (SIDE, 1)."""
    t = np.clip((Y - chest.apex) / (27.0 - chest.apex), 0, 1.25)
    width: Field = chest.half * np.sqrt(np.clip(1 - np.abs(1 - t) ** 2.3, 0, 1))
    return width


def diaphragm(chest: Chest, side: int) -> Field:
    """Returns y of a hemidiaphragm in cm at each x, shape (1, SIDE)."""
    index = 0 if side == RIGHT else 1
    centre = 0.47 * chest.half * side
    fall: Field = np.minimum(np.abs((X - centre) / (0.53 * chest.half)) ** 2.4, 1.6)
    return chest.dome[index] + chest.sharp[index] * fall


def lung_mask(chest: Chest, side: int) -> Field:
    """Returns the mask of one lung, 0..1, including what the heart will cover."""
    across = X * side
    inner = 2.5 + 0.9 * np.exp(-np.square((Y - 17) / 5)) + 0.6 * np.clip((12 - Y) / 6, 0, 1)
    inside = soft(wall(chest) - across, 0.9) * soft(across - inner, 0.8)
    return inside * soft(diaphragm(chest, side) - Y, 0.5) * soft(Y - chest.apex, 1.5)


def fluid_top(chest: Chest, side: int, depth: float) -> Field:
    """Returns y in cm of an effusion's upper edge at each x: highest at the chest wall, lower towards the midline."""
    index = 0 if side == RIGHT else 1
    angle = chest.dome[index] + 0.92 * chest.sharp[index]
    across: Field = np.clip(X * side / chest.half, 0, 1.05)
    return angle - depth * (0.30 + 0.70 * across**3)
