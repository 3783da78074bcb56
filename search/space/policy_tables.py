"""Finds the observations whose policy may read a probability table, and checks that the base run's tables suffice."""

from optuna.distributions import CategoricalDistribution

from chex.config import RunConfig
from chex.training.run_tables import load_run_tables
from chex.uncertainty.policies import TABLE_POLICIES
from chex.uncertainty.policy_config import PolicyConfig, policy_of
from search.space.space import Space


def observations_that_may_have(kind: str, base: RunConfig, space: Space) -> tuple[str, ...]:
    """Returns the observations to which some trial may apply the policy `kind`, in the run's order."""
    return tuple(name for name in base.data.observations if kind in _possible_kinds(name, base, space))


def _possible_kinds(observation: str, base: RunConfig, space: Space) -> set[str]:
    for key in (observation, "default"):
        param = space.get(f"policy.{key}")
        if param is not None:
            assert isinstance(param.domain, CategoricalDistribution)  # RunConfig accepts nothing else
            return set(map(str, param.domain.choices))
        if key in base.policy:
            break
    return {policy_of(base.policy, observation).kind}


def check_given_tables(base: RunConfig, space: Space) -> None:
    """Raises InputError if a table of the base run cannot be read or lacks what the policies of trials need."""
    for kind in TABLE_POLICIES:
        names = observations_that_may_have(kind, base, space)
        if names and getattr(base.relabel, kind) is not None:
            policy = {"default": PolicyConfig(kind="zeros")} | dict.fromkeys(names, PolicyConfig(kind=kind))
            load_run_tables(base.model_copy(update={"policy": policy}))


def without_tables(base: RunConfig) -> RunConfig:
    """Returns `base` with `ignore` in place of policies that read a table, so that it can be checked without tables."""
    policy = {
        name: PolicyConfig(kind="ignore") if each.kind in TABLE_POLICIES else each for name, each in base.policy.items()
    }
    return base.model_copy(update={"policy": policy})
