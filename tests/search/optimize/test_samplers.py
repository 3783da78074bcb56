import itertools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from chex.config import RunConfig
from chex.errors import InputError
from chex.schema.labels import FIVE
from chex.statistics.metrics import METRIC
from search.optimize import samplers
from search.optimize.samplers import SamplerConfig, grid, propose
from search.space.space import Param, Space, build_space

KINDS = ("tpe", "random", pytest.param("gp", marks=pytest.mark.slow), "qmc")
RATE = {"optimizer.lr": {"loguniform": [1e-4, 1e-1]}, "schedule.epochs": {"int": [1, 4]}}
SMOOTHED = {
    "policy.Edema": {"choice": ["zeros", "smoothed_ones"]},
    "policy.Edema.low": {"uniform": [0.5, 0.6], "condition": {"policy.Edema": "smoothed_ones"}},
    "policy.Edema.high": {"uniform": [0.7, 0.9], "condition": {"policy.Edema": "smoothed_ones"}},
}


def space_of(raw: Mapping[str, Any]) -> Space:
    return build_space(raw, RunConfig().model_dump(mode="json"))


def trial(space: Space, values: dict[str, Any], value: float) -> FrozenTrial:
    domains = {path: space[path].domain for path in values}
    return create_trial(state=TrialState.COMPLETE, value=value, params=values, distributions=domains)


def proposals(
    config: SamplerConfig,
    space: Space,
    count: int,
    worth: Callable[[dict[str, Any]], float] = lambda values: 0.5,
    feasible: Callable[[Mapping[str, Any]], bool] = lambda values: True,
) -> list[dict[str, Any]]:
    history: list[FrozenTrial] = []
    proposed = []
    for _ in range(count):
        proposed.append(propose(config, space, [], history, feasible))
        history.append(trial(space, proposed[-1], worth(proposed[-1])))
    return proposed


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("raw", [RATE, SMOOTHED])
def test_proposals_follow_from_the_seed_and_the_trials_before_them(kind: Any, raw: dict[str, Any]) -> None:
    first, again, other = (
        proposals(SamplerConfig(kind=kind, seed=seed, n_startup_trials=3), space_of(raw), 8) for seed in (1, 1, 2)
    )
    assert first == again != other
    assert len({str(values) for values in first}) > 2


@pytest.mark.parametrize("kind", KINDS)
def test_every_proposal_satisfies_the_constraints(kind: Any) -> None:
    config = SamplerConfig(kind=kind, n_startup_trials=3)
    proposed = proposals(config, space_of(RATE), 8, feasible=lambda values: values["schedule.epochs"] == 3)
    assert {values["schedule.epochs"] for values in proposed} == {3}
    assert len({values["optimizer.lr"] for values in proposed}) == 8


@pytest.mark.parametrize("kind", KINDS)
def test_a_conditional_knob_is_proposed_only_where_it_exists(kind: Any) -> None:
    for values in proposals(SamplerConfig(kind=kind, n_startup_trials=3), space_of(SMOOTHED), 8):
        assert set(values) == (set(SMOOTHED) if values["policy.Edema"] == "smoothed_ones" else {"policy.Edema"})


@pytest.mark.parametrize("kind", ["tpe", KINDS[2]])
def test_what_did_well_is_proposed_more_often(kind: Any) -> None:
    space = space_of(RATE)
    config = SamplerConfig(kind=kind, n_startup_trials=6)
    proposed = proposals(config, space, 24, worth=lambda values: 1 - abs(values["schedule.epochs"] - 3) / 4)
    assert [values["schedule.epochs"] for values in proposed[12:]].count(3) >= 5


def test_points_come_first_and_in_their_order() -> None:
    space = space_of(RATE)
    points = [{"optimizer.lr": 0.03, "schedule.epochs": 2}, {"optimizer.lr": 0.01, "schedule.epochs": 1}]
    history: list[FrozenTrial] = []
    for point in points:
        assert propose(SamplerConfig(), space, points, history) == point
        history.append(trial(space, point, 0.5))
    assert propose(SamplerConfig(), space, points, history) not in points


