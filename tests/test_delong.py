import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from chex.metrics import auroc_interval, patient_weights, weighted_auroc
from search.delong import areas, bounded, standard_errors

FILMS = 120


def classifiers(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Truth (FILMS, 2) and three classifiers' probabilities (3, FILMS, 2), some of them tied."""
    rng = np.random.default_rng(seed)
    truth = (rng.random((FILMS, 2)) < 0.3).astype(float)
    return truth, np.round(truth * 0.2 + rng.random((3, FILMS, 2)), 1)


def alone(films: int = FILMS) -> np.ndarray:
    return np.arange(films).astype(str)


def test_a_case_computed_by_hand() -> None:
    truth = np.array([[1.0], [1.0], [0.0], [0.0], [0.0]])
    given = np.array([[[0.9], [0.4], [0.5], [0.2], [0.4]]])
    found = areas(truth, given, alone(5), [0])
    # Positives are above 3/3 and 1.5/3 of the negatives, negatives below 1/2, 2/2 and 1.5/2 of the positives.
    assert found.auroc[0] == pytest.approx(0.75)
    assert standard_errors(found)[0] ** 2 == pytest.approx(0.125 / 2 + 0.0625 / 3)


def test_areas_are_sklearns_and_the_mean_over_observations() -> None:
    truth, given = classifiers()
    each = [[roc_auc_score(truth[:, k], one[:, k]) for k in range(2)] for one in given]
    np.testing.assert_allclose(areas(truth, given, alone(), [0, 1]).auroc, np.mean(each, axis=1))
    np.testing.assert_allclose(areas(truth, given, alone(), [1]).auroc, np.array(each)[:, 1])


def test_unscored_films_change_nothing() -> None:
    truth, given = classifiers()
    truth[::5] = np.nan
    scored = ~np.isnan(truth[:, 0])
    whole, part = areas(truth, given, alone(), [0]), areas(truth[scored], given[:, scored], alone(scored.sum()), [0])
    np.testing.assert_allclose(whole.auroc, part.auroc)
    np.testing.assert_allclose(standard_errors(whole), standard_errors(part))


@pytest.mark.parametrize("a_patient", [1, 3])
def test_the_standard_error_is_the_jackknifes_over_patients(a_patient: int) -> None:
    truth, given = classifiers()
    patients = (np.arange(FILMS) // a_patient).astype(str)
    left_out = [
        areas(truth[patients != name], given[:, patients != name], patients[patients != name], [0, 1]).auroc
        for name in np.unique(patients)
    ]
    count = len(left_out)
    jackknife = np.sqrt((count - 1) * np.var(left_out, axis=0))
    np.testing.assert_allclose(standard_errors(areas(truth, given, patients, [0, 1])), jackknife, rtol=0.03)


def test_films_that_repeat_a_patient_tell_nothing_new() -> None:
    truth, given = classifiers()
    twice = areas(np.tile(truth, (2, 1)), np.tile(given, (1, 2, 1)), np.tile(alone(), 2), [0])
    np.testing.assert_allclose(standard_errors(twice), standard_errors(areas(truth, given, alone(), [0])))
    as_strangers = areas(np.tile(truth, (2, 1)), np.tile(given, (1, 2, 1)), alone(2 * FILMS), [0])
    assert (standard_errors(as_strangers) < 0.75 * standard_errors(twice)).all()


def test_a_bootstrap_is_the_product_of_draws_and_influences() -> None:
    truth, given = classifiers()
    drawn = patient_weights(alone(), np.random.default_rng(0), 300)
    names = np.unique(alone())
    found = areas(truth, given, alone(), [0])
    exact = weighted_auroc(truth[:, 0], given[0, :, 0], drawn)
    by_name = drawn[:, [int(name) for name in names]]
    linear = found.auroc[0] + (by_name - 1) @ found.influence[:, 0]
    assert np.corrcoef(exact, linear)[0, 1] > 0.98
    assert np.abs(exact - linear).mean() < 0.2 * exact.std()


def test_the_interval_is_about_the_bootstraps_and_stays_below_1() -> None:
    truth, given = classifiers()
    found = areas(truth, given, alone(), [0, 1])
    interval = bounded(found.auroc[0], standard_errors(found)[0])
    low, high = auroc_interval(truth, given[0], alone(), np.random.default_rng(0))
    assert interval.low == pytest.approx(low, abs=0.02)
    assert interval.high == pytest.approx(high, abs=0.02)
    near = bounded(0.98, 0.01)
    assert 0.9 < near.low < 0.98 < near.high < 1
    assert bounded(1.0, 0.0).low == 1


def test_one_positive_says_nothing_of_other_positives() -> None:
    truth = np.zeros((10, 1))
    truth[0] = 1
    given = np.linspace(0.9, 0.1, 10)[None, :, None].copy()
    given[0, 0] = 0.55
    found = areas(truth, given, alone(10), [0])
    assert found.influence[0, 0] == 0
    assert np.isfinite(standard_errors(found)).all()
