from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution

from search.analysis.importance import Importances, importances
from search.space.space import Param

SPACE = {
    "optimizer.lr": Param(FloatDistribution(1e-4, 1e-2, log=True)),
    "model.dropout": Param(FloatDistribution(0, 0.5)),
    "policy.Edema": Param(CategoricalDistribution(("zeros", "smoothed_ones"))),
    "policy.Edema.low": Param(FloatDistribution(0, 1), {"policy.Edema": ("smoothed_ones",)}),
}


def computed(count: int, seed: int = 0, flat: bool = False) -> Importances:
    """Those of trials whose AUROC depends on the rate alone; every other one has a conditional parameter."""
    params, final_aurocs = dict[int, dict[str, Any]](), dict[int, float]()
    for number in range(count):
        rate, dropout = 1e-4 * 100 ** ((number * 7 % count) / count), number * 3 % count / count / 2
        smoothed = bool(number % 2)
        policy = ("zeros", "smoothed_ones")[smoothed]
        params[number] = {"optimizer.lr": rate, "model.dropout": dropout, "policy.Edema": policy}
        params[number] |= {"policy.Edema.low": 0.5} if smoothed else {}
        final_aurocs[number] = 0.8 if flat else 0.7 + 10 * rate
    return importances(params, final_aurocs, SPACE, seed)


def test_the_parameter_that_decides_comes_first_and_shares_sum_to_1() -> None:
    found = computed(40)
    assert found.why == ""
    for shares in (found.fanova, found.ped_anova):
        assert next(iter(shares)) == "optimizer.lr"
        assert sum(shares.values()) == pytest.approx(1)
    assert found.fanova["optimizer.lr"] > 0.8
    assert "policy.Edema.low" not in found.fanova
    assert "policy.Edema.low" in found.ped_anova


def test_the_same_seed_gives_the_same_figures() -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    assert computed(40, seed=1) == computed(40, seed=1)


def test_too_few_trials_have_no_figure_and_it_is_said() -> None:
    assert computed(19) == Importances({}, {}, "19 trials have a result, and importances need 20")
    assert computed(1).why == "1 trial has a result, and importances need 20"


def test_trials_that_all_reached_the_same_have_no_figure() -> None:
    assert computed(20, flat=True).why == "all trials reached the same AUROC"
