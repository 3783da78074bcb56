"""Simulates the labels of labeler and radiologists in the published numbers.

The severest studies are positive. Of the others, those whose reports express most doubt are uncertain.
"""

from dataclasses import dataclass

import numpy as np

from chex.phantom.patients import Studies
from chex.phantom.published_counts import TRAIN, UNLABELLED_IMAGES, VALID, VALID_POSITIVES, label_rates
from chex.phantom.reported_doubt import draw_doubt
from chex.schema.labels import BLANK, FIVE, NEGATIVE, OBSERVATIONS, POSITIVE, UNCERTAIN

Labels = dict[str, np.ndarray]
"""An array per observation with one value per study."""

# The labeler's categories, from the highest rank of severity to the lowest.
_CATEGORIES = np.array([POSITIVE, UNCERTAIN, NEGATIVE, BLANK], dtype=np.int8)

COMPANIONS = 1.5
"""Added to the severity of all other observations in valid where one of the five is true, so that enough studies are
healthy."""


@dataclass(frozen=True)
class Borderline:
    """How truth and visible strength depend on the labeler's category. Pairs are ranges of uniform draws."""

    true_given_positive: float = 0.95
    true_given_rest: float = 0.03
    clear_sign: tuple[float, float] = (0.50, 1.0)
    faint_sign: tuple[float, float] = (0.15, 0.35)
    mimic: tuple[float, float] = (0.5, 1.0)
    mimic_given_rest: float = 0.04


BORDERLINE = Borderline()


