"""The choice of a search made again in bags of patients: searches of normal scores, whose true AUROCs are known."""

import numpy as np
import pytest
from scipy.stats import norm

from chex.statistics.bootstrap import TIGHT, bootstrap_scores, draw_bootstrap
from chex.statistics.delong import AurocInfluences, auroc_influences, standard_errors
from chex.statistics.intervals import Estimate, logit_interval
from search.analysis.selection import choose
from search.analysis.selection_bootstrap import debiased_auroc

TRIALS, REPORTS, PATIENTS = 20, 2, 100
RNG = np.random.default_rng


def simulated(rng: np.random.Generator, auroc: float = 0.8) -> AurocInfluences:
    """A search in which every report of every trial has the same true AUROC."""
    truth = (np.arange(PATIENTS) % 3 == 0).astype(float)[:, None]
    noise = rng.normal(size=PATIENTS) + rng.normal(size=(TRIALS * REPORTS, PATIENTS))
    given = 2 * norm.ppf(auroc) * truth[:, 0] + noise
    return auroc_influences(truth, given[:, :, None], np.arange(PATIENTS).astype(str), [0])


def expected(found: AurocInfluences, rng: np.random.Generator, trials: np.ndarray, seen: Estimate) -> Estimate:
    """The winner's on other patients."""
    metric = bootstrap_scores("mean", found, draw_bootstrap(len(found.influence), rng))
    return debiased_auroc(metric, trials, seen)


def seen_at(found: AurocInfluences) -> Estimate:
    """The winner where it was chosen."""
    best = int(np.argmax(found.auroc))
    return logit_interval(found.auroc[best], standard_errors(found)[best])


def test_a_winner_at_1_is_expected_to_be_no_surer_than_it_was_seen() -> None:
    perfect = AurocInfluences(np.ones(2), np.zeros((PATIENTS, 2)))
    figure = expected(perfect, RNG(0), np.array([1, 2]), Estimate(1, 0.96, 1))
    assert figure == Estimate(1, 0.96, 1)


def test_the_winner_is_too_good_by_what_the_correction_takes_away() -> None:
    trials = np.repeat(np.arange(1, TRIALS + 1), REPORTS)
    naive, right, covered = [], [], []
    for search in range(60):
        rng = RNG([1, search])
        found = simulated(rng)
        naive.append(found.auroc[choose(found.auroc[None], trials).winner[0]] - 0.8)
        figure = expected(found, rng, trials, seen_at(found))
        right.append(figure.value - 0.8)
        covered.append(figure.low <= 0.8 <= figure.high)
    assert np.mean(naive) > 0.05
    assert abs(np.mean(right)) < np.mean(naive) / 2
    assert np.mean(covered) > 0.9


def test_a_search_of_one_report_has_nothing_to_correct() -> None:
    found = simulated(RNG(0)).select(np.array([0]))
    figure = expected(found, RNG(0), np.array([1]), seen_at(found))
    error = standard_errors(found)[0]
    assert figure.value == pytest.approx(found.auroc[0], abs=4 * error / TIGHT / 1000**0.5)
    assert figure.low < found.auroc[0] < figure.high


def test_a_clear_winner_is_chosen_in_every_bag_and_hardly_corrected() -> None:
    found = simulated(RNG(0))
    clear = AurocInfluences(np.where(np.arange(len(found.auroc)) == 7, 0.99, found.auroc - 0.3), found.influence)
    trials = np.repeat(np.arange(1, TRIALS + 1), REPORTS)
    assert expected(clear, RNG(0), trials, seen_at(clear)).value == pytest.approx(0.99, abs=0.02)


def test_what_is_chosen_by_and_what_is_scored_by_have_uncorrelated_errors() -> None:
    inside, outside = [], []
    for sample in range(2000):  # patients are drawn anew, as in life, and then a bag of them
        rng = RNG([2, sample])
        influence = rng.normal(size=(PATIENTS, 1)) / PATIENTS
        found = bootstrap_scores(
            "mean",
            AurocInfluences(influence.sum(axis=0), influence - influence.mean(axis=0)),
            draw_bootstrap(PATIENTS, rng, 1),
        )
        inside.append(found.selection(TIGHT)[0, 0])
        outside.append(found.evaluation(np.zeros(1, dtype=int), TIGHT)[0])
    assert abs(np.corrcoef(inside, outside)[0, 1]) < 0.06


def test_bags_hold_as_many_patients_as_there_are() -> None:
    drawn = draw_bootstrap(30, RNG(0), 50)
    assert drawn.shape == (50, 30)
    assert (drawn.sum(axis=1) == 30).all()
    assert (drawn == 0).any()
