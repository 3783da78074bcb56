import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from chex.delong import Aurocs, areas, aurocs, standard_errors
from chex.intervals import Estimate, logit_interval, score_interval
from chex.metrics import patient_weights, weighted_auroc

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


def one(truth: np.ndarray, given: np.ndarray, patients: np.ndarray | None = None) -> Estimate:
    """The AUROC of one observation and classifier, a film a patient if nothing else is said."""
    found = aurocs(truth[:, None], given[None, :, None], alone(len(truth)) if patients is None else patients)[0]
    assert found.mean == found.observations[0]
    return found.mean


def test_the_interval_is_about_the_bootstraps() -> None:
    truth, given = classifiers()
    drawn = patient_weights(alone(), np.random.default_rng(0), 1000)
    means = np.mean([weighted_auroc(truth[:, k], given[0, :, k], drawn) for k in range(2)], axis=0)
    found = aurocs(truth, given[:1], alone())[0].mean
    assert (found.low, found.high) == pytest.approx(np.percentile(means, [2.5, 97.5]).tolist(), abs=0.025)


def test_an_auroc_of_1_or_0_has_an_interval_that_depends_on_how_many_there_are() -> None:
    ends = []
    for positives, negatives in ((3, 30), (30, 30), (300, 3000)):
        truth = np.repeat([1.0, 0.0], [positives, negatives])
        best, worst = one(truth, truth), one(truth, -truth)
        assert (best.value, best.high, worst.value, worst.low) == (1, 1, 0, 0)
        assert worst.high == pytest.approx(1 - best.low)
        ends.append(best.low)
    assert 0.6 < ends[0] < 0.8 < ends[1] < 0.95 < 0.985 < ends[2] < 1
    assert ends[1] == pytest.approx(score_interval(1, 30, 30).low)


def test_an_observation_at_1_widens_the_interval_of_the_mean_by_its_own() -> None:
    truth, given = classifiers()
    given[0, :, 1] = truth[:, 1]
    found = aurocs(truth, given[:1], alone())[0]
    first, second = (estimate.value - estimate.low for estimate in found.observations)
    assert second > 0
    assert found.mean.value - found.mean.low == pytest.approx(np.hypot(first, second) / 2)


def test_one_positive_leaves_a_wide_interval() -> None:
    truth, given = np.eye(1, 100)[0], np.linspace(0.9, 0.1, 100)
    found = one(truth, given)
    assert found.value == 1
    assert found.low < 0.5


def test_films_of_one_patient_widen_the_interval_also_at_1() -> None:
    truth, given = classifiers()
    labels, scores = np.repeat(truth[:, 0], 4), np.repeat(given[0, :, 0], 4)
    patients = np.repeat(alone(), 4)
    assert one(labels, scores, patients) == one(truth[:, 0], given[0, :, 0])
    assert one(labels, labels, patients).low == one(truth[:, 0], truth[:, 0]).low < one(labels, labels).low


def test_what_is_defined_for_no_observation_is_nan() -> None:
    found = aurocs(np.zeros((4, 1)), np.ones((1, 4, 1)), alone(4))
    assert np.isnan([found[0].mean.value, found[0].mean.low, found[0].observations[0].high]).all()
    assert isinstance(found[0], Aurocs)


@pytest.mark.parametrize(("auroc", "films", "prevalence"), [(0.76, 120, 0.33), (0.95, 200, 0.05), (0.99, 120, 0.3)])
def test_the_interval_holds_the_truth_as_often_as_it_says(auroc: float, films: int, prevalence: float) -> None:
    rng, held = np.random.default_rng(0), []
    for _ in range(300):
        truth = (rng.permutation(films) < prevalence * films).astype(float)
        noise = np.repeat(rng.normal(size=films // 2), 2) + rng.normal(size=films)
        found = one(truth, norm.ppf(auroc) * 2 * truth + noise, np.repeat(alone(films // 2), 2))
        held.append(found.low <= auroc <= found.high)
    assert np.mean(held) > 0.93


def test_the_logit_interval_stays_below_1() -> None:
    near = logit_interval(0.98, 0.01)
    assert 0.9 < near.low < 0.98 < near.high < 1


def test_newcombes_interval_is_the_published_one() -> None:
    """Against the equation of the paper, solved here by looking at all AUROCs."""
    ends = np.linspace(1e-6, 1 - 1e-6, 1_000_001)
    mean = (12 + 40) / 2 - 1
    errors = np.sqrt(ends * (1 - ends) * (1 + mean * (1 - ends) / (2 - ends) + mean * ends / (1 + ends)) / (12 * 40))
    inside = ends[np.abs(ends - 0.85) <= norm.ppf(0.975) * errors]
    found = score_interval(0.85, 12, 40)
    assert (found.low, found.high) == pytest.approx((inside[0], inside[-1]), abs=1e-5)


def test_one_positive_says_nothing_of_other_positives() -> None:
    truth = np.zeros((10, 1))
    truth[0] = 1
    given = np.linspace(0.9, 0.1, 10)[None, :, None].copy()
    given[0, 0] = 0.55
    found = areas(truth, given, alone(10), [0])
    assert found.influence[0, 0] == 0
    assert np.isfinite(standard_errors(found)).all()