def test_trials_under_way_keep_the_next_ones_away_from_them() -> None:
    space = space_of({"optimizer.lr": {"uniform": [0.01, 1.0]}})
    history = [trial(space, {"optimizer.lr": k / 20}, 1 - abs(k / 20 - 0.5)) for k in range(1, 20)]
    near = create_trial(
        state=TrialState.RUNNING,
        params={"optimizer.lr": 0.5},
        distributions={"optimizer.lr": space["optimizer.lr"].domain},
    )
    seeds = range(12)
    alone = [propose(SamplerConfig(seed=s), space, [], history)["optimizer.lr"] for s in seeds]
    beside = [propose(SamplerConfig(seed=s), space, [], [*history, *[near] * 8])["optimizer.lr"] for s in seeds]
    assert sum(abs(x - 0.5) for x in beside) > 1.5 * sum(abs(x - 0.5) for x in alone)


@pytest.mark.parametrize("kind", KINDS)
def test_no_point_is_tried_twice_while_another_is_left(kind: Any) -> None:
    space = space_of({"policy.default": {"choice": ["zeros", "ones"]}, "schedule.epochs": {"int": [1, 3]}})
    proposed = proposals(SamplerConfig(kind=kind, n_startup_trials=2), space, 7)
    assert len({str(values) for values in proposed}) == 6
    assert proposed[6] in proposed[:6]


def test_a_grid_that_has_been_tried_proposes_nothing_else() -> None:
    space = space_of({"schedule.epochs": {"int": [1, 3]}})
    history = [trial(space, point, 0.5) for point in grid(space)]
    with pytest.raises(InputError, match=r"sampler\.kind=grid: all 3 points of the grid have been tried"):
        propose(SamplerConfig(kind="grid"), space, grid(space), history)


@pytest.mark.parametrize("kind", ["tpe", "gp"])
def test_a_model_is_told_no_value_of_a_proposal_that_was_not_taken(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    studies: list[optuna.Study] = []
    make = samplers.new_study
    monkeypatch.setattr(samplers, "new_study", lambda by: studies.append(make(by)) or studies[-1])
    space = space_of(RATE)
    history = [trial(space, {"optimizer.lr": 0.001 * k, "schedule.epochs": 4}, 0.1 * k) for k in range(1, 7)]
    propose(SamplerConfig(kind=kind), space, [], history, lambda values: values["schedule.epochs"] == 1)
    known = studies[0].get_trials(states=[TrialState.COMPLETE])
    assert [each.value for each in known] == [each.value for each in history]


def test_a_gaussian_process_learns_from_trials_that_were_stopped_too() -> None:
    space = space_of({"optimizer.lr": {"uniform": [0.01, 1.0]}})
    domains = {"optimizer.lr": space["optimizer.lr"].domain}
    places = [0.05, 0.2, 0.35, 0.65, 0.8, 0.95]
    history = [
        create_trial(
            state=TrialState.PRUNED,
            params={"optimizer.lr": place},
            distributions=domains,
            intermediate_values={1: 0.1, 2: 1 - abs(place - 0.2)},
        )
        for place in places
    ]
    near = [propose(SamplerConfig(kind="gp", seed=seed), space, [], history)["optimizer.lr"] for seed in range(4)]
    assert max(abs(value - 0.2) for value in near) < 0.15


def test_constraints_that_nothing_satisfies_are_told() -> None:
    told = "constraints: 1000 proposals in a row violated them; widen the space, or drop a constraint"
    with pytest.raises(InputError, match=told):
        propose(SamplerConfig(kind="random"), space_of(RATE), [], [], lambda values: False)


def test_a_word_stands_for_the_kind_of_sampler() -> None:
    assert SamplerConfig.model_validate("gp") == SamplerConfig(kind="gp")


def test_a_grid_has_every_combination_once_the_first_knob_fastest() -> None:
    raw = {"policy.default": {"choice": ["zeros", "ones"]}, "seed": {"int": [0, 2]}}
    assert [(each["policy.default"], each["seed"]) for each in grid(space_of(raw))] == [
        (policy, seed) for seed, policy in itertools.product(range(3), ("zeros", "ones"))
    ]


def test_a_space_of_real_numbers_has_no_grid() -> None:
    told = r"space.optimizer.lr: sampler.kind=grid needs a choice or whole numbers, without a condition; use choice: \["
    with pytest.raises(InputError, match=told):
        grid({"optimizer.lr": Param(FloatDistribution(0, 1))})


FIVE_POLICIES = {f"policy.{name}": {"choice": ["zeros", "ones", "ignore"]} for name in FIVE}


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        (RATE, "tpe"),
        (SMOOTHED, "tpe"),
        ({"policy.default": {"choice": ["zeros", "ones"]}}, "tpe"),
        (FIVE_POLICIES, "by_observation"),
    ],
)
def test_policies_of_several_observations_are_searched_by_observation(raw: dict[str, Any], kind: str) -> None:
    assert SamplerConfig().resolved(space_of(raw)).kind == kind
    assert SamplerConfig(kind="random").resolved(space_of(raw)).kind == "random"


