import numpy as np
import pytest

from chex.config import RunConfig, validate
from chex.errors import InputError
from chex.schema.labels import NEGATIVE, UNCERTAIN, label_columns
from search.space.effects import check_effects, idle_policies
from search.space.space import Space, build_space

CHOICE = {"choice": ["zeros", "ones"]}
TWO = {"data": {"observations": ["Edema", "Fracture"]}}


def space(run: RunConfig, *paths: str) -> Space:
    return build_space(dict.fromkeys(paths, CHOICE), run.model_dump(mode="json"))


def test_the_policy_of_an_observation_that_is_not_learnt_cannot_be_searched() -> None:
    run = validate(RunConfig, TWO, "x")
    check_effects(space(run, "policy.Edema", "policy.default"), run)
    with pytest.raises(
        InputError, match=r"space.policy.Pneumonia: changes nothing, because data.observations does not"
    ):
        check_effects(space(run, "policy.Pneumonia"), run)
    told = "space.policy.default: changes nothing, because each of data.observations has its own policy; remove"
    with pytest.raises(InputError, match=told):
        check_effects(space(run, "policy.Edema", "policy.Fracture", "policy.default"), run)


def test_policies_of_observations_without_an_uncertain_label_are_named() -> None:
    run = validate(RunConfig, TWO, "x")
    labels = np.full((5, 14), NEGATIVE, dtype=np.int8)
    both, default = space(run, "policy.Edema", "policy.Fracture"), space(run, "policy.default")
    told = "do nothing in this search: no training image has an uncertain label of Edema, Fracture"
    assert idle_policies(both, run.data.observations, labels) == f"policy.Edema, policy.Fracture {told}"
    assert idle_policies(default, run.data.observations, labels) == f"policy.default {told.replace('do', 'does', 1)}"
    labels[0, label_columns(["Edema"])] = UNCERTAIN
    assert idle_policies(default, run.data.observations, labels) is None
    assert idle_policies(both, run.data.observations, labels) == (
        "policy.Fracture does nothing in this search: no training image has an uncertain label of Fracture"
    )
