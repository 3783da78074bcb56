"""The positives that a search's winner is least sure of, as films with Grad-CAM beside them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from chex import checkpoint
from chex.batches import load_batch
from chex.console import decimal, percent
from chex.decoding import UNDECODABLE, decode
from chex.device import DeviceConfig, pick_device
from chex.errors import InputError
from chex.gradcam import FeatureMap, check_map, heat, overlay
from chex.page import Films
from chex.records import load_tree
from chex.split import labels_digest, split
from chex.trained import Trained, load_trained
from search.predictions import Predictions
from search.search_config import SearchConfig
from search.staging import stage_some
from search.study import located

EACH = 3
"""Films of an observation: a row of the page."""
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


@dataclass(frozen=True)
class Shown:
    """How such a unit looks."""

    missed: Missed
    picture: Image.Image
    """Its film, that of the highest probability where it has several; the heat beside it."""
    speaks: bool
    """Whether anything on it speaks for the observation; True where there is no heat to tell."""


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


def missed_films(folder: Path, search: SearchConfig, held: Predictions, probability: np.ndarray) -> list[Films | str]:
    """The films of each observation that are hardest to find; a sentence in place of what cannot be read any more.

    `probability` (U, K) is what the weights in `folder` gave the units of `held`. Of a tree that has a source, the
    tables and these films are fetched from there, where this machine lacks them.
    """
    missed = hardest(held.truth, probability)
    if not missed:
        return ["Nothing that was scored is positive."]
    pick_device(DeviceConfig(kind="cpu", threads=search.base.device.threads))
    try:
        trained = load_trained(folder / checkpoint.WEIGHTS)
        chosen_map = _feature_map(trained)
        shown = _shown(trained, _films(search, held, missed), held, missed, chosen_map)
    except (InputError, *UNDECODABLE) as error:
        return [f"The films cannot be shown: {error}."]
    return [*_parts(shown, held), _told_of_heat(trained, chosen_map)]


def _films(search: SearchConfig, held: Predictions, missed: Sequence[Missed]) -> dict[int, list[Path]]:
    """The files of each unit. Raises InputError where the tree is not there, or not what the search was scored on."""
    data = located(search, whole=False).base.data
    assert data.root is not None  # a search without one does not start
    tree = load_tree(data.root)
    scored = split(tree, data).scored
    if scored.digest(data.observations) != labels_digest(held.observations, held.paths, held.patients, held.truth):
        raise InputError(f"the validation labels of {data.root} are not those that the search was scored on")
    files = {one.unit: tree.paths[scored.films[scored.unit == one.unit]].tolist() for one in missed}
    if search.source:
        stage_some(search.source, tree.root, chain.from_iterable(files.values()))
    return {unit: [tree.root / path for path in own] for unit, own in files.items()}


def _feature_map(trained: Trained) -> FeatureMap | None:
    """What heat is read off; None where the backbone has no feature map."""
    try:
        return check_map(trained)
    except InputError:
        return None


def _shown(
    trained: Trained,
    files: Mapping[int, list[Path]],
    held: Predictions,
    missed: Sequence[Missed],
    chosen_map: FeatureMap | None,
) -> list[Shown]:
    """Raises InputError where the weights do not give what the search kept, and UNDECODABLE for a damaged film."""
    shown = []
    for one in missed:
        own, column = files[one.unit], trained.observations.index(held.observations[one.column])
        pixels = np.stack([decode(path, trained.image_size, trained.image.resize) for path in own])
        batch = load_batch(pixels, np.arange(len(own)), trained.model.normalisation, torch.device("cpu"))
        with torch.no_grad():
            given = trained.outputs.logits(trained.model(batch)).sigmoid()[:, column].numpy()
        if not abs(float(given.max()) - one.probability) <= NEAR:
            raise InputError(
                f"{checkpoint.WEIGHTS} gives {own[0]} {decimal(float(given.max()))} and the search kept "
                f"{decimal(one.probability)}; they are not the winner's weights"
            )
        highest = int(given.argmax())
        film = decode(own[highest], SIDE, trained.image.resize)
        speaks, heat_map = _heat(trained, batch[[highest]], column, chosen_map) if chosen_map else (True, None)
        shown.append(Shown(one, _pair(film, heat_map), speaks))
    return shown


def _heat(trained: Trained, film: torch.Tensor, column: int, chosen_map: FeatureMap) -> tuple[bool, np.ndarray | None]:
    """Whether anything speaks for the observation, and where; where nothing does, where what speaks against it lies."""
    own = heat(trained, film, [column], module=chosen_map.module)[0, 0]
    if own.any():
        return True, own
    return False, heat(trained, film, [column], against=True, module=chosen_map.module)[0, 0]


def _pair(film: np.ndarray, heat_map: np.ndarray | None) -> Image.Image:
    if heat_map is None:
        return Image.fromarray(film)
    warm = overlay(film, heat_map, "")
    page = Image.new("RGB", (2 * SIDE + 4, SIDE), "white")
    page.paste(Image.fromarray(film), (0, 0))
    page.paste(warm.crop((0, warm.height - SIDE, SIDE, warm.height)), (SIDE + 4, 0))
    return page


def _parts(shown: Sequence[Shown], held: Predictions) -> list[Films | str]:
    parts: list[Films | str] = []
    for column, name in enumerate(held.observations):
        own = [each for each in shown if each.missed.column == column]
        if own:
            films = [(each.picture, _lines(name, held, each)) for each in own]
            parts.append(Films(films, _reading(name, held, own)))
    return parts


def _lines(name: str, held: Predictions, shown: Shown) -> list[str]:
    one = shown.missed
    return [
        f"{name}: probability {decimal(one.probability)}",
        *([f"{percent(one.above)} of those without it are given more"] if one.above == one.above else []),
        *([] if shown.speaks else ["nothing speaks for it; the heat is what speaks against it"]),
        str(held.paths[one.unit]),
    ]


def _reading(name: str, held: Predictions, shown: Sequence[Shown]) -> str:
    positives, least = int((held.truth[:, shown[0].missed.column] == 1).sum()), shown[0].missed
    beaten = f", and {percent(least.above)} of those without it are given more" if least.above == least.above else ""
    silent = sum(not each.speaks for each in shown)
    quiet = f"; on {silent} of these {len(shown)} nothing speaks for it" if silent else ""
    return (
        f"of {positives:,} with {name}, the one that the winner is least sure of is given "
        f"{decimal(least.probability)}{beaten}{quiet}."
    )


def _told_of_heat(trained: Trained, chosen_map: FeatureMap | None) -> str:
    if chosen_map is None:
        return f"{trained.backbone} ends in tokens and has no feature map: there is no Grad-CAM of it."
    return (
        f"Right of each film is Grad-CAM's map of what speaks for the observation, or against it where nothing does: "
        f"{chosen_map.cells}, smoothed, relative to the strongest of them. It is no proof that the network "
        "sees what a radiologist sees."
    )
