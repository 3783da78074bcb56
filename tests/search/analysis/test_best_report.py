"""What `chex train` says of the best of its reports: its AUROC where it was chosen, and what to expect elsewhere."""

import numpy as np

from chex.statistics.delong import auroc_intervals
from chex.training.train import best_of_reports

PATIENTS = np.arange(120).astype(str)


def reports(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Truth (U, 1) and the probabilities (R, U, 1) of reports that are all equally good: AUROC .76."""
    truth = (np.arange(120) % 3 == 0).astype(float)[:, None]
    return truth, truth + rng.normal(size=(count, 120, 1))


def test_the_best_of_many_reports_is_expected_to_be_worse_than_it_was_seen() -> None:
    seen, new = [], []
    for run in range(40):
        rng = np.random.default_rng(run)
        truth, given = reports(rng, 10)
        found, expected = best_of_reports(truth, given, PATIENTS, rng)
        seen.append(found.value)
        new.append(expected.value)
        assert expected.low < expected.value <= found.value
        assert found.value - found.low <= expected.value - expected.low + 1e-12
    assert np.mean(seen) > 0.76 + 0.04
    assert abs(np.mean(new) - 0.76) < 0.02


def test_one_report_is_not_corrected() -> None:
    truth, given = reports(np.random.default_rng(0), 1)
    seen, new = best_of_reports(truth, given, PATIENTS, np.random.default_rng(0))
    assert seen == auroc_intervals(truth, given, PATIENTS)[0].mean
    assert abs(new.value - seen.value) < 0.01
