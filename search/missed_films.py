"""The positives that a search's winner is least sure of, as films with Grad-CAM beside them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from chex import checkpoint
from chex.batches import load_batch
from chex.config import RunConfig
from chex.console import decimal, percent
from chex.decoding import UNDECODABLE, decode
from chex.errors import InputError
from chex.gradcam import check_map, heat, overlay
from chex.page import Films
from chex.records import load_tree
from chex.split import labels_digest, split
from chex.trained import Trained, load_trained
from search.predictions import Predictions

EACH = 4
"""Films of an observation."""
SIDE = 320
"""Of a film as it is shown, in pixels; the network sees it at its own size."""
NEAR = 0.05
"""How far a film's probability, asked for anew, may lie from the one that the search kept: precisions differ."""


@dataclass(frozen=True)
class Missed:
    """A unit with an observation that the winner gives a low probability."""

    unit: int
    column: int
    probability: float
    above: float
    """Share of the negatives that are given more."""


def hardest(truth: np.ndarray, probability: np.ndarray, count: int = EACH) -> list[Missed]:
    """Of each observation, the `count` positives of the lowest probability, that first; arrays are (U, K)."""
    found = []
    for column in range(truth.shape[1]):
        positives = np.flatnonzero(truth[:, column] == 1)
        negatives = probability[truth[:, column] == 0, column]
        for unit in positives[np.argsort(probability[positives, column], kind="stable")][:count].tolist():
            given = float(probability[unit, column])
            above = float((negatives > given).mean()) if len(negatives) else float("nan")
            found.append(Missed(unit, column, given, above))
    return found


def missed_films(folder: Path, base: RunConfig, held: Predictions, probability: np.ndarray) -> list[Films | str]:
    """The films of each observation that are hardest to find; a sentence in place of what cannot be read any more.

    `probability` (U, K) is what the weights in `folder` gave the units of `held`.
    """
    missed = hardest(held.truth, probability)
    if not missed:
        return ["Nothing that was scored is positive."]
    try:
        trained = load_trained(folder / checkpoint.WEIGHTS)
        shown, cells = _pages(trained, _films(base, held, missed), held, missed)
    except (InputError, OSError, *UNDECODABLE) as error:
        return [f"The films cannot be shown: {error}."]
    if shown is None:
        return [
            f"The films cannot be shown: {folder / checkpoint.WEIGHTS} gives other probabilities than the search kept."
        ]
    return [*_parts(shown, held, missed), _told_of_heat(trained, cells)]


def _films(base: RunConfig, held: Predictions, missed: Sequence[Missed]) -> dict[int, list[Path]]:
    """The files of each unit. Raises InputError where the tree is not there, or not what the search was scored on."""
    assert base.data.root is not None  # a search without one does not start
    tree = load_tree(base.data.root)
    scored = split(tree, base.data).scored
    if scored.digest(base.data.observations) != labels_digest(held.observations, held.paths, held.patients, held.truth):
        raise InputError(f"the validation labels of {base.data.root} are not those that the search was scored on")
    files = tree.paths[scored.films]
    return {one.unit: [tree.root / path for path in files[scored.unit == one.unit]] for one in missed}


def _pages(
    trained: Trained, films: dict[int, list[Path]], held: Predictions, missed: Sequence[Missed]
) -> tuple[list[Image.Image] | None, tuple[int, int] | None]:
    """A film with its heat beside it for each of `missed`, and the cells of a heat map.

    None in place of films that the weights see otherwise than the search kept; no cells where a backbone has no map.
    """
    try:
        cells = check_map(trained)
    except InputError:
        cells = None
    pages = []
    for one in missed:
        column = trained.observations.index(held.observations[one.column])
        files = films[one.unit]
        pixels = np.stack([decode(path, trained.image_size, trained.image.resize) for path in files])
        batch = load_batch(pixels, np.arange(len(files)), torch.device("cpu"))
        with torch.no_grad():
            given = trained.outputs.logits(trained.model(batch)).sigmoid()[:, column].numpy()
        if abs(float(given.max()) - one.probability) > NEAR:
            return None, cells
        highest = int(given.argmax())
        heat_map = heat(trained, batch[[highest]], [column])[0, 0] if cells else None
        pages.append(_pair(decode(files[highest], SIDE, trained.image.resize), heat_map))
    return pages, cells


def _pair(film: np.ndarray, heat_map: np.ndarray | None) -> Image.Image:
    if heat_map is None:
        return Image.fromarray(film)
    warm = overlay(film, heat_map, "")
    page = Image.new("RGB", (2 * SIDE + 4, SIDE), "white")
    page.paste(Image.fromarray(film), (0, 0))
    page.paste(warm.crop((0, warm.height - SIDE, SIDE, warm.height)), (SIDE + 4, 0))
    return page


def _parts(pages: Sequence[Image.Image], held: Predictions, missed: Sequence[Missed]) -> list[Films | str]:
    parts: list[Films | str] = []
    for column, name in enumerate(held.observations):
        own = [(page, one) for page, one in zip(pages, missed, strict=True) if one.column == column]
        if own:
            parts.append(Films([(page, _lines(name, held, one)) for page, one in own], _reading(name, held, own[0][1])))
    return parts


def _lines(name: str, held: Predictions, one: Missed) -> list[str]:
    higher = f"{percent(one.above)} of the films without it are given more" if one.above == one.above else ""
    return [f"{name}: probability {decimal(one.probability)}", *([higher] if higher else []), str(held.paths[one.unit])]


def _reading(name: str, held: Predictions, one: Missed) -> str:
    positives = int((held.truth[:, one.column] == 1).sum())
    return (
        f"of {positives:,} with {name}, the winner is least sure of {held.paths[one.unit]}: "
        f"{decimal(one.probability)}, less than {percent(one.above)} of those without it."
    )


def _told_of_heat(trained: Trained, cells: tuple[int, int] | None) -> str:
    if cells is None:
        return f"{trained.backbone} ends in tokens and has no feature map: there is no Grad-CAM of it."
    return (
        f"Right of each film is Grad-CAM's map of what speaks for the observation: {cells[0]} x {cells[1]} cells, "
        "smoothed, relative to the strongest of them. It is no proof that the network sees what a radiologist sees."
    )
