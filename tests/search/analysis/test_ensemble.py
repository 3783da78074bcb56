import numpy as np
import pytest

from chex.statistics.metrics import auroc, weighted_auroc
from search.analysis.ensemble import Reports, chosen_by, ensemble, gains_out_of_bag, mean_aurocs, mean_report_auroc

FILMS = 90


def reports(seed: int = 0, count: int = 6) -> Reports:
    """Reports of three trials, each wrong in its own way."""
    rng = np.random.default_rng(seed)
    truth = (rng.random((FILMS, 2)) < 0.4).astype(float)
    given = (0.3 * truth + 0.7 * rng.random((count, FILMS, 2))).astype(np.float32)
    trials = np.sort(np.arange(count) % 3 + 1)
    return Reports(truth, given, trials, np.arange(count) * 10, (np.arange(FILMS) // 2).astype(str))


@pytest.mark.parametrize("decimals", [1, 7])
def test_areas_of_many_are_those_of_each_with_ties_and_counts(decimals: int) -> None:
    given = reports()
    scores, times = np.round(given.probability, decimals), np.random.default_rng(1).integers(0, 4, FILMS).astype(float)
    found = mean_aurocs(given.truth, scores, times)
    for place, own in enumerate(scores):
        each = [weighted_auroc(given.truth[:, k], own[:, k], times[None])[0] for k in range(2)]
        assert found[place] == pytest.approx(np.mean(each))


def test_what_has_one_class_is_left_out_and_nothing_is_nan() -> None:
    given = reports()
    truth = given.truth.copy()
    truth[:, 1] = 0
    np.testing.assert_allclose(
        mean_aurocs(truth, given.probability, np.ones(FILMS)),
        [auroc(truth[:, 0], own[:, 0]) for own in given.probability],
    )
    assert np.isnan(mean_aurocs(truth[:, 1:], given.probability[:, :, 1:], np.ones(FILMS))).all()


def test_the_greedy_ensemble_starts_with_the_winner_and_scores_more_where_it_was_chosen() -> None:
    given, whole = reports(), np.ones(FILMS)
    members, _ = chosen_by(given, whole)
    alone = mean_aurocs(given.truth, given.probability, whole)
    assert members[0] == int(np.argmax(alone))
    assert len(set(members)) > 1
    assert mean_report_auroc(given, members, whole) > alone.max()


def test_a_report_that_is_right_is_joined_by_none() -> None:
    given = reports()
    given.probability[4] = given.truth
    assert chosen_by(given, np.ones(FILMS))[0] == [4]


def test_an_ensemble_never_chooses_on_films_out_of_the_bag() -> None:
    given, times = reports(), np.repeat([0.0, 2.0, 1.0], FILMS // 3)
    changed = Reports(
        np.where(times[:, None] == 0, 1 - given.truth, given.truth),
        np.where(times[None, :, None] == 0, 1 - given.probability**2, given.probability),
        given.trials,
        given.images,
        given.patients,
    )
    assert chosen_by(changed, times) == chosen_by(given, times)


def test_a_gain_is_scored_on_films_out_of_the_bag_alone() -> None:
    given, times = reports(), np.repeat([0.0, 2.0, 1.0], FILMS // 3)
    members, top = chosen_by(given, times)
    out = (times == 0).astype(float)
    gain = mean_report_auroc(given, members, out) - mean_report_auroc(given, top[:1], out)
    assert gains_out_of_bag(given, times)[0] == pytest.approx(gain)
    assert np.isnan(gains_out_of_bag(given, np.ones(FILMS))).all()


def test_the_plain_average_takes_one_report_of_each_of_the_best_trials() -> None:
    given = reports()
    _, top = chosen_by(given, np.ones(FILMS))
    assert sorted(given.trials[top]) == [1, 2, 3]
    alone = mean_aurocs(given.truth, given.probability, np.ones(FILMS))
    assert list(alone[top]) == sorted(alone[top], reverse=True)


def test_of_noise_an_ensemble_gains_nothing_that_lasts() -> None:
    rng = np.random.default_rng(3)
    given = reports(count=30)
    noise = Reports(given.truth, rng.random(given.probability.shape, dtype=np.float32), *_rest(given))
    heard: list[tuple[int, int]] = []
    found = ensemble(noise, rng, lambda bag, of: heard.append((bag, of)))
    assert sum(member.weight for member in found.members) == pytest.approx(1)
    assert found.auroc > 0.6
    assert found.gain.low < 0 < found.gain.high
    assert abs(found.gain.value) < 0.05
    assert heard == [(bag, 60) for bag in range(60)]
    assert found.top == 3


def _rest(given: Reports) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return given.trials, given.images, given.patients
