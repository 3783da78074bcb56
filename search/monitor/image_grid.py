"""Draws the validation images with the most confident predictions of a trial, right and wrong, in one picture."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from chex.cohort.split import split
from chex.config import RunConfig
from chex.data.decoding import decode
from chex.data.image_cache import load_or_build
from chex.data.tables import load_tree
from chex.reporting.console import format_decimal
from search.storage.dataset import stage_some

COLUMNS = 6
SIDE, GAP, LINE = 176, 8, 18
"""Size of an image, of the gap between images, and of a line of text, in pixels."""
RIGHT, WRONG = "black", "#c8102e"
ROWS = (
    ("Positive, highest probability first", 1, True),
    ("Positive, lowest probability first", 1, False),
    ("Negative, highest probability first", 0, True),
    ("Negative, lowest probability first", 0, False),
)
"""Heading of each row of images, their label, and whether the highest probabilities come first."""


@dataclass(frozen=True)
class ScoredImages:
    """One image of each unit (image or study) that a search scores."""

    rows: np.ndarray
    """int64 (U,): the row, in the tree's table, of the unit's image; for a study, of its first image."""
    load: Callable[[np.ndarray], Sequence[np.ndarray]]
    """Loads the images of the given rows, each uint8 (S, S)."""


def open_scored_images(base: RunConfig, data_uri: str | None = None, decoded: bool = True) -> ScoredImages:
    """Opens the images on which all trials over `base` are scored. Raises InputError if the tree cannot be read.

    If `decoded`, they come from the cache of the whole tree. Otherwise each is decoded when loaded, and fetched from
    `data_uri` if this machine lacks it.
    """
    assert base.data.root is not None  # a search without one does not start
    tree = load_tree(base.data.root)
    scored = split(tree, base.data).scored
    _, first = np.unique(scored.unit_of_image, return_index=True)
    images = scored.images[first]
    if decoded:
        return ScoredImages(images, load_or_build(tree.root, tree.paths, base.image).__getitem__)

    def load(rows: np.ndarray) -> list[np.ndarray]:
        paths = tree.paths[rows].tolist()
        if data_uri:
            stage_some(data_uri, tree.root, paths)
        return [decode(tree.root / path, base.image.size, base.image.resize) for path in paths]

    return ScoredImages(images, load)


def image_grid(
    images: ScoredImages, title: str, names: Sequence[str], truth: np.ndarray, probability: np.ndarray
) -> Image.Image:
    """Returns the picture: a row of images for each of ROWS; `truth` is (U, K) of 1, 0 or NaN, `probability` (U, K)."""
    chosen = [most_confident(truth, probability, label, highest, COLUMNS) for _, label, highest in ROWS]
    units = [unit for row in chosen for unit, _ in row]
    loaded = dict(zip(units, images.load(images.rows[units]), strict=True))
    row_height = LINE + SIDE + 2 * LINE + GAP
    page = Image.new("RGB", (GAP + COLUMNS * (SIDE + GAP), 2 * LINE + len(ROWS) * row_height), "white")
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(13)
    draw.text((GAP, GAP), f"{title} (red: wrong at threshold .5)", RIGHT, ImageFont.load_default(15))
    for row, (heading, label, _) in enumerate(ROWS):
        top = 2 * LINE + row * row_height
        draw.text((GAP, top), heading, RIGHT, font)
        for column, (unit, k) in enumerate(chosen[row]):
            left, text_top = GAP + column * (SIDE + GAP), top + LINE + SIDE
            page.paste(_thumbnail(loaded[unit]), (left, top + LINE))
            predicted_positive = probability[unit, k] >= 0.5
            color = RIGHT if predicted_positive == (label == 1) else WRONG
            draw.text((left, text_top), names[k], color, font)
            draw.text(
                (left, text_top + LINE - 3),
                f"label {label}, probability {format_decimal(probability[unit, k])}",
                color,
                font,
            )
    return page


def most_confident(
    truth: np.ndarray, probability: np.ndarray, label: int, highest: bool, count: int
) -> list[tuple[int, int]]:
    """Returns at most `count` (unit, observation) pairs with `label`, the most extreme probabilities first.

    Observations take turns, because their probabilities are not comparable; no unit is returned twice. The units of an
    observation are split into a higher and a lower half, so that none is shown both as highest and as lowest.
    """
    ranked = []
    for column in range(truth.shape[1]):
        units = np.flatnonzero(truth[:, column] == label)
        order = units[np.argsort(-probability[units, column], kind="stable")]
        half = (len(order) + 1) // 2
        ranked.append(order[:half] if highest else order[half:][::-1])
    chosen: dict[int, int] = {}
    for rank in range(count):
        for column, order in enumerate(ranked):
            if rank < len(order):
                chosen.setdefault(int(order[rank]), column)
    return list(chosen.items())[:count]


def _thumbnail(image: np.ndarray) -> Image.Image:
    return Image.fromarray(image).resize((SIDE, SIDE), Image.Resampling.LANCZOS)
