import numpy as np
import pytest

from chex.metrics import auroc
from search import trial_figures as module
from search.bags import draw
from search.trial_figures import TrialFigures, trial_figures

FILMS, PATIENTS = 300, 150
TRIALS = [(3, 500), (7, 900)]


def figures(seed: int = 0) -> tuple[tuple[TrialFigures, ...], np.ndarray, np.ndarray]:
    """Figures of two trials on three observations, the second of which nobody has."""
    rng = np.random.default_rng(seed)
    truth = (rng.random((FILMS, 3)) < 0.3).astype(float)
    truth[:, 1] = 0
    given = 0.2 * truth + 0.8 * rng.random((2, FILMS, 3))
    patients = (np.arange(FILMS) % PATIENTS).astype(str)
    return trial_figures(TRIALS, truth, given, patients, [0, 2], draw(PATIENTS, rng, 400)), truth, given


def test_each_trial_has_its_aurocs_and_the_mean_of_those_that_are_defined() -> None:
    found, truth, given = figures()
    assert [(own.trial, own.images) for own in found] == TRIALS
    for own, scores in zip(found, given, strict=True):
        each = [auroc(truth[:, k], scores[:, k]) for k in (0, 2)]
        assert [own.observations[k].value for k in (0, 2)] == pytest.approx(each)
        assert own.auroc.value == own.bootstrap.value == pytest.approx(np.mean(each))
        assert np.isnan(own.observations[1].value)
        assert np.isnan(own.bootstraps[1].low)


def test_delongs_interval_and_the_bootstraps_are_about_the_same() -> None:
    found, _, _ = figures()
    for own in found:
        assert own.auroc.low == pytest.approx(own.bootstrap.low, abs=0.012)
        assert own.auroc.high == pytest.approx(own.bootstrap.high, abs=0.012)


def test_so_many_films_that_draws_are_first_order_give_about_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    exact, _, _ = figures()
    monkeypatch.setattr(module, "EXACT", 0)
    linear, _, _ = figures()
    assert linear != exact
    for one, other in zip(linear, exact, strict=True):
        assert one.auroc == other.auroc
        assert one.bootstrap.low == pytest.approx(other.bootstrap.low, abs=0.008)
        assert one.bootstraps[2].high == pytest.approx(other.bootstraps[2].high, abs=0.008)


def test_draws_in_which_an_observation_has_one_class_are_left_out() -> None:
    truth = np.zeros((20, 1))
    truth[0] = 1
    given = np.linspace(0.9, 0.1, 20)[None, :, None]
    found = trial_figures(
        [(1, 10)], truth, given, np.arange(20).astype(str), [0], draw(20, np.random.default_rng(0), 50)
    )
    assert found[0].bootstrap.low == 1
