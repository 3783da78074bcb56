import math
from typing import Any

import numpy as np
import pytest

from chex.config import RunConfig
from chex.statistics.metrics import METRIC
from search.analysis.policy_odds import PolicyOdds, policy_odds
from search.space.space import Space, build_space
from search.trials.trial import State, TrialRecord

POLICIES = ("zeros", "ones", "ignore")
EFFECTS = {"Edema": (0.0, 0.04, 0.0), "Atelectasis": (0.03, 0.0, -0.01)}


@pytest.fixture(scope="module")
def space() -> Space:
    own = {f"policy.{name}": {"choice": [*POLICIES, "multiclass"]} for name in (*EFFECTS, "Consolidation")}
    return build_space(own | {"optimizer.lr": {"loguniform": [1e-4, 1e-2]}}, RunConfig().model_dump(mode="json"))


def row_of(number: int, rng: np.random.Generator, state: State = "finished", worth: float = 1.0) -> TrialRecord:
    chosen = {name: int(rng.integers(3)) for name in EFFECTS}
    level, reports = rng.normal(0.8, 0.02), list[dict[str, Any]]()
    for place in range(1, 5 if state == "finished" else 3):
        aurocs = {
            f"auroc/{name}": level + 0.02 * place + worth * EFFECTS[name][choice] + rng.normal(0, 0.01)
            for name, choice in chosen.items()
        }
        mean = float(np.mean(list(aurocs.values())))
        reports.append({METRIC: mean, "auroc/Consolidation": math.nan} | aurocs)
    policies = {f"policy.{name}": POLICIES[choice] for name, choice in chosen.items()}
    return TrialRecord(number, state, policies | {"policy.Consolidation": "ones"}, tuple(reports))


def rows_of(count: int, state: State = "finished", worth: float = 1.0) -> list[TrialRecord]:
    rng = np.random.default_rng(0)
    return [row_of(number, rng, state, worth) for number in range(1, count + 1)]


def test_the_best_policy_of_each_observation_becomes_the_most_probable(space: Space) -> None:
    edema, atelectasis = policy_odds(rows_of(30), space, seed=0)
    assert (edema.observation, atelectasis.observation) == ("Edema", "Atelectasis")
    assert next(iter(edema.probability)) == "ones"
    assert next(iter(atelectasis.probability)) == "zeros"
    assert min(edema.probability["ones"], atelectasis.probability["zeros"]) > 0.95
    assert list(edema.probability.values()) == sorted(edema.probability.values(), reverse=True)
    assert sum(edema.probability.values()) == pytest.approx(1)
    assert sum(edema.trials.values()) == 30


def test_without_effects_no_policy_is_sure(space: Space) -> None:
    for odds in policy_odds(rows_of(30, worth=0.0), space, seed=0):
        assert max(odds.probability.values()) < 0.9


def test_pruned_trials_count_and_failed_ones_do_not(space: Space) -> None:
    whole, cut, failed = rows_of(12), rows_of(12, "pruned"), rows_of(12, "failed")
    assert policy_odds([*whole, *failed], space, seed=0) == policy_odds(whole, space, seed=0)
    assert policy_odds([*whole, *cut], space, seed=0) != policy_odds(whole, space, seed=0)
    assert policy_odds(failed, space, seed=0) == ()


def test_policies_that_no_trial_had_and_observations_without_an_auroc_are_left_out(space: Space) -> None:
    found = policy_odds(rows_of(30), space, seed=0)
    assert [odds.observation for odds in found] == list(EFFECTS)
    assert all("multiclass" not in odds.probability for odds in found)
    alone = policy_odds(rows_of(1), space, seed=0)
    assert [list(odds.probability.values()) for odds in alone] == [[1.0], [1.0]]


def test_one_policy_for_all_observations_has_no_odds() -> None:
    raw = {"policy.default": {"choice": list(POLICIES)}}
    rows = [TrialRecord(1, "finished", {"policy.default": "ones"}, ({METRIC: 0.8, "auroc/Edema": 0.8},))]
    assert policy_odds(rows, build_space(raw, RunConfig().model_dump(mode="json")), seed=0) == ()


def test_the_odds_are_the_same_at_each_call(space: Space) -> None:
    first: tuple[PolicyOdds, ...] = policy_odds(rows_of(8), space, seed=3)
    assert first == policy_odds(rows_of(8), space, seed=3)
