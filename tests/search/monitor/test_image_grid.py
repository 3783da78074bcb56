import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np

from chex.config import RunConfig
from chex.training.run_data import load_run_data
from chex.training.run_tables import load_run_tables
from search.monitor.image_grid import (
    COLUMNS,
    GAP,
    LINE,
    SIDE,
    ScoredImages,
    image_grid,
    most_confident,
    open_scored_images,
)
from search.storage.dataset import stage_tables
from tests.zip_and_upload import upload

TRUTH = np.array([[1, 1], [1, 0], [1, 0], [0, 1], [0, np.nan]])
PROBABILITY = np.array([[0.9, 0.8], [0.2, 0.3], [0.6, 0.1], [0.7, 0.4], [0.1, 0.99]])


def test_observations_take_turns_and_no_image_is_repeated() -> None:
    assert most_confident(TRUTH, PROBABILITY, 1, True, 6) == [(0, 0), (2, 0)]  # image 0 leads under both
    assert most_confident(TRUTH, PROBABILITY, 1, False, 6) == [(1, 0), (3, 1)]
    assert most_confident(TRUTH, PROBABILITY, 0, True, 6) == [(3, 0), (1, 1)]
    assert most_confident(TRUTH, PROBABILITY, 0, False, 6) == [(4, 0), (2, 1)]


def test_at_most_the_requested_number_of_images_is_returned() -> None:
    assert len(most_confident(np.ones((20, 3)), np.linspace(0, 1, 60).reshape(20, 3), 1, True, 6)) == 6
    assert most_confident(np.zeros((3, 1)), np.full((3, 1), 0.5), 1, True, 6) == []


def test_images_are_those_on_which_trials_are_scored(make_run: Callable[..., RunConfig]) -> None:
    run = make_run({"data.observations": "Cardiomegaly"})
    images, data = open_scored_images(run), load_run_data(run, load_run_tables(run))
    assert (images.rows == data.scored.images).all()
    for opened in (images, open_scored_images(run, decoded=False)):
        assert (np.stack(opened.load(opened.rows)) == data.images[data.scored.images]).all()


def test_images_missing_on_this_machine_are_fetched_when_loaded(
    make_run: Callable[..., RunConfig], tree: Path, bucket: Callable[[str], str]
) -> None:
    run, data_uri = make_run(), upload(tree, bucket("tree"))
    expected = open_scored_images(run).load(open_scored_images(run).rows[3:5])
    shutil.rmtree(tree)
    stage_tables(data_uri, tree)
    images = open_scored_images(run, data_uri, decoded=False)
    assert np.array_equal(images.load(images.rows[3:5]), expected)
    assert len(list(tree.rglob("*.jpg"))) == 2


def test_a_study_is_shown_by_its_first_image(make_run: Callable[..., RunConfig]) -> None:
    run = make_run({"data.observations": "Cardiomegaly", "data.eval_unit": "study"})
    scored = load_run_tables(run).scored
    rows = open_scored_images(run).rows
    assert len(rows) == len(scored.paths)
    assert rows.tolist() == [scored.images[scored.unit_of_image == unit][0] for unit in range(len(rows))]


def test_the_grid_shows_each_image_at_its_position() -> None:
    images = np.stack([np.full((32, 32), 40 * k, dtype=np.uint8) for k in range(7)])
    images = ScoredImages(np.arange(2, 7), images.__getitem__)
    page = np.asarray(image_grid(images, "Trial 1", ("Edema", "Fracture"), TRUTH, PROBABILITY))
    assert page.shape[1] == GAP + COLUMNS * (SIDE + GAP)
    middle, row_height = 2 * LINE + LINE + SIDE // 2, LINE + SIDE + 2 * LINE + GAP
    gray_values = [
        [page[middle + row * row_height, GAP + column * (SIDE + GAP) + SIDE // 2, 0] for column in (0, 1, 2)]
        for row in range(4)
    ]
    assert gray_values == [[80, 160, 255], [120, 200, 255], [200, 120, 255], [240, 160, 255]]
    red = (page[..., 0] > 150) & (page[..., 1] < 100)
    has_red = [red[3 * LINE + SIDE + row * row_height :][: 2 * LINE].any() for row in range(4)]
    assert has_red == [False, True, True, False]
