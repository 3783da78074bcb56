import numpy as np
import pytest

from chex.cohort.sampling import sample_rows
from chex.cohort.sampling_config import SamplingConfig
from chex.errors import InputError
from chex.uncertainty.targets import Targets


def cells(positive: int, negative: int, ignored: int = 0) -> Targets:
    values = np.array([1.0] * positive + [0.0] * (negative + ignored), dtype=np.float32)[:, None]
    weights = np.array([1.0] * (positive + negative) + [0.0] * ignored, dtype=np.float32)[:, None]
    return Targets(values, weights, np.zeros_like(values))


def sample(targets: Targets, seed: int = 0, rows: np.ndarray | None = None, **config: object) -> np.ndarray:
    """Samples from targets with two rows per patient."""
    count = len(targets.values)
    patients = np.array([f"patient{row // 2:05d}" for row in range(count)])
    every = np.arange(count) if rows is None else rows
    return sample_rows(targets, every, patients, SamplingConfig.model_validate(config), np.random.default_rng(seed))


def test_without_settings_every_row_is_used_once() -> None:
    np.testing.assert_array_equal(sample(cells(3, 7)), np.arange(10))


def test_rows_in_which_nothing_has_weight_are_left_out() -> None:
    np.testing.assert_array_equal(sample(cells(3, 4, ignored=5)), np.arange(7))


@pytest.mark.parametrize(
    ("rows", "fraction", "count"), [(5, 0.5, 2), (7, 0.5, 4), (10, 0.25, 2), (223_414, 0.3, 67_024)]
)
def test_a_fraction_rounds_halves_to_even(rows: int, fraction: float, count: int) -> None:
    chosen = sample(cells(rows, 0), fraction=fraction)
    assert len(chosen) == count
    assert len(np.unique(chosen)) == count


def test_oversampling_repeats_the_smaller_class_until_both_are_equal() -> None:
    chosen = sample(cells(20, 80), balance="oversample")
    assert len(chosen) == 160
    assert (chosen < 20).sum() == 80
    assert set(chosen) == set(range(100))


def test_undersampling_drops_the_larger_class_until_both_are_equal() -> None:
    chosen = sample(cells(20, 80), balance="undersample")
    assert len(chosen) == len(set(chosen)) == 40
    assert (chosen < 20).sum() == 20


def test_oversampling_cardiomegaly_of_the_published_counts_gives_392828_rows() -> None:
    assert len(sample(cells(27_000, 196_414), balance="oversample")) == 392_828


def test_the_fraction_is_taken_of_the_balanced_rows() -> None:
    chosen = sample(cells(27_000, 196_414), balance="oversample", fraction=0.3)
    assert len(chosen) == 117_848
    assert abs((chosen < 27_000).mean() - 0.5) < 0.01


def test_only_rows_of_the_split_are_sampled_and_balanced() -> None:
    chosen = sample(cells(20, 80), rows=np.arange(10, 60), balance="oversample")
    assert set(chosen) == set(range(10, 60))
    assert (chosen < 20).sum() == (chosen >= 20).sum() == 40


@pytest.mark.parametrize(("fraction", "patients"), [(0.5, 25), (0.25, 12), (0.01, 0), (1.0, 50)])
def test_a_fraction_by_patient_takes_all_images_of_that_share_of_the_patients(fraction: float, patients: int) -> None:
    if not patients:
        with pytest.raises(InputError, match=r"sampling.fraction: 0.01 of 100 training rows leaves 0"):
            sample(cells(50, 50), by="patient", fraction=fraction)
        return
    chosen = sample(cells(50, 50), by="patient", fraction=fraction)
    assert len(chosen) == 2 * patients
    assert len(set(chosen // 2)) == patients


def test_repeats_of_a_balanced_row_stay_together_when_patients_are_drawn() -> None:
    chosen = sample(cells(20, 80), balance="oversample", by="patient", fraction=0.5)
    assert len(set(chosen // 2)) == 25
    assert all((chosen // 2 == patient).sum() >= 2 for patient in set(chosen // 2))


@pytest.mark.parametrize("by", ["image", "patient"])
@pytest.mark.parametrize("balance", ["none", "oversample", "undersample"])
def test_the_same_seed_gives_the_same_rows_and_another_does_not(balance: str, by: str) -> None:
    first, again, other = (sample(cells(30, 70), seed, balance=balance, by=by, fraction=0.5) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("by", ["image", "patient"])
@pytest.mark.parametrize("balance", ["none", "oversample", "undersample"])
def test_a_smaller_fraction_takes_part_of_a_larger_ones_rows(balance: str, by: str) -> None:
    some, more = (sample(cells(30, 70), balance=balance, by=by, fraction=fraction) for fraction in (0.3, 0.6))
    assert all((some == row).sum() <= (more == row).sum() for row in set(some))


def test_runs_of_one_seed_share_rows_across_policies() -> None:
    every, certain = (sample(cells(30, 40 + rest, ignored=30 - rest), fraction=0.5) for rest in (30, 0))
    fewer, more = sorted([set(every[every < 70]), set(certain)], key=len)
    assert fewer <= more


def test_repeats_of_a_row_are_drawn_independently() -> None:
    chosen = sample(cells(20, 80), balance="oversample", fraction=0.5)
    times = np.bincount(chosen, minlength=100)[:20]
    assert len(set(times)) > 1
    assert times.min() > 0


def test_balancing_several_observations_is_refused() -> None:
    cell = np.zeros((4, 2), np.float32)
    several = Targets(cell, cell + 1, cell)
    with pytest.raises(
        InputError, match=r"sampling.balance: 'oversample' balances one observation, and data.observations names 2"
    ):
        sample(several, balance="oversample")


def test_balancing_one_class_is_refused() -> None:
    with pytest.raises(
        InputError, match=r"sampling.balance: 'undersample' needs both classes, and all 5 training rows are neg"
    ):
        sample(cells(0, 5), balance="undersample")


def test_a_fraction_that_leaves_nothing_is_refused() -> None:
    with pytest.raises(
        InputError, match=r"sampling.fraction: 0.1 of 10 training rows leaves 1; a run needs at least 2"
    ):
        sample(cells(5, 5), fraction=0.1)
