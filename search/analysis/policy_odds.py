"""How probable it is for each policy that it is the best of its observation."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from optuna.distributions import CategoricalDistribution

from chex.runtime.rng import rng_for
from search.optimize.component_effects import split_by_parameter
from search.optimize.componentwise_sampler import fit_choices
from search.optimize.samplers import kept_aurocs, policy_observations
from search.space.space import Space
from search.trials.trial import TrialRecord

DRAWS = 10_000


@dataclass(frozen=True)
class PolicyOdds:
    """The policies of one observation that a search has tried."""

    observation: str
    probability: dict[str, float]
    """How probable it is that the policy is the best of these for the observation's AUROC, the most probable first."""
    trials: dict[str, int]
    """How many trials with a report had the policy."""


def policy_odds(rows: Sequence[TrialRecord], space: Space, seed: int) -> tuple[PolicyOdds, ...]:
    """Returns the odds of each observation that has a policy of its own and an AUROC, in the order of the space.

    They are the shares of draws from the posterior of the model by which the sampler `by_observation` proposes (see
    component_effects.py) in which the policy has the highest effect. All trials count that have a report and did not
    fail. A search whose observations have no policies of their own has no odds.
    """
    reported = [row for row in rows if row.reports and row.state != "failed"]
    measured = [kept_aurocs(row.reports) for row in reported]
    known = {name for values in measured for last in values.values() for name, value in last.items() if value == value}
    owned = {
        path: (observation, domain.choices)
        for path, observation in policy_observations(space).items()
        if observation in known and isinstance(domain := space[path].domain, CategoricalDistribution)
    }
    if not owned:
        return ()
    effects = fit_choices([row.params for row in reported], measured, owned, sorted(known))
    drawn = rng_for(seed, "policy odds").multivariate_normal(
        effects.own_mean, effects.own_covariance, DRAWS, method="cholesky"
    )
    parts = split_by_parameter(drawn, [len(choices) for _, choices in owned.values()])
    found = []
    for (path, (observation, choices)), part in zip(owned.items(), parts, strict=True):
        counts = [sum(row.params.get(path) == choice for row in reported) for choice in choices]
        best = np.where(np.array(counts) > 0, part, -np.inf).argmax(axis=1)
        shares = np.bincount(best, minlength=len(choices)) / DRAWS
        order = [place for place in np.argsort(-shares, kind="stable") if counts[place]]
        found.append(
            PolicyOdds(
                observation,
                {str(choices[place]): float(shares[place]) for place in order},
                {str(choices[place]): counts[place] for place in order},
            )
        )
    return tuple(found)