@pytest.mark.parametrize(
    ("raw", "have"), [(RATE, "no policy of an observation"), (SMOOTHED, "a policy of Edema alone")]
)
def test_a_space_with_nothing_to_tell_apart_is_refused_by_observation(raw: dict[str, Any], have: str) -> None:
    message = (
        "sampler.kind=by_observation: needs policies of two or more observations to tell apart, and the space has "
        f"{have}; search policy.<observation> for more of data.observations, or use sampler.kind=tpe"
    )
    with pytest.raises(InputError) as refused:
        SamplerConfig(kind="by_observation").resolved(space_of(raw))
    assert str(refused.value) == message


def test_policies_that_no_auroc_can_judge_are_named() -> None:
    space, four = space_of(FIVE_POLICIES), FIVE[1:]
    assert samplers.unjudged_policies_note(SamplerConfig(), space, FIVE) is None
    assert samplers.unjudged_policies_note(SamplerConfig(kind="tpe"), space, four) is None
    assert samplers.unjudged_policies_note(SamplerConfig(), space, four) == (
        f"AUROC is undefined for {FIVE[0]} (one class in the validation split): nothing tells their policies apart, so "
        "they are drawn at random"
    )


def reported(space: Space, values: dict[str, Any], *reports: dict[str, float]) -> FrozenTrial:
    domains = {path: space[path].domain for path in values}
    rows = {f"report {number}": report for number, report in enumerate(reports, 1)}
    mean = max(report[METRIC] for report in reports)
    return create_trial(value=mean, params=values, distributions=domains, system_attrs=rows)


def test_a_trial_has_the_aurocs_of_the_weights_that_it_keeps() -> None:
    rows = [
        {METRIC: best, "auroc/Edema": edema, "auroc/Atelectasis": best, "recall/Edema": 0.1}
        for best, edema in ((0.7, 0.6), (0.8, 0.9), (0.8, 0.2))
    ]
    space = space_of(RATE)
    trial = reported(space, {"optimizer.lr": 1e-3, "schedule.epochs": 1}, *rows)
    assert [values["Edema"] for values in samplers.observation_aurocs(trial).values()] == [0.6, 0.9, 0.9]
    assert set(samplers.observation_aurocs(trial)[1]) == {"Edema", "Atelectasis"}


def test_the_policy_that_helps_one_observation_is_proposed_for_that_one() -> None:
    space, rng = space_of(RATE | FIVE_POLICIES), np.random.default_rng(0)
    history: list[FrozenTrial] = []
    for _ in range(30):
        values = propose(SamplerConfig(), space, [], history)
        aurocs = {name: 0.8 + 0.005 * rng.standard_normal() for name in FIVE}
        aurocs["Edema"] += 0.05 * (values["policy.Edema"] == "ones")
        report = {METRIC: float(np.mean(list(aurocs.values())))} | {f"auroc/{name}": aurocs[name] for name in FIVE}
        history.append(reported(space, values, report))
    late = [trial.params for trial in history[12:]]
    assert [values["policy.Edema"] for values in late].count("ones") > 14
    assert [values["policy.Atelectasis"] for values in late].count("ones") < 14
