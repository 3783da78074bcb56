"""Shows the positive units to which a search's winner gives the lowest probabilities, with Grad-CAM maps."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from chex.cohort.split import labels_digest, split
from chex.data.batches import load_batch
from chex.data.decoding import UNDECODABLE, decode
from chex.data.tables import load_tree
from chex.errors import InputError
from chex.evaluation.gradcam import FeatureMap, check_map, grad_cam, overlay
from chex.evaluation.load_model import LoadedModel, load_model
from chex.reporting.console import format_decimal, format_percent
from chex.reporting.html_report import ImageGrid
from chex.runtime import run_folder
from chex.runtime.device import pick_device
from chex.runtime.device_config import DeviceConfig
from search.config.local_data import with_local_data
from search.config.search_config import SearchConfig
from search.storage.dataset import stage_some
from search.trials.predictions import Predictions

IMAGES_PER_OBSERVATION = 3
"""The number of images per observation; they fill one row on the page."""
DISPLAY_SIZE = 320
"""Side of a displayed image in pixels; the network gets images of the size in its config."""
PROBABILITY_TOLERANCE = 0.05
"""How far a recomputed probability may differ from the saved one, because machines compute in different precisions."""


@dataclass(frozen=True)
class FalseNegative:
    """A positive unit (an image or a study) to which the winner gives a low probability."""

    unit: int
    column: int
    probability: float
    negatives_above: float
    """Share of the negatives with a higher probability; NaN without negatives."""


@dataclass(frozen=True)
class ShownImage:
    """The picture of a false negative for the page."""

    false_negative: FalseNegative
    picture: Image.Image
    """The unit's image with the highest probability, with its Grad-CAM map beside it."""
    has_evidence: bool
    """Whether Grad-CAM finds evidence for the observation; True if there is no map."""


def lowest_scored_positives(
    truth: np.ndarray, probability: np.ndarray, count: int = IMAGES_PER_OBSERVATION
) -> list[FalseNegative]:
    """Returns, per observation, the `count` positives with the lowest probabilities, ascending.

    `truth` is (U, K) of 1, 0 or NaN (not scored), `probability` (U, K).
    """
    lowest = []
    for column in range(truth.shape[1]):
        positives = np.flatnonzero(truth[:, column] == 1)
        negatives = probability[truth[:, column] == 0, column]
        for unit in positives[np.argsort(probability[positives, column], kind="stable")][:count].tolist():
            unit_probability = float(probability[unit, column])
            negatives_above = float((negatives > unit_probability).mean()) if len(negatives) else float("nan")
            lowest.append(FalseNegative(unit, column, unit_probability, negatives_above))
    return lowest


def false_negatives(
    folder: Path, search: SearchConfig, predictions: Predictions, probability: np.ndarray
) -> list[ImageGrid | str]:
    """Returns a grid of images per observation, and a sentence in place of images that cannot be shown.

    `probability` (U, K) has the probabilities that the weights in `folder` give the units of `predictions`. Tables and
    images that this machine lacks are fetched from `search.data_uri`.
    """
    positives = lowest_scored_positives(predictions.truth, probability)
    if not positives:
        return ["No scored label is positive."]
    pick_device(DeviceConfig(kind="cpu", threads=search.base.device.threads))
    try:
        model = load_model(folder / run_folder.WEIGHTS)
        feature_map = _feature_map(model)
        shown_images = _show_images(
            model, _image_paths(search, predictions, positives), predictions, positives, feature_map
        )
    except (InputError, *UNDECODABLE) as error:
        return [f"The images cannot be shown: {error}."]
    return [*_grids(shown_images, predictions), _describe_grad_cam(model, feature_map)]


def _image_paths(
    search: SearchConfig, predictions: Predictions, positives: Sequence[FalseNegative]
) -> dict[int, list[Path]]:
    """Returns the image files of each unit. Raises InputError if the tree is missing or has other validation labels."""
    data = with_local_data(search, whole=False).base.data
    assert data.root is not None  # a search without one does not start
    tree = load_tree(data.root)
    scored = split(tree, data).scored
    if scored.digest(data.observations) != labels_digest(
        predictions.observations, predictions.paths, predictions.patients, predictions.truth
    ):
        raise InputError(f"the validation labels of {data.root} are not those that the search was scored on")
    files = {
        positive.unit: tree.paths[scored.images[scored.unit_of_image == positive.unit]].tolist()
        for positive in positives
    }
    if search.data_uri:
        stage_some(search.data_uri, tree.root, chain.from_iterable(files.values()))
    return {unit: [tree.root / path for path in paths] for unit, paths in files.items()}


def _feature_map(model: LoadedModel) -> FeatureMap | None:
    """Returns the feature map for Grad-CAM; None if the backbone has none."""
    try:
        return check_map(model)
    except InputError:
        return None


