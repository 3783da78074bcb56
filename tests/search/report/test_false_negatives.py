import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from chex.cohort.split import split
from chex.config import RunConfig
from chex.data.image_cache import load_or_build
from chex.data.tables import load_tree
from chex.models import checkpoint
from chex.models.classifier import build_model
from chex.models.heads import HeadLayout
from chex.models.inference import predict
from chex.reporting.html_report import ImageGrid
from chex.runtime import run_folder
from chex.runtime.device_config import DeviceConfig
from search.config.search_config import SearchConfig
from search.report.false_negatives import (
    IMAGES_PER_OBSERVATION,
    FalseNegative,
    false_negatives,
    lowest_scored_positives,
)
from search.trials.predictions import Predictions
from tests.zip_and_upload import upload, zipped

OBSERVATION = ("Cardiomegaly",)


def save_untrained_weights(folder: Path, run: RunConfig) -> None:
    """Saves weights of an untrained model."""
    model = build_model(run.model, 1, seed=0)
    size = str(run.image.size)
    about = {"backbone": run.model.backbone, "observations": OBSERVATION[0], "image_size": size}
    about |= {"mean": "0.5", "std": "0.5"}
    checkpoint.save_weights(folder, model.state_dict(), about)


def predict_scored(run: RunConfig) -> tuple[Predictions, np.ndarray]:
    """Returns the predictions of the untrained weights for the run's validation units."""
    assert run.data.root is not None
    tree = load_tree(run.data.root)
    scored = split(tree, run.data).scored
    model, images = build_model(run.model, 1, seed=0), load_or_build(tree.root, tree.paths, run.image)
    logits = predict(model, HeadLayout(1), images, scored.images, DeviceConfig(), torch.device("cpu"))
    probability = scored.max_over_study(logits.sigmoid().numpy())
    one = np.ones(1, dtype=np.int64)
    predictions = Predictions(OBSERVATION, scored.paths, scored.patients, scored.truth, one, one, probability[None])
    return predictions, probability


def search_over(run: RunConfig, source: str | None = None) -> SearchConfig:
    """Returns a search over the run; `source` is the URI of its tree."""
    return SearchConfig(base=run, space={"seed": {"int": [0, 1]}}, data_uri=source)


def change_a_label(tree: Path) -> None:
    """Changes the label of one validation image."""
    table = pd.read_csv(tree / "valid.csv")
    table.loc[0, "Cardiomegaly"] = 1 - table.loc[0, "Cardiomegaly"]
    table.to_csv(tree / "valid.csv", index=False)


def test_the_positives_with_the_lowest_probabilities_are_chosen() -> None:
    truth = np.array([[1, 0], [1, 0], [0, np.nan], [0, 0], [1, 0]])
    probability = np.array([[0.3, 0.9], [0.1, 0.8], [0.2, 0.7], [0.4, 0.1], [0.9, 0.2]])
    assert lowest_scored_positives(truth, probability, 2) == [
        FalseNegative(1, 0, 0.1, negatives_above=1.0),
        FalseNegative(0, 0, 0.3, negatives_above=0.5),
    ]


def test_images_are_shown_with_their_grad_cam_map(tmp_path: Path, make_run: Callable[..., RunConfig]) -> None:
    run = make_run()
    save_untrained_weights(tmp_path, run)
    predictions, probability = predict_scored(run)
    grid, description = false_negatives(tmp_path, search_over(run), predictions, probability)
    assert isinstance(grid, ImageGrid)
    assert isinstance(description, str)
    assert len(grid.images) == IMAGES_PER_OBSERVATION
    picture, lines = grid.images[0]
    assert picture.width > 2 * picture.height
    lowest = lowest_scored_positives(predictions.truth, probability)[0]
    assert lines[0] == f"Cardiomegaly: probability {lowest.probability:.3f}".replace("0.", ".")
    assert lines[-1] == predictions.paths[lowest.unit]
    assert "Grad-CAM's map" in description
    assert "8 x 8 cells of layer1 (the last feature map has 1 x 1)" in description


def test_the_image_with_the_highest_probability_is_shown_of_a_study(
    tmp_path: Path, make_run: Callable[..., RunConfig]
) -> None:
    run = make_run({"data.eval_unit": "study"})
    save_untrained_weights(tmp_path, run)
    grid, _ = false_negatives(tmp_path, search_over(run), *predict_scored(run))
    assert isinstance(grid, ImageGrid)
    assert all(lines[-1].endswith("/study1") for _, lines in grid.images)


