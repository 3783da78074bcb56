import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from chex import checkpoint
from chex.cache import open_images
from chex.config import RunConfig
from chex.device import DeviceConfig
from chex.inference import predict
from chex.model import build_model
from chex.outputs import Outputs
from chex.page import Films
from chex.records import load_tree
from chex.split import split
from search.missed_films import EACH, Missed, hardest, missed_films
from search.predictions import Predictions
from search.search_config import SearchConfig
from tests.test_staging import upload, zipped

OBSERVATION = ("Cardiomegaly",)


def weights(folder: Path, run: RunConfig) -> None:
    """Writes weights that nobody trained."""
    model = build_model(run.model, 1, seed=0)
    size = str(run.image.size)
    about = {"backbone": run.model.backbone, "observations": OBSERVATION[0], "image_size": size}
    about |= {"mean": "0.5", "std": "0.5"}
    checkpoint.save_weights(folder, model.state_dict(), about)


def asked(run: RunConfig) -> tuple[Predictions, np.ndarray]:
    """What the run is scored on, and what `weights` gives it."""
    assert run.data.root is not None
    tree = load_tree(run.data.root)
    scored = split(tree, run.data).scored
    model, images = build_model(run.model, 1, seed=0), open_images(tree.root, tree.paths, run.image)
    logits = predict(model, Outputs(1), images, scored.films, DeviceConfig(), torch.device("cpu"))
    given = scored.pooled(logits.sigmoid().numpy())
    one = np.ones(1, dtype=np.int64)
    held = Predictions(OBSERVATION, scored.paths, scored.patients, scored.truth, one, one, given[None])
    return held, given


def over(run: RunConfig, source: str | None = None) -> SearchConfig:
    """A search over the run; with the `source` of its tree."""
    return SearchConfig(base=run, space={"seed": {"int": [0, 1]}}, source=source)


def relabel(tree: Path) -> None:
    """Makes one film of the validation split another truth."""
    table = pd.read_csv(tree / "valid.csv")
    table.loc[0, "Cardiomegaly"] = 1 - table.loc[0, "Cardiomegaly"]
    table.to_csv(tree / "valid.csv", index=False)


def test_the_hardest_are_the_positives_of_the_lowest_probability() -> None:
    truth = np.array([[1, 0], [1, 0], [0, np.nan], [0, 0], [1, 0]])
    probability = np.array([[0.3, 0.9], [0.1, 0.8], [0.2, 0.7], [0.4, 0.1], [0.9, 0.2]])
    assert hardest(truth, probability, 2) == [Missed(1, 0, 0.1, above=1.0), Missed(0, 0, 0.3, above=0.5)]


def test_films_stand_with_their_heat_beside_them(tmp_path: Path, make_run: Callable[..., RunConfig]) -> None:
    run = make_run()
    weights(tmp_path, run)
    held, given = asked(run)
    films, heat = missed_films(tmp_path, over(run), held, given)
    assert isinstance(films, Films)
    assert isinstance(heat, str)
    assert len(films.films) == EACH
    picture, lines = films.films[0]
    assert picture.width > 2 * picture.height
    lowest = hardest(held.truth, given)[0]
    assert lines[0] == f"Cardiomegaly: probability {lowest.probability:.3f}".replace("0.", ".")
    assert lines[-1] == held.paths[lowest.unit]
    assert "Grad-CAM's map" in heat
    assert "8 x 8 cells of layer1 (the last feature map has 1 x 1)" in heat


def test_of_a_study_the_film_of_the_highest_probability_is_shown(
    tmp_path: Path, make_run: Callable[..., RunConfig]
) -> None:
    run = make_run({"data.scoring": "study"})
    weights(tmp_path, run)
    films, _ = missed_films(tmp_path, over(run), *asked(run))
    assert isinstance(films, Films)
    assert all(lines[-1].endswith("/study1") for _, lines in films.films)


def test_a_backbone_without_a_feature_map_has_films_alone(tmp_path: Path, make_run: Callable[..., RunConfig]) -> None:
    run = make_run({"model.backbone": "test_vit", "image.size": 160})
    weights(tmp_path, run)
    films, heat = missed_films(tmp_path, over(run), *asked(run))
    assert isinstance(films, Films)
    assert films.films[0][0].width == films.films[0][0].height
    assert heat == "test_vit ends in tokens and has no feature map: there is no Grad-CAM of it."


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (lambda folder, tree: (folder / checkpoint.WEIGHTS).unlink(), "cannot be read as safetensors"),
        (lambda folder, tree: shutil.rmtree(tree), "is not a folder"),
        (lambda folder, tree: shutil.rmtree(tree / "valid"), "No such file"),
        (lambda folder, tree: relabel(tree), "are not those that the search was scored on"),
    ],
)
def test_what_keeps_films_from_being_shown_is_said(
    harm: Callable[[Path, Path], object], told: str, tmp_path: Path, make_run: Callable[..., RunConfig]
) -> None:
    run = make_run()
    weights(tmp_path, run)
    held, given = asked(run)
    assert run.data.root is not None
    harm(tmp_path, run.data.root)
    (sentence,) = missed_films(tmp_path, over(run), held, given)
    assert isinstance(sentence, str)
    assert sentence.startswith("The films cannot be shown: ")
    assert told in sentence


def test_weights_that_give_other_probabilities_are_not_the_winners(
    tmp_path: Path, make_run: Callable[..., RunConfig]
) -> None:
    run = make_run()
    weights(tmp_path, run)
    held, given = asked(run)
    (sentence,) = missed_films(tmp_path, over(run), held, given / 2)
    assert "they are not the winner's weights" in str(sentence)


def test_a_search_without_positives_misses_nothing(tmp_path: Path, make_run: Callable[..., RunConfig]) -> None:
    held, given = asked(make_run())
    without = Predictions(**vars(held) | {"truth": np.zeros_like(held.truth)})
    assert missed_films(tmp_path, over(make_run()), without, given) == ["Nothing that was scored is positive."]


@pytest.mark.parametrize("form", ["zip", "tree"])
def test_films_of_a_tree_that_was_another_machines_are_fetched_from_its_source(
    form: str, tmp_path: Path, make_run: Callable[..., RunConfig], bucket: Callable[[str], str]
) -> None:
    run = make_run()
    weights(tmp_path, run)
    held, given = asked(run)
    assert run.data.root is not None
    local = zipped(run.data.root) if form == "zip" else run.data.root
    source = upload(local, bucket(local.name))
    here, _ = missed_films(tmp_path, over(run), held, given)
    shutil.rmtree(run.data.root)
    there, _ = missed_films(tmp_path, over(run, source), held, given)
    assert isinstance(here, Films)
    assert isinstance(there, Films)
    assert [lines for _, lines in there.films] == [lines for _, lines in here.films]
    assert all(one.tobytes() == other.tobytes() for (one, _), (other, _) in zip(there.films, here.films, strict=True))
    films = [path.name for path in (run.image.cache / "stage").rglob("*.jpg")]
    assert len(films) == EACH


def test_a_source_that_cannot_be_reached_is_said_in_the_place_of_films(
    tmp_path: Path, make_run: Callable[..., RunConfig]
) -> None:
    run = make_run()
    weights(tmp_path, run)
    nowhere = "gs://anonymous@films/x.zip?scheme=http&endpoint_override=127.0.0.1%3A1&retry_limit_seconds=1"
    (sentence,) = missed_films(tmp_path, over(run, nowhere), *asked(run))
    assert sentence == (
        "The films cannot be shown: gs://anonymous@films/x.zip: its store cannot be reached; check the network and the "
        "address."
    )
