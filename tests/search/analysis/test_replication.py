import math

import numpy as np
import pytest

from chex.statistics.metrics import auroc
from search.analysis.replication import Replication, analyze_replications, interval

PATIENTS = 150
SEEDS = 5


def simulated(
    rng: np.random.Generator, gains: tuple[float, ...], seed_sd: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Probabilities (C, S, U, 1), truth and patients: what an image looks like is the same for all runs."""
    truth = (rng.random((PATIENTS, 1)) < 0.3).astype(np.float32)
    shared = rng.normal(size=(PATIENTS, 1))
    runs = [
        [
            (gain + rng.normal(0, seed_sd)) * truth + 0.9 * shared + 0.4 * rng.normal(size=(PATIENTS, 1))
            for _ in range(SEEDS)
        ]
        for gain in gains
    ]
    return np.array(runs), truth, np.array([f"patient{n}" for n in range(PATIENTS)])


def judged(seed: int, gains: tuple[float, ...], seed_sd: float = 0.2) -> list[Replication]:
    rng = np.random.default_rng(seed)
    given, truth, patients = simulated(rng, gains, seed_sd)
    return analyze_replications(range(1, len(gains) + 1), given, truth, patients, rng)


def test_means_are_over_seeds_and_differences_paired() -> None:
    rng = np.random.default_rng(0)
    given, truth, patients = simulated(rng, (1.0, 1.2), 0.1)
    first, second = analyze_replications([7, 3], given, truth, patients, rng)
    aurocs = [[auroc(truth[:, 0], seed[:, 0]) for seed in runs] for runs in given]
    assert (first.trial, second.trial) == (7, 3)
    assert first.aurocs == pytest.approx(aurocs[0])
    assert first.mean == pytest.approx(np.mean(aurocs[0]))
    assert second.spread == pytest.approx(np.std(aurocs[1], ddof=1))
    assert second.difference == pytest.approx(np.mean(aurocs[1]) - np.mean(aurocs[0]))
    assert (first.difference, first.difference_low, first.difference_high) == (0, 0, 0)
    assert second.difference_high - second.difference_low < second.high - second.low


@pytest.mark.slow
def test_a_large_difference_is_seen_and_the_same_config_twice_is_hardly_ever() -> None:
    assert all(judged(seed, (1.0, 2.2))[1].differs for seed in range(10))
    assert sum(judged(seed, (1.2, 1.2))[1].differs for seed in range(60)) <= 6


def test_one_seed_has_no_spread_and_an_interval_of_its_patients_alone() -> None:
    rng = np.random.default_rng(0)
    given, truth, patients = simulated(rng, (1.0, 1.2), 0.1)
    found = analyze_replications([1, 2], given[:, :1], truth, patients, rng)
    assert math.isnan(found[1].spread)
    assert found[1].low < found[1].mean < found[1].high


def test_an_interval_widens_with_what_seeds_and_what_patients_do() -> None:
    rng = np.random.default_rng(0)
    draws = rng.normal(0, 0.01, size=1000)
    quiet = np.column_stack([np.full(SEEDS, 0.8), np.full(SEEDS, 0.8)[:, None] + draws])
    seeds = rng.normal(0, 0.02, size=(SEEDS, 1))
    widths = [high - low for _, low, high in (interval(quiet), interval(quiet + seeds), interval(quiet * 0))]
    assert widths[1] > 1.3 * widths[0] > widths[2] == 0
    assert widths[0] == pytest.approx(2 * 1.96 * 0.01, rel=0.1)
