import math
from typing import Any

import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState

from chex.config import RunConfig
from chex.errors import InputError
from chex.metrics import METRIC
from search.sampler import SamplerConfig, TruthfulOptunaSearch, build_searcher, grid, told
from search.space import Knob, base_point, build_space


def searcher(seed: int = 0) -> TruthfulOptunaSearch:
    return build_searcher({"optimizer.lr": Knob(FloatDistribution(1e-4, 1e-1, log=True))}, SamplerConfig(seed=seed))


@pytest.mark.parametrize(
    ("result", "state", "value"),
    [
        ({METRIC: 0.8, "percent": 100}, TrialState.COMPLETE, 0.8),
        ({METRIC: 0.8, "percent": 50}, TrialState.PRUNED, None),
        ({METRIC: math.nan, "percent": 100}, TrialState.FAIL, None),
        ({}, TrialState.FAIL, None),
    ],
)
def test_optuna_is_told_how_a_trial_really_ended(
    result: dict[str, Any], state: TrialState, value: float | None
) -> None:
    assert told(result) == (state, value)


def test_a_stopped_a_finished_and_a_failed_trial_stand_so_in_the_study() -> None:
    search = searcher()
    for name, result in (
        ("a", {METRIC: 0.7, "percent": 25}),
        ("b", {METRIC: 0.8, "percent": 100}),
        ("c", {METRIC: math.nan, "percent": 0}),
    ):
        search.suggest(name)
        search.on_trial_complete(name, result)
    search.suggest("d")
    search.on_trial_complete("d", error=True)
    trials = search._ot_study.trials
    assert [trial.state.name for trial in trials] == ["PRUNED", "COMPLETE", "FAIL", "FAIL"]
    assert trials[0].intermediate_values == {25: 0.7}
    assert search._ot_study.best_value == 0.8


def test_the_same_seed_proposes_the_same_trials() -> None:
    proposed = [[searcher(seed).suggest(f"{trial}") for trial in range(3)] for seed in (1, 1, 2)]
    assert proposed[0] == proposed[1] != proposed[2]


def test_a_first_point_is_proposed_before_all_others() -> None:
    space = {"optimizer.lr": Knob(FloatDistribution(1e-4, 1e-1, log=True))}
    assert build_searcher(space, SamplerConfig(), [{"optimizer.lr": 0.03}]).suggest("a") == {"optimizer.lr": 0.03}


SMOOTHED = {
    "policy.Edema": {"choice": ["zeros", "smoothed_ones"]},
    "policy.Edema.low": {"uniform": [0.5, 0.6], "when": {"policy.Edema": "smoothed_ones"}},
    "policy.Edema.high": {"uniform": [0.7, 0.9], "when": {"policy.Edema": "smoothed_ones"}},
}


def test_a_conditional_knob_is_proposed_only_where_it_exists() -> None:
    base = RunConfig().model_dump(mode="json")
    space = build_space(SMOOTHED, base)
    search = build_searcher(space, SamplerConfig(startup=5), [base_point(space, base) or {}])
    proposed = []
    for number in range(40):
        proposed.append(search.suggest(f"{number}"))
        search.on_trial_complete(
            f"{number}", {METRIC: 0.5 + 0.1 * ("policy.Edema.low" in proposed[-1]), "percent": 100}
        )
    assert proposed[0] == {"policy.Edema": "zeros"}
    smooth = [trial for trial in proposed if trial["policy.Edema"] == "smoothed_ones"]
    assert len(smooth) > 20
    assert all(set(trial) == set(SMOOTHED) for trial in smooth)
    assert all(set(trial) == {"policy.Edema"} for trial in proposed if trial not in smooth)


def test_a_grid_goes_through_every_combination_once_the_first_knob_fastest() -> None:
    raw = {"policy.default": {"choice": ["zeros", "ones"]}, "seed": {"int": [0, 2]}}
    space = build_space(raw, RunConfig().model_dump(mode="json"))
    search = build_searcher(space, SamplerConfig(kind="grid"))
    proposed = [search.suggest(f"{number}") for number in range(6)]
    assert proposed == grid(space)
    assert [(each["policy.default"], each["seed"]) for each in grid(space)] == [
        (policy, seed) for seed in range(3) for policy in ("zeros", "ones")
    ]


def test_a_space_of_real_numbers_has_no_grid() -> None:
    told = r"space.optimizer.lr: sampler.kind=grid needs a choice or whole numbers, without a condition; use choice: \["
    with pytest.raises(InputError, match=told):
        grid({"optimizer.lr": Knob(FloatDistribution(0, 1))})
