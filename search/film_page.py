"""One picture of the validation films that a trial is surest of, right and wrong, with labels and probabilities."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from chex.cache import open_images
from chex.config import RunConfig
from chex.console import decimal
from chex.decoding import decode
from chex.records import load_tree
from chex.split import split
from search.staging import stage_some

ACROSS = 6
SIDE, GAP, LINE = 176, 8, 18
"""Of a film, between films, and of a line of text, in pixels."""
RIGHT, WRONG = "black", "#c8102e"
ROWS = (
    ("Positive, highest probability first", 1, True),
    ("Positive, lowest probability first", 1, False),
    ("Negative, highest probability first", 0, True),
    ("Negative, lowest probability first", 0, False),
)
"""Head of each row of films, their label, and whether the highest probabilities come first."""


@dataclass(frozen=True)
class ScoredFilms:
    """A film of each unit that a search scores."""

    rows: np.ndarray
    """int64 (U,): where the unit's film is among all of the tree; of a study, its first."""
    look: Callable[[np.ndarray], Sequence[np.ndarray]]
    """Gives the films of some rows, each uint8 (S, S)."""


def open_films(base: RunConfig, source: str | None = None, decoded: bool = True) -> ScoredFilms:
    """The films that every trial over `base` is scored on. Raises InputError.

    Where the whole tree is `decoded` on this machine, as its cache has them; else each is decoded when it is looked at,
    and of a tree with a `source` fetched where this machine lacks it.
    """
    assert base.data.root is not None  # a search without one does not start
    tree = load_tree(base.data.root)
    scored = split(tree, base.data).scored
    _, first = np.unique(scored.unit, return_index=True)
    films = scored.films[first]
    if decoded:
        return ScoredFilms(films, open_images(tree.root, tree.paths, base.image).__getitem__)

    def look(rows: np.ndarray) -> list[np.ndarray]:
        paths = tree.paths[rows].tolist()
        if source:
            stage_some(source, tree.root, paths)
        return [decode(tree.root / path, base.image.size, base.image.resize) for path in paths]

    return ScoredFilms(films, look)


def film_page(
    films: ScoredFilms, title: str, names: Sequence[str], truth: np.ndarray, probability: np.ndarray
) -> Image.Image:
    """The page: a row of films for each of ROWS; `truth` is (U, K) of 1, 0 or NaN, `probability` (U, K)."""
    chosen = [surest(truth, probability, label, highest, ACROSS) for _, label, highest in ROWS]
    units = [unit for row in chosen for unit, _ in row]
    seen = dict(zip(units, films.look(films.rows[units]), strict=True))
    high = LINE + SIDE + 2 * LINE + GAP
    page = Image.new("RGB", (GAP + ACROSS * (SIDE + GAP), 2 * LINE + len(ROWS) * high), "white")
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(13)
    draw.text((GAP, GAP), f"{title}; red: wrong at .5", RIGHT, ImageFont.load_default(15))
    for row, (head, label, _) in enumerate(ROWS):
        top = 2 * LINE + row * high
        draw.text((GAP, top), head, RIGHT, font)
        for place, (unit, k) in enumerate(chosen[row]):
            left, below = GAP + place * (SIDE + GAP), top + LINE + SIDE
            page.paste(_thumbnail(seen[unit]), (left, top + LINE))
            called = probability[unit, k] >= 0.5
            ink = RIGHT if called == (label == 1) else WRONG
            draw.text((left, below), names[k], ink, font)
            draw.text(
                (left, below + LINE - 3), f"label {label}, probability {decimal(probability[unit, k])}", ink, font
            )
    return page


def surest(truth: np.ndarray, probability: np.ndarray, label: int, highest: bool, count: int) -> list[tuple[int, int]]:
    """At most `count` units with an observation each that has `label`, those of extreme probability first.

    Observations take turns, for their probabilities do not compare; no unit comes twice. What is among the higher half
    of an observation's probabilities is not among the lower.
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


def _thumbnail(film: np.ndarray) -> Image.Image:
    return Image.fromarray(film).resize((SIDE, SIDE), Image.Resampling.LANCZOS)
