import numpy as np
import pytest

from chex.statistics.metrics import auroc
from search.analysis.trial_aurocs import TrialAurocs, trial_aurocs

FILMS, PATIENTS = 300, 150
TRIALS = [(3, 500), (7, 900)]


def figures(seed: int = 0) -> tuple[tuple[TrialAurocs, ...], np.ndarray, np.ndarray]:
    """Figures of two trials on three observations, the second of which nobody has."""
    rng = np.random.default_rng(seed)
    truth = (rng.random((FILMS, 3)) < 0.3).astype(float)
    truth[:, 1] = 0
    given = 0.2 * truth + 0.8 * rng.random((2, FILMS, 3))
    patients = (np.arange(FILMS) % PATIENTS).astype(str)
    return trial_aurocs(TRIALS, truth, given, patients), truth, given


def test_each_trial_has_its_aurocs_and_the_mean_of_those_that_are_defined() -> None:
    found, truth, given = figures()
    assert [(own.trial, own.images) for own in found] == TRIALS
    for own, scores in zip(found, given, strict=True):
        each = [auroc(truth[:, k], scores[:, k]) for k in (0, 2)]
        assert [own.observations[k].value for k in (0, 2)] == pytest.approx(each)
        assert own.auroc.value == pytest.approx(np.mean(each))
        assert np.isnan(own.observations[1].value)
        assert np.isnan(own.observations[1].low)
