from dataclasses import replace

import numpy as np
import pytest

from chex.phantom.anatomy import LEFT, RIGHT, frontal_chest, lung_mask
from chex.phantom.frontal import draw_frontal
from chex.phantom.pathology import Signs, place_signs
from chex.phantom.radiograph import Radiograph, draw_radiograph
from chex.schema.labels import FIVE

ABSENT = dict.fromkeys(FIVE, 0.0)
STUDIES = range(5)


def make_radiograph(
    view: str = "PA", strength: dict[str, float] | None = None, mimic: dict[str, float] | None = None
) -> Radiograph:
    return Radiograph(view, "Male", ABSENT | (strength or {}), ABSENT | (mimic or {}), devices=False)


def pixels_of(radiograph: Radiograph, study: int = 0, noise: int = 0) -> np.ndarray:
    return draw_radiograph(radiograph, np.random.default_rng(study), np.random.default_rng([1, noise])).astype(float)


def make_signs(study: int, strength: dict[str, float] | None = None, mimic: dict[str, float] | None = None) -> Signs:
    return place_signs(ABSENT | (strength or {}), ABSENT | (mimic or {}), np.random.default_rng(study))


def frontal_canvas(signs: Signs, study: int, ap: bool = False) -> np.ndarray:
    return draw_frontal(signs, ap, "Male", np.random.default_rng([2, study]), np.random.default_rng(3))


def lung(study: int, side: int) -> np.ndarray:
    return lung_mask(frontal_chest(make_signs(study), False, np.random.default_rng([2, study])), side) > 0.99


def test_an_image_has_the_dataset_s_type_and_size() -> None:
    shapes = [
        draw_radiograph(make_radiograph(), np.random.default_rng(0), np.random.default_rng(n)).shape for n in range(12)
    ]
    assert pixels_of(make_radiograph()).max() <= 255
    assert draw_radiograph(make_radiograph(), np.random.default_rng(0), np.random.default_rng(0)).dtype == np.uint8
    assert {min(shape) for shape in shapes} == {320}
    assert 320 <= min(max(shape) for shape in shapes) < max(max(shape) for shape in shapes) <= 400
    assert {height > width for height, width in shapes} == {True, False}


@pytest.mark.parametrize("view", ["AP", "PA", "LL", ""])
def test_the_same_generators_give_the_same_pixels(view: str) -> None:
    radiograph = replace(make_radiograph(view, {"Edema": 0.5}), devices=True)
    assert np.array_equal(pixels_of(radiograph), pixels_of(radiograph))
    assert not np.array_equal(pixels_of(radiograph).shape, pixels_of(radiograph, noise=1).shape) or not np.array_equal(
        pixels_of(radiograph), pixels_of(radiograph, noise=1)
    )


def test_an_enlarged_heart_is_wider_than_a_normal_one() -> None:
    for study in STUDIES:
        lungs = lung(study, RIGHT) | lung(study, LEFT)
        normal, faint, strong = (
            (frontal_canvas(make_signs(study, {"Cardiomegaly": strength}), study)[lungs] > 0.6).sum()
            for strength in (0, 0.2, 0.9)
        )
        assert normal < faint < strong


def test_an_enlarged_heart_is_wider_than_half_of_the_thorax_and_an_ap_image_magnifies_every_heart() -> None:
    for study in STUDIES:
        normal, enlarged, magnified = (
            frontal_chest(make_signs(study, {"Cardiomegaly": strength}), ap, np.random.default_rng(study))
            for strength, ap in ((0, False), (0.3, False), (0, True))
        )
        assert enlarged.heart / (2 * enlarged.half) > 0.505
        assert normal.heart < magnified.heart


def test_an_effusion_fills_the_angle_of_its_side_only_and_is_deeper_when_stronger() -> None:
    for study in STUDIES:
        signs = [replace(make_signs(study, {"Pleural Effusion": strength}), both=0.0) for strength in (0, 0.3, 0.9)]
        none, faint, strong = (frontal_canvas(sign, study) for sign in signs)
        affected, other = (
            lung(study, signs[0].side["Pleural Effusion"]),
            lung(study, -signs[0].side["Pleural Effusion"]),
        )
        assert (faint - none > 0.1)[affected].sum() < (strong - none > 0.1)[affected].sum()
        assert np.abs(strong - none)[other].max() < 0.05


def test_edema_is_haze_on_both_sides_and_its_mimic_is_not() -> None:
    for study in STUDIES:
        none, edema, mimic = (
            frontal_canvas(make_signs(study, {"Edema": strength}, {"Edema": mimic_strength}), study)
            for strength, mimic_strength in ((0, 0), (0.8, 0), (0, 0.8))
        )
        for side in (RIGHT, LEFT):
            haze = np.median((edema - none)[lung(study, side)])
            assert haze > 0.03
            assert np.median((mimic - none)[lung(study, side)]) < 0.3 * haze


def test_consolidation_is_dense_in_one_lung_and_larger_than_its_mimic() -> None:
    for study in STUDIES:
        signs = make_signs(study, {"Consolidation": 0.8})
        none, dense = frontal_canvas(make_signs(study), study), frontal_canvas(signs, study)
        mimic = frontal_canvas(make_signs(study, mimic={"Consolidation": 0.8}), study)
        side = signs.side["Consolidation"]
        assert (dense - none > 0.1)[lung(study, side)].sum() > (mimic - none > 0.1)[lung(study, side)].sum()
        assert np.abs(dense - none)[lung(study, -side)].max() < 0.02


def test_atelectasis_raises_its_hemidiaphragm_and_its_mimic_does_not() -> None:
    for study in STUDIES:
        none, collapsed, scarred = (
            frontal_chest(sign, False, np.random.default_rng(study)).dome
            for sign in (
                make_signs(study),
                make_signs(study, {"Atelectasis": 0.8}),
                make_signs(study, mimic={"Atelectasis": 0.8}),
            )
        )
        assert sum(collapsed) < sum(none) - 1
        assert scarred == none


@pytest.mark.parametrize("view", ["PA", ""])
@pytest.mark.parametrize("name", FIVE)
def test_every_sign_shows_in_both_views_and_more_when_stronger(view: str, name: str) -> None:
    changes = [
        np.mean(
            [
                np.abs(
                    pixels_of(make_radiograph(view, {name: strength}), n) - pixels_of(make_radiograph(view), n)
                ).mean()
                for n in STUDIES[:3]
            ]
        )
        for strength in (0.2, 0.9)
    ]
    assert 0.1 < changes[0] < changes[1]


@pytest.mark.parametrize("name", FIVE)
def test_every_mimic_shows_in_a_frontal_image(name: str) -> None:
    assert np.abs(pixels_of(make_radiograph(mimic={name: 0.9})) - pixels_of(make_radiograph())).max() > 10


def test_devices_are_bright_lines() -> None:
    bare, wired = pixels_of(make_radiograph("AP")), pixels_of(replace(make_radiograph("AP"), devices=True))
    assert (wired - bare > 20).sum() > 50
    assert (wired < bare - 1).mean() < 0.01


def test_two_images_of_one_study_show_a_sign_on_the_same_side() -> None:
    assert make_signs(4, {"Edema": 0.1}).side == make_signs(4, mimic={"Edema": 0.3}).side
    assert len({tuple(make_signs(study).side.values()) for study in range(8)}) > 1