def rank_into_categories(scores: np.ndarray, images: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Assigns a category 0, 1, ... to each study by descending score, so that category c has `wanted[c]` images.

    `images` (1 or more) is the number of images of each study. Studies with several images are assigned first and
    those with one image last, so that the counts are exact if there are enough of the latter.
    """
    category = np.empty(len(scores), dtype=int)
    remaining = np.asarray(wanted, dtype=float)
    for size in np.unique(images)[::-1]:
        rows = np.flatnonzero(images == size)
        number = apportion(remaining, len(rows))
        category[rows[np.argsort(-scores[rows], kind="stable")]] = np.repeat(np.arange(len(number)), number)
        remaining = np.maximum(remaining - size * number, 0)
    return category


def apportion(wanted: np.ndarray, total: int) -> np.ndarray:
    """Splits `total` into whole numbers in the proportions of `wanted` (largest remainder); all go last if it is 0."""
    weights = wanted if wanted.any() else np.eye(len(wanted))[-1]
    shares = weights / weights.sum() * total
    number: np.ndarray = np.floor(shares + 1e-6).astype(int)
    order = np.argsort(number - shares, kind="stable")
    number[order[: total - number.sum()]] += 1
    return number


def train_labels(studies: Studies, rng: np.random.Generator) -> Labels:
    """Returns the labeler's categories (POSITIVE, UNCERTAIN, NEGATIVE, BLANK), in the published numbers.

    No Finding is positive only where no other observation but Support Devices is positive or uncertain.
    """
    doubt = draw_doubt(studies, rng)
    labels = {
        name: _categories(name, studies.shapes, studies.severity[name], doubt[name], rng) for name in OBSERVATIONS[1:]
    }
    healthy = -_findings(labels, (POSITIVE, UNCERTAIN)) - 0.2 * rng.random(len(studies.shapes))
    no_finding = _categories("No Finding", studies.shapes, healthy, healthy, rng)
    return _label_each_study({"No Finding": no_finding} | labels, studies, rng)


def _findings(labels: Labels, codes: tuple[int, ...]) -> np.ndarray:
    """Counts, per study, the observations other than Support Devices that have one of `codes`."""
    among = [labels[name] for name in OBSERVATIONS[1:] if name != "Support Devices"]
    counts: np.ndarray = np.isin(among, codes).sum(axis=0)
    return counts


def _categories(
    name: str, shapes: np.ndarray, severity: np.ndarray, doubt: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    frontals, laterals = np.char.count(shapes, "F"), np.char.count(shapes, "L")
    chosen = np.empty(len(shapes), dtype=int)
    mixed = laterals > 0
    wanted = label_rates(name, "lateral") * laterals.sum()
    chosen[mixed] = _ranked(severity[mixed], doubt[mixed], laterals[mixed], wanted, rng)
    by_category = np.bincount(chosen[mixed], weights=frontals[mixed], minlength=4)
    remaining = np.maximum(label_rates(name, "frontal") * frontals.sum() - by_category, 0)
    chosen[~mixed] = _ranked(severity[~mixed], doubt[~mixed], frontals[~mixed], remaining, rng)
    return _CATEGORIES[chosen]


def _ranked(
    severity: np.ndarray, doubt: np.ndarray, images: np.ndarray, wanted: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Assigns 0 positive by rank of `severity`, 1 uncertain to the rest by `doubt`, then 2 negative or 3 blank at
    random."""
    chosen = np.full(len(severity), 3)
    for category, score in enumerate((severity, doubt, rng.random(len(severity)))):
        free = chosen == 3
        remaining = np.array([wanted[category], wanted[category + 1 :].sum()])
        chosen[free] = np.where(rank_into_categories(score[free], images[free], remaining) == 0, category, 3)
    return chosen


def _label_each_study(labels: Labels, studies: Studies, rng: np.random.Generator) -> Labels:
    """Returns `labels`, but nearly every study has one: studies without any get a negative label of another study.

    The other study has the same views, at least two labels, and a blank for the label that it gives away. So the
    numbers of all labels stay as they are.
    """
    codes = np.stack(list(labels.values()))
    labelled = (codes != BLANK).sum(axis=0)
    kept = round(UNLABELLED_IMAGES / TRAIN.images * studies.images.sum())
    without = np.r_[
        np.flatnonzero((labelled == 0) & (studies.images == 1))[kept:],
        np.flatnonzero((labelled == 0) & (studies.images > 1)),
    ]
    observation, giver = rng.permutation(np.argwhere((codes == NEGATIVE) & (labelled > 1))).T
    giver, first = np.unique(giver, return_index=True)
    observation = observation[first]
    for shape in np.unique(studies.shapes[without]):
        takers = without[studies.shapes[without] == shape]
        givers = rng.permutation(np.flatnonzero(studies.shapes[giver] == shape))[: len(takers)]
        codes[observation[givers], takers[: len(givers)]] = NEGATIVE
        codes[observation[givers], giver[givers]] = BLANK
    return dict(zip(labels, codes, strict=True))


def chance_of_truth(labels: Labels, positive_given_uncertain: dict[str, float]) -> Labels:
    """Returns the probability of each scored observation, 0..1, given the labeler's category."""
    chance = {}
    for name in FIVE:
        by_category = {POSITIVE: BORDERLINE.true_given_positive, UNCERTAIN: positive_given_uncertain[name]}
        chance[name] = np.select(
            [labels[name] == code for code in by_category],
            list(by_category.values()),
            default=BORDERLINE.true_given_rest,
        )
    return chance


def hidden_categories(studies: Studies, positive_given_uncertain: dict[str, float], rng: np.random.Generator) -> Labels:
    """Returns hidden labeler categories for valid: train's mix of positive and uncertain at valid's prevalence."""
    images, doubt = studies.images, draw_doubt(studies, rng)
    rest = BORDERLINE.true_given_rest
    hidden = {}
    for name in FIVE:
        positive, uncertain = label_rates(name, "all")[:2]
        prevalence = VALID_POSITIVES[name] / VALID.images
        gain = positive * (BORDERLINE.true_given_positive - rest) + uncertain * (positive_given_uncertain[name] - rest)
        scale = np.clip((prevalence - rest) / gain, 0, 1 / (positive + uncertain)) if gain > 0 else 1.0
        rates = scale * np.array([positive, uncertain])
        wanted = np.append(rates, (0, 1 - rates.sum())) * images.sum()
        hidden[name] = _CATEGORIES[_ranked(studies.severity[name], doubt[name], images, wanted, rng)]
    return hidden


def radiologist_truth(studies: Studies, chance: Labels, rng: np.random.Generator) -> Labels:
    """Returns true or false per observation and study, in the published shares of images.

    The five scored observations are independent draws with probability `chance`, conditioned on their number; the
    others are true in the severest studies.
    """
    images = studies.images
    truth = {}
    for name in FIVE:
        sure = np.clip(chance[name], 1e-6, 1 - 1e-6)
        score = np.log(sure / (1 - sure)) + rng.logistic(size=len(images))
        truth[name] = _highest_scores(score, images, VALID_POSITIVES[name])
    ill = np.any(list(truth.values()), axis=0)
    for name in sorted(studies.severity.keys() - FIVE):
        companion = 0 if name == "Support Devices" else COMPANIONS * ill
        truth[name] = _highest_scores(studies.severity[name] + companion, images, VALID_POSITIVES[name])
    healthy = -_findings(truth, (True,)) - 0.2 * rng.random(len(images))
    return {"No Finding": _highest_scores(healthy, images, VALID_POSITIVES["No Finding"])} | truth


def _highest_scores(score: np.ndarray, images: np.ndarray, published: int) -> np.ndarray:
    positives = round(published / VALID.images * images.sum())
    positive: np.ndarray = rank_into_categories(score, images, np.array([positives, images.sum() - positives])) == 0
    return positive


def visible_signs(category: np.ndarray, truth: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draws the strength of the sign and of its mimic per study: faint signs and mimics make the labeler uncertain."""
    clear, faint, mimic = (
        rng.uniform(*bounds, size=len(truth))
        for bounds in (BORDERLINE.clear_sign, BORDERLINE.faint_sign, BORDERLINE.mimic)
    )
    looks_uncertain = (category == UNCERTAIN) | (
        (category != POSITIVE) & (rng.random(len(truth)) < BORDERLINE.mimic_given_rest)
    )
    strength = np.where(truth, np.where(category == POSITIVE, clear, faint), 0)
    return strength, np.where(looks_uncertain & ~truth, mimic, 0)
