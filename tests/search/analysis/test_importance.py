import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from search.analysis.importance import Importances, importances

DOMAINS = {"optimizer.lr": FloatDistribution(1e-4, 1e-2, log=True), "model.dropout": FloatDistribution(0, 0.5)}
LOW = {"policy.Edema.low": FloatDistribution(0, 1)}
KIND = {"policy.Edema": CategoricalDistribution(("zeros", "smoothed_ones"))}


def trials(count: int, state: TrialState = TrialState.COMPLETE, flat: bool = False) -> list[FrozenTrial]:
    """Trials whose AUROC depends on the rate alone; every other one has a conditional parameter."""
    made = []
    for number in range(count):
        rate, dropout = 1e-4 * 100 ** ((number * 7 % count) / count), number * 3 % count / count / 2
        smoothed = bool(number % 2)
        made.append(
            create_trial(
                state=state,
                params={
                    "optimizer.lr": rate,
                    "model.dropout": dropout,
                    "policy.Edema": ("zeros", "smoothed_ones")[smoothed],
                }
                | ({"policy.Edema.low": 0.5} if smoothed else {}),
                distributions=DOMAINS | KIND | (LOW if smoothed else {}),
                value=(0.8 if flat else 0.7 + 10 * rate) if state == TrialState.COMPLETE else None,
            )
        )
    return made


def test_the_knob_that_decides_comes_first_and_shares_sum_to_1() -> None:
    found = importances(trials(40), seed=0)
    assert found.why == ""
    for shares in (found.fanova, found.ped_anova):
        assert next(iter(shares)) == "optimizer.lr"
        assert sum(shares.values()) == pytest.approx(1)
    assert found.fanova["optimizer.lr"] > 0.8
    assert "policy.Edema.low" not in found.fanova
    assert "policy.Edema.low" in found.ped_anova


def test_the_same_seed_gives_the_same_figures() -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    assert importances(trials(40), seed=1) == importances(trials(40), seed=1)


def test_too_few_finished_trials_have_no_figure_and_it_is_said() -> None:
    found = importances(trials(19) + trials(30, TrialState.PRUNED), seed=0)
    assert found == Importances({}, {}, "19 trials finished, and importances need 20")
    assert importances(trials(1), seed=0).why == "1 trial finished, and importances need 20"


def test_trials_that_all_reached_the_same_have_no_figure() -> None:
    assert importances(trials(20, flat=True), seed=0).why == "all finished trials reached the same AUROC"