def _show_images(
    model: LoadedModel,
    files: Mapping[int, list[Path]],
    predictions: Predictions,
    positives: Sequence[FalseNegative],
    feature_map: FeatureMap | None,
) -> list[ShownImage]:
    """Returns the picture of each of `positives`.

    Raises InputError if the weights do not reproduce the saved probabilities, and UNDECODABLE for a damaged image.
    """
    shown_images = []
    for positive in positives:
        paths, column = files[positive.unit], model.observations.index(predictions.observations[positive.column])
        pixels = np.stack([decode(path, model.image_size, model.image.resize) for path in paths])
        batch = load_batch(pixels, np.arange(len(paths)), model.model.normalization, torch.device("cpu"))
        with torch.no_grad():
            unit_probability = model.outputs.logits(model.model(batch)).sigmoid()[:, column].numpy()
        if not abs(float(unit_probability.max()) - positive.probability) <= PROBABILITY_TOLERANCE:
            raise InputError(
                f"{run_folder.WEIGHTS} gives {paths[0]} {format_decimal(float(unit_probability.max()))} and the "
                f"search saved {format_decimal(positive.probability)}; they are not the winner's weights"
            )
        highest = int(unit_probability.argmax())
        image = decode(paths[highest], DISPLAY_SIZE, model.image.resize)
        has_evidence, heat_map = (
            _grad_cam_map(model, batch[[highest]], column, feature_map) if feature_map else (True, None)
        )
        shown_images.append(ShownImage(positive, _side_by_side(image, heat_map), has_evidence))
    return shown_images


def _grad_cam_map(
    model: LoadedModel, image: torch.Tensor, column: int, feature_map: FeatureMap
) -> tuple[bool, np.ndarray | None]:
    """Returns (True, map of the evidence for the observation), or (False, map of the evidence against it)."""
    evidence = grad_cam(model, image, [column], module=feature_map.module)[0, 0]
    if evidence.any():
        return True, evidence
    return False, grad_cam(model, image, [column], against=True, module=feature_map.module)[0, 0]


def _side_by_side(image: np.ndarray, heat_map: np.ndarray | None) -> Image.Image:
    if heat_map is None:
        return Image.fromarray(image)
    warm = overlay(image, heat_map, "")
    page = Image.new("RGB", (2 * DISPLAY_SIZE + 4, DISPLAY_SIZE), "white")
    page.paste(Image.fromarray(image), (0, 0))
    page.paste(warm.crop((0, warm.height - DISPLAY_SIZE, DISPLAY_SIZE, warm.height)), (DISPLAY_SIZE + 4, 0))
    return page


def _grids(shown_images: Sequence[ShownImage], predictions: Predictions) -> list[ImageGrid | str]:
    parts: list[ImageGrid | str] = []
    for column, name in enumerate(predictions.observations):
        of_column = [each for each in shown_images if each.false_negative.column == column]
        if of_column:
            cells = [(each.picture, _caption_lines(name, predictions, each)) for each in of_column]
            parts.append(ImageGrid(cells, _describe_observation(name, predictions, of_column)))
    return parts


def _caption_lines(name: str, predictions: Predictions, shown_image: ShownImage) -> list[str]:
    positive = shown_image.false_negative
    return [
        f"{name}: probability {format_decimal(positive.probability)}",
        *(
            [f"{format_percent(positive.negatives_above)} of the negatives have a higher probability"]
            if positive.negatives_above == positive.negatives_above
            else []
        ),
        *([] if shown_image.has_evidence else ["no evidence for it; the map shows evidence against it"]),
        str(predictions.paths[positive.unit]),
    ]


def _describe_observation(name: str, predictions: Predictions, shown_images: Sequence[ShownImage]) -> str:
    positives, least = (
        int((predictions.truth[:, shown_images[0].false_negative.column] == 1).sum()),
        shown_images[0].false_negative,
    )
    above_text = (
        f"; {format_percent(least.negatives_above)} of the negatives have a higher one"
        if least.negatives_above == least.negatives_above
        else ""
    )
    without_evidence = sum(not each.has_evidence for each in shown_images)
    without_evidence_text = (
        f"; in {without_evidence} of these {len(shown_images)} Grad-CAM finds no evidence for it"
        if without_evidence
        else ""
    )
    return (
        f"among {positives:,} positives for {name}, the lowest probability is "
        f"{format_decimal(least.probability)}{above_text}{without_evidence_text}."
    )


def _describe_grad_cam(model: LoadedModel, feature_map: FeatureMap | None) -> str:
    if feature_map is None:
        return f"{model.backbone} ends in tokens and has no feature map, so that Grad-CAM is not possible."
    return (
        f"On the right of each image is Grad-CAM's map of the evidence for the observation, or against it if there is "
        f"none: {feature_map.cells}, smoothed, relative to the strongest. It does not prove that the network "
        "uses what a radiologist uses."
    )
