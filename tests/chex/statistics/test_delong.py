import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from chex.statistics.delong import AurocIntervals, auroc_influences, auroc_intervals, standard_errors
from chex.statistics.intervals import Estimate, logit_interval, score_interval
from chex.statistics.metrics import patient_weights, weighted_auroc

UNITS = 120


def classifiers(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Truth (UNITS, 2) and three classifiers' probabilities (3, UNITS, 2), some of them tied."""
    rng = np.random.default_rng(seed)
    truth = (rng.random((UNITS, 2)) < 0.3).astype(float)
    return truth, np.round(truth * 0.2 + rng.random((3, UNITS, 2)), 1)


def patient_each(units: int = UNITS) -> np.ndarray:
    return np.arange(units).astype(str)


def test_a_case_computed_by_hand() -> None:
    truth = np.array([[1.0], [1.0], [0.0], [0.0], [0.0]])
    probability = np.array([[[0.9], [0.4], [0.5], [0.2], [0.4]]])
    found = auroc_influences(truth, probability, patient_each(5), [0])
    # Positives are above 3/3 and 1.5/3 of the negatives, negatives below 1/2, 2/2 and 1.5/2 of the positives.
    assert found.auroc[0] == pytest.approx(0.75)
    assert standard_errors(found)[0] ** 2 == pytest.approx(0.125 / 2 + 0.0625 / 3)


def test_aurocs_agree_with_scikit_learn_and_average_over_observations() -> None:
    truth, probability = classifiers()
    each = [[roc_auc_score(truth[:, k], one[:, k]) for k in range(2)] for one in probability]
    np.testing.assert_allclose(
        auroc_influences(truth, probability, patient_each(), [0, 1]).auroc, np.mean(each, axis=1)
    )
    np.testing.assert_allclose(auroc_influences(truth, probability, patient_each(), [1]).auroc, np.array(each)[:, 1])


def test_unscored_units_change_nothing() -> None:
    truth, probability = classifiers()
    truth[::5] = np.nan
    scored = ~np.isnan(truth[:, 0])
    whole, part = (
        auroc_influences(truth, probability, patient_each(), [0]),
        auroc_influences(truth[scored], probability[:, scored], patient_each(scored.sum()), [0]),
    )
    np.testing.assert_allclose(whole.auroc, part.auroc)
    np.testing.assert_allclose(standard_errors(whole), standard_errors(part))


@pytest.mark.parametrize("a_patient", [1, 3])
def test_the_standard_error_agrees_with_the_jackknife_over_patients(a_patient: int) -> None:
    truth, probability = classifiers()
    patients = (np.arange(UNITS) // a_patient).astype(str)
    left_out = [
        auroc_influences(
            truth[patients != name], probability[:, patients != name], patients[patients != name], [0, 1]
        ).auroc
        for name in np.unique(patients)
    ]
    count = len(left_out)
    jackknife = np.sqrt((count - 1) * np.var(left_out, axis=0))
    np.testing.assert_allclose(
        standard_errors(auroc_influences(truth, probability, patients, [0, 1])), jackknife, rtol=0.03
    )


def test_repeated_units_of_a_patient_do_not_shrink_the_standard_error() -> None:
    truth, probability = classifiers()
    twice = auroc_influences(np.tile(truth, (2, 1)), np.tile(probability, (1, 2, 1)), np.tile(patient_each(), 2), [0])
    np.testing.assert_allclose(
        standard_errors(twice), standard_errors(auroc_influences(truth, probability, patient_each(), [0]))
    )
    as_strangers = auroc_influences(
        np.tile(truth, (2, 1)), np.tile(probability, (1, 2, 1)), patient_each(2 * UNITS), [0]
    )
    assert (standard_errors(as_strangers) < 0.75 * standard_errors(twice)).all()


def test_a_bootstrap_is_close_to_the_product_of_draws_and_influences() -> None:
    truth, probability = classifiers()
    drawn = patient_weights(patient_each(), np.random.default_rng(0), 300)
    names = np.unique(patient_each())
    found = auroc_influences(truth, probability, patient_each(), [0])
    exact = weighted_auroc(truth[:, 0], probability[0, :, 0], drawn)
    by_name = drawn[:, [int(name) for name in names]]
    linear = found.auroc[0] + (by_name - 1) @ found.influence[:, 0]
    assert np.corrcoef(exact, linear)[0, 1] > 0.98
    assert np.abs(exact - linear).mean() < 0.2 * exact.std()


def one(truth: np.ndarray, probability: np.ndarray, patients: np.ndarray | None = None) -> Estimate:
    """Returns the AUROC of one observation and classifier; by default each unit is of another patient."""
    found = auroc_intervals(
        truth[:, None], probability[None, :, None], patient_each(len(truth)) if patients is None else patients
    )[0]
    assert found.mean == found.observations[0]
    return found.mean


def test_the_interval_is_close_to_that_of_the_bootstrap() -> None:
    truth, probability = classifiers()
    drawn = patient_weights(patient_each(), np.random.default_rng(0), 1000)
    means = np.mean([weighted_auroc(truth[:, k], probability[0, :, k], drawn) for k in range(2)], axis=0)
    found = auroc_intervals(truth, probability[:1], patient_each())[0].mean
    assert (found.low, found.high) == pytest.approx(np.percentile(means, [2.5, 97.5]).tolist(), abs=0.025)


def test_the_interval_of_an_auroc_of_1_or_0_depends_on_the_class_sizes() -> None:
    ends = []
    for positives, negatives in ((3, 30), (30, 30), (300, 3000)):
        truth = np.repeat([1.0, 0.0], [positives, negatives])
        best, worst = one(truth, truth), one(truth, -truth)
        assert (best.value, best.high, worst.value, worst.low) == (1, 1, 0, 0)
        assert worst.high == pytest.approx(1 - best.low)
        ends.append(best.low)
    assert 0.6 < ends[0] < 0.8 < ends[1] < 0.95 < 0.985 < ends[2] < 1
    assert ends[1] == pytest.approx(score_interval(1, 30, 30).low)


def test_the_interval_of_the_mean_includes_that_of_an_observation_at_1() -> None:
    truth, probability = classifiers()
    probability[0, :, 1] = truth[:, 1]
    found = auroc_intervals(truth, probability[:1], patient_each())[0]
    first, second = (estimate.value - estimate.low for estimate in found.observations)
    assert second > 0
    assert found.mean.value - found.mean.low == pytest.approx(np.hypot(first, second) / 2)


def test_one_positive_leaves_a_wide_interval() -> None:
    truth, probability = np.eye(1, 100)[0], np.linspace(0.9, 0.1, 100)
    found = one(truth, probability)
    assert found.value == 1
    assert found.low < 0.5


def test_several_units_a_patient_widen_the_interval_also_at_1() -> None:
    truth, probability = classifiers()
    labels, scores = np.repeat(truth[:, 0], 4), np.repeat(probability[0, :, 0], 4)
    patients = np.repeat(patient_each(), 4)
    assert one(labels, scores, patients) == one(truth[:, 0], probability[0, :, 0])
    assert one(labels, labels, patients).low == one(truth[:, 0], truth[:, 0]).low < one(labels, labels).low


def test_a_mean_without_defined_observations_is_nan() -> None:
    found = auroc_intervals(np.zeros((4, 1)), np.ones((1, 4, 1)), patient_each(4))
    assert np.isnan([found[0].mean.value, found[0].mean.low, found[0].observations[0].high]).all()
    assert isinstance(found[0], AurocIntervals)


@pytest.mark.parametrize(("auroc", "units", "prevalence"), [(0.76, 120, 0.33), (0.95, 200, 0.05), (0.99, 120, 0.3)])
def test_the_interval_covers_the_truth_in_95_percent_of_simulations(
    auroc: float, units: int, prevalence: float
) -> None:
    rng, covered = np.random.default_rng(0), []
    for _ in range(300):
        truth = (rng.permutation(units) < prevalence * units).astype(float)
        noise = np.repeat(rng.normal(size=units // 2), 2) + rng.normal(size=units)
        found = one(truth, norm.ppf(auroc) * 2 * truth + noise, np.repeat(patient_each(units // 2), 2))
        covered.append(found.low <= auroc <= found.high)
    assert np.mean(covered) > 0.93


def test_the_logit_interval_stays_below_1() -> None:
    near = logit_interval(0.98, 0.01)
    assert 0.9 < near.low < 0.98 < near.high < 1


def test_newcombes_interval_agrees_with_the_published_one() -> None:
    """Against the equation of the paper, solved here by looking at all AUROCs."""
    ends = np.linspace(1e-6, 1 - 1e-6, 1_000_001)
    mean = (12 + 40) / 2 - 1
    errors = np.sqrt(ends * (1 - ends) * (1 + mean * (1 - ends) / (2 - ends) + mean * ends / (1 + ends)) / (12 * 40))
    inside = ends[np.abs(ends - 0.85) <= norm.ppf(0.975) * errors]
    found = score_interval(0.85, 12, 40)
    assert (found.low, found.high) == pytest.approx((inside[0], inside[-1]), abs=1e-5)


def test_a_single_positive_has_no_influence() -> None:
    truth = np.zeros((10, 1))
    truth[0] = 1
    probability = np.linspace(0.9, 0.1, 10)[None, :, None].copy()
    probability[0, 0] = 0.55
    found = auroc_influences(truth, probability, patient_each(10), [0])
    assert found.influence[0, 0] == 0
    assert np.isfinite(standard_errors(found)).all()