def test_a_backbone_without_a_feature_map_has_images_without_maps(
    tmp_path: Path, make_run: Callable[..., RunConfig]
) -> None:
    run = make_run({"model.backbone": "test_vit", "image.size": 160})
    save_untrained_weights(tmp_path, run)
    grid, description = false_negatives(tmp_path, search_over(run), *predict_scored(run))
    assert isinstance(grid, ImageGrid)
    assert grid.images[0][0].width == grid.images[0][0].height
    assert description == "test_vit ends in tokens and has no feature map, so that Grad-CAM is not possible."


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda folder, tree: (folder / run_folder.WEIGHTS).unlink(), "cannot be read as safetensors"),
        (lambda folder, tree: shutil.rmtree(tree), "is not a folder"),
        (lambda folder, tree: shutil.rmtree(tree / "valid"), "No such file"),
        (lambda folder, tree: change_a_label(tree), "are not those that the search was scored on"),
    ],
)
def test_the_reason_is_given_if_images_cannot_be_shown(
    damage: Callable[[Path, Path], object], reason: str, tmp_path: Path, make_run: Callable[..., RunConfig]
) -> None:
    run = make_run()
    save_untrained_weights(tmp_path, run)
    predictions, probability = predict_scored(run)
    assert run.data.root is not None
    damage(tmp_path, run.data.root)
    (sentence,) = false_negatives(tmp_path, search_over(run), predictions, probability)
    assert isinstance(sentence, str)
    assert sentence.startswith("The images cannot be shown: ")
    assert reason in sentence


def test_weights_with_other_probabilities_are_not_the_winners(
    tmp_path: Path, make_run: Callable[..., RunConfig]
) -> None:
    run = make_run()
    save_untrained_weights(tmp_path, run)
    predictions, probability = predict_scored(run)
    (sentence,) = false_negatives(tmp_path, search_over(run), predictions, probability / 2)
    assert "they are not the winner's weights" in str(sentence)


def test_a_search_without_positives_has_a_sentence(tmp_path: Path, make_run: Callable[..., RunConfig]) -> None:
    predictions, probability = predict_scored(make_run())
    without = Predictions(**vars(predictions) | {"truth": np.zeros_like(predictions.truth)})
    assert false_negatives(tmp_path, search_over(make_run()), without, probability) == ["No scored label is positive."]


@pytest.mark.parametrize("form", ["zip", "tree"])
def test_images_missing_on_this_machine_are_fetched_from_the_data_uri(
    form: str, tmp_path: Path, make_run: Callable[..., RunConfig], bucket: Callable[[str], str]
) -> None:
    run = make_run()
    save_untrained_weights(tmp_path, run)
    predictions, probability = predict_scored(run)
    assert run.data.root is not None
    local = zipped(run.data.root) if form == "zip" else run.data.root
    source = upload(local, bucket(local.name))
    local_grid, _ = false_negatives(tmp_path, search_over(run), predictions, probability)
    shutil.rmtree(run.data.root)
    fetched_grid, _ = false_negatives(tmp_path, search_over(run, source), predictions, probability)
    assert isinstance(local_grid, ImageGrid)
    assert isinstance(fetched_grid, ImageGrid)
    assert [lines for _, lines in fetched_grid.images] == [lines for _, lines in local_grid.images]
    assert all(
        one.tobytes() == other.tobytes()
        for (one, _), (other, _) in zip(fetched_grid.images, local_grid.images, strict=True)
    )
    grid = [path.name for path in (run.image.cache_dir / "stage").rglob("*.jpg")]
    assert len(grid) == IMAGES_PER_OBSERVATION


def test_an_unreachable_data_uri_is_reported_in_place_of_the_images(
    tmp_path: Path, make_run: Callable[..., RunConfig]
) -> None:
    run = make_run()
    save_untrained_weights(tmp_path, run)
    unreachable = "gs://anonymous@images/x.zip?scheme=http&endpoint_override=127.0.0.1%3A1&retry_limit_seconds=1"
    (sentence,) = false_negatives(tmp_path, search_over(run, unreachable), *predict_scored(run))
    assert sentence == (
        "The images cannot be shown: gs://anonymous@images/x.zip: its storage cannot be reached; check the network "
        "and the address."
    )
