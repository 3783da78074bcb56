import numpy as np
import pytest

from search.analysis.effect_draws import draw_terms
from search.analysis.trial_model import fit_trial_model
from search.analysis.trial_terms import Term

TRIALS = 80
BETTER = 0.04


def search(rng: np.random.Generator, observations: int = 2, effect: float = BETTER) -> tuple[np.ndarray, list[Term]]:
    """AUROCs of a search that pruned the worse half after the first of two stages, and what it varied.

    `ones` is better than `zeros` by `effect` for the first observation, and by three quarters of it at the first stage.
    """
    ones, rate = rng.random(TRIALS) < 0.5, rng.random(TRIALS)
    common = 0.03 * rate + rng.normal(0, 0.008, TRIALS)
    aurocs = np.empty((TRIALS, 2, observations))
    for stage, (share, level) in enumerate(((0.75, 0.7), (1.0, 0.8))):
        for k in range(observations):
            aurocs[:, stage, k] = level + common + share * effect * ones * (k == 0) + rng.normal(0, 0.008, TRIALS)
    aurocs[:, 1] += 0.5 * (
        aurocs[:, 0] - aurocs[:, 0].mean(axis=0) - 0.75 * effect * ones[:, None] * [1, 0][:observations]
    )
    mean = aurocs[:, 0].mean(axis=1)
    aurocs[mean < np.median(mean), 1] = np.nan
    terms = [
        Term("policy.Edema", "zeros", 0, (~ones).astype(float)),
        Term("policy.Edema", "ones", 0, ones.astype(float)),
        Term("optimizer.lr", "", None, rate - rate.mean()),
    ]
    return aurocs, terms


def difference(aurocs: np.ndarray, terms: list[Term], patients: float = 0.0) -> np.ndarray:
    """Draws of what `ones` is better by than `zeros`."""
    observations = aurocs.shape[2]
    covariance = np.zeros((observations + 3, observations + 3))
    covariance[observations + 1, observations + 1] = patients**2
    drawn = draw_terms(fit_trial_model(aurocs, terms), covariance, np.random.default_rng(0), draws=400)
    return drawn.values[:, 1] - drawn.values[:, 0]


def test_pruned_trials_count_so_that_the_effect_is_not_too_small() -> None:
    found, naive = [], []
    for seed in range(6):
        aurocs, terms = search(np.random.default_rng(seed))
        finished, ones = ~np.isnan(aurocs[:, 1, 0]), terms[1].column == 1
        naive.append(aurocs[finished & ones, 1, 0].mean() - aurocs[finished & ~ones, 1, 0].mean())
        found.append(difference(aurocs, terms).mean())
    assert np.mean(naive) < 0.034
    assert np.mean(found) == pytest.approx(BETTER, abs=0.005)


def test_a_number_has_its_slope() -> None:
    aurocs, terms = search(np.random.default_rng(0))
    drawn = draw_terms(fit_trial_model(aurocs, terms), np.zeros((5, 5)), np.random.default_rng(0), draws=400)
    assert drawn.values[:, 2].mean() == pytest.approx(0.03 * 1.25, abs=0.02)
    assert drawn.means.shape == (400, 2)


def test_without_an_effect_the_draws_are_on_both_sides_of_zero() -> None:
    share = (difference(*search(np.random.default_rng(3), effect=0.0)) > 0).mean()
    assert 0.02 < share < 0.98


def test_one_observation_and_one_stage_are_enough() -> None:
    aurocs, terms = search(np.random.default_rng(1), observations=1)
    assert difference(aurocs[:, :1], terms).mean() == pytest.approx(0.75 * BETTER, abs=0.01)


def test_the_sample_of_patients_widens_the_draws() -> None:
    aurocs, terms = search(np.random.default_rng(2))
    assert difference(aurocs, terms, patients=0.03).std() > 1.5 * difference(aurocs, terms).std()


def test_the_same_seed_gives_the_same_draws() -> None:
    aurocs, terms = search(np.random.default_rng(2))
    assert (difference(aurocs, terms) == difference(aurocs, terms)).all()


def test_a_pruned_trial_is_expected_to_rise_as_the_others_did_and_a_finished_one_is_where_it_is() -> None:
    aurocs, terms = search(np.random.default_rng(4))
    expected, pruned = fit_trial_model(aurocs, terms).final_aurocs, np.isnan(aurocs[:, 1, 0])
    assert expected[~pruned] == pytest.approx(aurocs[~pruned, 1].mean(axis=1), abs=0.001)
    rise = expected[pruned] - aurocs[pruned, 0].mean(axis=1)
    assert rise.mean() == pytest.approx(0.1, abs=0.01)
    assert expected[pruned].mean() < expected[~pruned].mean()
