import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np

from chex.config import RunConfig
from chex.prepare import prepare, select
from search.film_page import ACROSS, GAP, LINE, SIDE, ScoredFilms, film_page, open_films, surest
from search.staging import stage_tables
from tests.test_staging import upload

TRUTH = np.array([[1, 1], [1, 0], [1, 0], [0, 1], [0, np.nan]])
PROBABILITY = np.array([[0.9, 0.8], [0.2, 0.3], [0.6, 0.1], [0.7, 0.4], [0.1, 0.99]])


def test_observations_take_turns_and_no_film_comes_twice() -> None:
    assert surest(TRUTH, PROBABILITY, 1, True, 6) == [(0, 0), (2, 0)]  # film 0 leads under both
    assert surest(TRUTH, PROBABILITY, 1, False, 6) == [(1, 0), (3, 1)]
    assert surest(TRUTH, PROBABILITY, 0, True, 6) == [(3, 0), (1, 1)]
    assert surest(TRUTH, PROBABILITY, 0, False, 6) == [(4, 0), (2, 1)]


def test_no_more_films_than_asked_for_and_none_without_labels() -> None:
    assert len(surest(np.ones((20, 3)), np.linspace(0, 1, 60).reshape(20, 3), 1, True, 6)) == 6
    assert surest(np.zeros((3, 1)), np.full((3, 1), 0.5), 1, True, 6) == []


def test_films_are_those_that_trials_are_scored_on(make_run: Callable[..., RunConfig]) -> None:
    run = make_run({"data.observations": "Cardiomegaly"})
    films, data = open_films(run), prepare(run, select(run))
    assert (films.rows == data.scored.films).all()
    for opened in (films, open_films(run, decoded=False)):
        assert (np.stack(opened.look(opened.rows)) == data.images[data.scored.films]).all()


def test_films_that_this_machine_lacks_are_fetched_when_they_are_looked_at(
    make_run: Callable[..., RunConfig], tree: Path, bucket: Callable[[str], str]
) -> None:
    run, source = make_run(), upload(tree, bucket("tree"))
    expected = open_films(run).look(open_films(run).rows[3:5])
    shutil.rmtree(tree)
    stage_tables(source, tree)
    films = open_films(run, source, decoded=False)
    assert np.array_equal(films.look(films.rows[3:5]), expected)
    assert len(list(tree.rglob("*.jpg"))) == 2


def test_a_study_is_shown_by_its_first_film(make_run: Callable[..., RunConfig]) -> None:
    run = make_run({"data.observations": "Cardiomegaly", "data.scoring": "study"})
    scored = select(run).scored
    rows = open_films(run).rows
    assert len(rows) == len(scored.paths)
    assert rows.tolist() == [scored.films[scored.unit == unit][0] for unit in range(len(rows))]


def test_the_page_shows_each_film_in_its_place() -> None:
    images = np.stack([np.full((32, 32), 40 * k, dtype=np.uint8) for k in range(7)])
    films = ScoredFilms(np.arange(2, 7), images.__getitem__)
    page = np.asarray(film_page(films, "Trial 1", ("Edema", "Fracture"), TRUTH, PROBABILITY))
    assert page.shape[1] == GAP + ACROSS * (SIDE + GAP)
    middle, high = 2 * LINE + LINE + SIDE // 2, LINE + SIDE + 2 * LINE + GAP
    shown = [
        [page[middle + row * high, GAP + place * (SIDE + GAP) + SIDE // 2, 0] for place in (0, 1, 2)]
        for row in range(4)
    ]
    assert shown == [[80, 160, 255], [120, 200, 255], [200, 120, 255], [240, 160, 255]]
    red = (page[..., 0] > 150) & (page[..., 1] < 100)
    captions = [red[3 * LINE + SIDE + row * high :][: 2 * LINE].any() for row in range(4)]
    assert captions == [False, True, True, False]
