import numpy as np

from chex.statistics.delong import AurocInfluences
from search.analysis.best_set import best_set, cheapest

PATIENTS = 200


def trials(*aurocs: float, noise: float = 0.02, rng: np.random.Generator | None = None) -> AurocInfluences:
    """Trials whose AUROCs err independently, by `noise`."""
    rng = rng or np.random.default_rng(0)
    influence = rng.normal(0, noise / PATIENTS**0.5, (PATIENTS, len(aurocs)))
    return AurocInfluences(np.array(aurocs), influence)


def test_identical_trials_all_tie() -> None:
    one = trials(0.8)
    same = AurocInfluences(np.repeat(one.auroc, 5), np.repeat(one.influence, 5, axis=1))
    assert best_set(same, np.random.default_rng(0)).all()


def test_what_is_far_behind_is_excluded_and_the_winner_never() -> None:
    there = best_set(trials(0.7, 0.85, 0.86, 0.6), np.random.default_rng(0))
    assert there.tolist() == [False, True, True, False]


def test_one_trial_alone_may_be_the_best() -> None:
    assert best_set(trials(0.7), np.random.default_rng(0)).tolist() == [True]


def test_the_same_gap_excludes_less_where_more_trials_are_compared() -> None:
    two = best_set(trials(0.8, 0.8 + 0.055), np.random.default_rng(0))
    many = best_set(trials(*[0.8] * 40, 0.8 + 0.055), np.random.default_rng(0))
    assert not two[0]
    assert many[:40].any()


def test_the_truly_best_is_left_out_in_few_searches_where_all_are_equal() -> None:
    left_out = 0
    for search in range(200):
        rng = np.random.default_rng([3, search])
        found = trials(*[0.8] * 10, rng=rng)
        chance = AurocInfluences(found.auroc + found.influence.T @ rng.normal(size=PATIENTS), found.influence)
        left_out += not best_set(chance, rng, draws=400)[0]
    assert left_out / 200 <= 0.05


def test_the_cheapest_saw_the_fewest_images_and_of_equals_has_the_smaller_backbone() -> None:
    images = {1: 900, 2: 300, 3: 300, 4: 100}
    assert cheapest([1, 2, 3], images, {2: 50, 3: 40}) == 3
    assert cheapest([2, 3], images, {}) == 2
