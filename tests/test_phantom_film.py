from dataclasses import replace

import numpy as np
import pytest

from chex.labels import FIVE
from chex.phantom.chest import LEFT, RIGHT, frontal_chest, lung_mask
from chex.phantom.film import Film, draw_film
from chex.phantom.frontal import draw_frontal
from chex.phantom.signs import Signs, place_signs

NOTHING = dict.fromkeys(FIVE, 0.0)
STUDIES = range(5)


def a_film(view: str = "PA", strength: dict[str, float] | None = None, mimic: dict[str, float] | None = None) -> Film:
    return Film(view, "Male", NOTHING | (strength or {}), NOTHING | (mimic or {}), devices=False)


def drawn(film: Film, study: int = 0, noise: int = 0) -> np.ndarray:
    return draw_film(film, np.random.default_rng(study), np.random.default_rng([1, noise])).astype(float)


def signs_of(study: int, strength: dict[str, float] | None = None, mimic: dict[str, float] | None = None) -> Signs:
    return place_signs(NOTHING | (strength or {}), NOTHING | (mimic or {}), np.random.default_rng(study))


def canvas(signs: Signs, study: int, ap: bool = False) -> np.ndarray:
    return draw_frontal(signs, ap, "Male", np.random.default_rng([2, study]), np.random.default_rng(3))


def lung(study: int, side: int) -> np.ndarray:
    return lung_mask(frontal_chest(signs_of(study), False, np.random.default_rng([2, study])), side) > 0.99


def test_a_film_has_the_dataset_s_type_and_size() -> None:
    shapes = [draw_film(a_film(), np.random.default_rng(0), np.random.default_rng(n)).shape for n in range(12)]
    assert drawn(a_film()).max() <= 255
    assert draw_film(a_film(), np.random.default_rng(0), np.random.default_rng(0)).dtype == np.uint8
    assert {min(shape) for shape in shapes} == {320}
    assert 320 <= min(max(shape) for shape in shapes) < max(max(shape) for shape in shapes) <= 400
    assert {height > width for height, width in shapes} == {True, False}


@pytest.mark.parametrize("view", ["AP", "PA", "LL", ""])
def test_the_same_generators_give_the_same_pixels(view: str) -> None:
    film = replace(a_film(view, {"Edema": 0.5}), devices=True)
    assert np.array_equal(drawn(film), drawn(film))
    assert not np.array_equal(drawn(film).shape, drawn(film, noise=1).shape) or not np.array_equal(
        drawn(film), drawn(film, noise=1)
    )


def test_an_enlarged_heart_is_wider_than_a_normal_one() -> None:
    for study in STUDIES:
        lungs = lung(study, RIGHT) | lung(study, LEFT)
        normal, faint, strong = (
            (canvas(signs_of(study, {"Cardiomegaly": strength}), study)[lungs] > 0.6).sum()
            for strength in (0, 0.2, 0.9)
        )
        assert normal < faint < strong


def test_an_enlarged_heart_takes_more_than_half_of_the_thorax_and_an_ap_film_magnifies_any() -> None:
    for study in STUDIES:
        normal, enlarged, magnified = (
            frontal_chest(signs_of(study, {"Cardiomegaly": strength}), ap, np.random.default_rng(study))
            for strength, ap in ((0, False), (0.3, False), (0, True))
        )
        assert enlarged.heart / (2 * enlarged.half) > 0.505
        assert normal.heart < magnified.heart


def test_an_effusion_fills_the_angle_of_its_side_only_and_deeper_when_stronger() -> None:
    for study in STUDIES:
        signs = [replace(signs_of(study, {"Pleural Effusion": strength}), both=0.0) for strength in (0, 0.3, 0.9)]
        none, faint, strong = (canvas(sign, study) for sign in signs)
        ill, other = lung(study, signs[0].side["Pleural Effusion"]), lung(study, -signs[0].side["Pleural Effusion"])
        assert (faint - none > 0.1)[ill].sum() < (strong - none > 0.1)[ill].sum()
        assert np.abs(strong - none)[other].max() < 0.05


def test_edema_is_haze_on_both_sides_and_its_mimic_is_not() -> None:
    for study in STUDIES:
        none, edema, mimic = (
            canvas(signs_of(study, {"Edema": strength}, {"Edema": seeming}), study)
            for strength, seeming in ((0, 0), (0.8, 0), (0, 0.8))
        )
        for side in (RIGHT, LEFT):
            haze = np.median((edema - none)[lung(study, side)])
            assert haze > 0.03
            assert np.median((mimic - none)[lung(study, side)]) < 0.3 * haze


def test_consolidation_is_dense_in_one_lung_and_larger_than_its_mimic() -> None:
    for study in STUDIES:
        signs = signs_of(study, {"Consolidation": 0.8})
        none, dense = canvas(signs_of(study), study), canvas(signs, study)
        mimic = canvas(signs_of(study, mimic={"Consolidation": 0.8}), study)
        side = signs.side["Consolidation"]
        assert (dense - none > 0.1)[lung(study, side)].sum() > (mimic - none > 0.1)[lung(study, side)].sum()
        assert np.abs(dense - none)[lung(study, -side)].max() < 0.02


def test_atelectasis_raises_its_hemidiaphragm_and_its_mimic_does_not() -> None:
    for study in STUDIES:
        none, collapsed, scarred = (
            frontal_chest(sign, False, np.random.default_rng(study)).dome
            for sign in (
                signs_of(study),
                signs_of(study, {"Atelectasis": 0.8}),
                signs_of(study, mimic={"Atelectasis": 0.8}),
            )
        )
        assert sum(collapsed) < sum(none) - 1
        assert scarred == none


@pytest.mark.parametrize("view", ["PA", ""])
@pytest.mark.parametrize("name", FIVE)
def test_every_sign_shows_in_both_views_and_more_when_stronger(view: str, name: str) -> None:
    changes = [
        np.mean([np.abs(drawn(a_film(view, {name: strength}), n) - drawn(a_film(view), n)).mean() for n in STUDIES[:3]])
        for strength in (0.2, 0.9)
    ]
    assert 0.1 < changes[0] < changes[1]


@pytest.mark.parametrize("name", FIVE)
def test_every_mimic_shows_on_a_frontal_film(name: str) -> None:
    assert np.abs(drawn(a_film(mimic={name: 0.9})) - drawn(a_film())).max() > 10


def test_devices_are_bright_lines() -> None:
    bare, wired = drawn(a_film("AP")), drawn(replace(a_film("AP"), devices=True))
    assert (wired - bare > 20).sum() > 50
    assert (wired < bare - 1).mean() < 0.01


def test_two_films_of_one_study_show_a_sign_on_the_same_side() -> None:
    assert signs_of(4, {"Edema": 0.1}).side == signs_of(4, mimic={"Edema": 0.3}).side
    assert len({tuple(signs_of(study).side.values()) for study in range(8)}) > 1
