"""What the labeler and the radiologists say of the phantom's studies, in published numbers, the severest positive."""

from dataclasses import dataclass

import numpy as np

from chex.labels import BLANK, FIVE, NEGATIVE, OBSERVATIONS, POSITIVE, UNCERTAIN
from chex.phantom.counts import VALID, VALID_POSITIVES, label_rates
from chex.phantom.patients import Studies

Labels = dict[str, np.ndarray]
"""An array per observation with one value per study."""

# Labeler categories in the order in which ranked studies are given them.
_CATEGORIES = np.array([POSITIVE, UNCERTAIN, NEGATIVE, BLANK], dtype=np.int8)

COMPANIONS = 1.5
"""What a true one of the five adds to every other observation's severity in valid, or too few studies were healthy."""


@dataclass(frozen=True)
class Borderline:
    """How truth and visible strength follow from the labeler's category (ranges of uniform draws)."""

    true_given_positive: float = 0.95
    true_given_rest: float = 0.03
    clear_sign: tuple[float, float] = (0.50, 1.0)
    faint_sign: tuple[float, float] = (0.15, 0.35)
    mimic: tuple[float, float] = (0.5, 1.0)
    mimic_given_rest: float = 0.04


BORDERLINE = Borderline()


def fill(scores: np.ndarray, images: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """A category 0, 1, ... per study, given from the highest score down so that category c holds `wanted[c]` images.

    `images` (1 or more) is what each study counts for. Studies of several images get their share first and those of one
    image the rest, so that the counts come out exact wherever the latter suffice.
    """
    category = np.empty(len(scores), dtype=int)
    left = np.asarray(wanted, dtype=float)
    for size in np.unique(images)[::-1]:
        rows = np.flatnonzero(images == size)
        number = apportion(left, len(rows))
        category[rows[np.argsort(-scores[rows], kind="stable")]] = np.repeat(np.arange(len(number)), number)
        left = np.maximum(left - size * number, 0)
    return category


def apportion(wanted: np.ndarray, total: int) -> np.ndarray:
    """Whole numbers that add up to `total` in the proportions of `wanted` (largest remainder); all last if it is 0."""
    weights = wanted if wanted.any() else np.eye(len(wanted))[-1]
    shares = weights / weights.sum() * total
    number: np.ndarray = np.floor(shares + 1e-6).astype(int)
    order = np.argsort(number - shares, kind="stable")
    number[order[: total - number.sum()]] += 1
    return number


def train_labels(studies: Studies, rng: np.random.Generator) -> Labels:
    """The labeler's categories (POSITIVE, UNCERTAIN, NEGATIVE, BLANK), in the published numbers.

    No Finding is positive only where no other observation but Support Devices is positive or uncertain.
    """
    labels = {name: _categories(name, studies.shapes, studies.severity[name], rng) for name in OBSERVATIONS[1:]}
    healthy = -_findings(labels, (POSITIVE, UNCERTAIN)) - 0.2 * rng.random(len(studies.shapes))
    return {"No Finding": _categories("No Finding", studies.shapes, healthy, rng)} | labels


def _findings(labels: Labels, codes: tuple[int, ...]) -> np.ndarray:
    """How many observations other than Support Devices have one of `codes`, per study."""
    among = [labels[name] for name in OBSERVATIONS[1:] if name != "Support Devices"]
    found: np.ndarray = np.isin(among, codes).sum(axis=0)
    return found


def _categories(name: str, shapes: np.ndarray, score: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    frontals, laterals = np.char.count(shapes, "F"), np.char.count(shapes, "L")
    chosen = np.empty(len(shapes), dtype=int)
    mixed = laterals > 0
    chosen[mixed] = _ranked(score[mixed], laterals[mixed], label_rates(name, "lateral") * laterals.sum(), rng)
    given = np.bincount(chosen[mixed], weights=frontals[mixed], minlength=4)
    left = np.maximum(label_rates(name, "frontal") * frontals.sum() - given, 0)
    chosen[~mixed] = _ranked(score[~mixed], frontals[~mixed], left, rng)
    return _CATEGORIES[chosen]


def _ranked(score: np.ndarray, images: np.ndarray, wanted: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """0 positive, 1 uncertain by rank of `score`; 2 negative, 3 blank at random among the rest."""
    chosen = fill(score, images, np.r_[wanted[:2], wanted[2:].sum()])
    rest = chosen == 2
    left = images[rest].sum() * wanted[2:] / max(wanted[2:].sum(), 1)
    chosen[rest] = 2 + fill(rng.random(rest.sum()), images[rest], left)
    return chosen


def chance_of_truth(labels: Labels, positive_given_uncertain: dict[str, float]) -> Labels:
    """How likely each scored observation is truly there, 0..1, given the labeler's category."""
    chance = {}
    for name in FIVE:
        given = {POSITIVE: BORDERLINE.true_given_positive, UNCERTAIN: positive_given_uncertain[name]}
        chance[name] = np.select(
            [labels[name] == code for code in given], list(given.values()), default=BORDERLINE.true_given_rest
        )
    return chance


def hidden_categories(studies: Studies, positive_given_uncertain: dict[str, float]) -> Labels:
    """The labeler's categories behind valid: train's mix of positive and uncertain, scaled to valid's prevalence."""
    images = studies.images
    rest = BORDERLINE.true_given_rest
    hidden = {}
    for name in FIVE:
        positive, uncertain = label_rates(name, "all")[:2]
        prevalence = VALID_POSITIVES[name] / VALID.images
        gain = positive * (BORDERLINE.true_given_positive - rest) + uncertain * (positive_given_uncertain[name] - rest)
        scale = np.clip((prevalence - rest) / gain, 0, 1 / (positive + uncertain)) if gain > 0 else 1.0
        rates = scale * np.array([positive, uncertain])
        chosen = fill(studies.severity[name], images, np.append(rates, 1 - rates.sum()) * images.sum())
        hidden[name] = _CATEGORIES[[0, 1, 3]][chosen]
    return hidden


def radiologist_truth(studies: Studies, chance: Labels, rng: np.random.Generator) -> Labels:
    """True or false per observation and study, in the published shares of images.

    The five: independent draws with `chance`, conditioned on their number. The others: the severest studies.
    """
    images = studies.images
    truth = {}
    for name in FIVE:
        sure = np.clip(chance[name], 1e-6, 1 - 1e-6)
        score = np.log(sure / (1 - sure)) + rng.logistic(size=len(images))
        truth[name] = _most(score, images, VALID_POSITIVES[name])
    ill = np.any(list(truth.values()), axis=0)
    for name in sorted(studies.severity.keys() - FIVE):
        companion = 0 if name == "Support Devices" else COMPANIONS * ill
        truth[name] = _most(studies.severity[name] + companion, images, VALID_POSITIVES[name])
    healthy = -_findings(truth, (True,)) - 0.2 * rng.random(len(images))
    return {"No Finding": _most(healthy, images, VALID_POSITIVES["No Finding"])} | truth


def _most(score: np.ndarray, images: np.ndarray, published: int) -> np.ndarray:
    positives = round(published / VALID.images * images.sum())
    positive: np.ndarray = fill(score, images, np.array([positives, images.sum() - positives])) == 0
    return positive


def visible_signs(category: np.ndarray, truth: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Strength of the sign and of its mimic per study: faint signs and mimics leave the labeler uncertain."""
    clear, faint, mimic = (
        rng.uniform(*bounds, size=len(truth))
        for bounds in (BORDERLINE.clear_sign, BORDERLINE.faint_sign, BORDERLINE.mimic)
    )
    doubtful = (category == UNCERTAIN) | (
        (category != POSITIVE) & (rng.random(len(truth)) < BORDERLINE.mimic_given_rest)
    )
    strength = np.where(truth, np.where(category == POSITIVE, clear, faint), 0)
    return strength, np.where(doubtful & ~truth, mimic, 0)
