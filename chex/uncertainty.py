"""Policies: how a label becomes a target. Pure functions; only uncertain cells depend on the policy.

zeros, ones and ignore are U-Zeros, U-Ones and U-Ignore of Irvin et al. 2019, section 3.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import BeforeValidator

from chex.errors import one_of
from chex.labels import OBSERVATIONS, POSITIVE, UNCERTAIN, columns


@dataclass(frozen=True)
class Targets:
    """What the loss sees, one cell per image and observation."""

    values: np.ndarray
    """float32 (N, K) in [0, 1]."""
    weights: np.ndarray
    """float32 (N, K), 0 or more; a cell of weight 0 is ignored."""


Policy = Callable[[int], tuple[np.ndarray, np.ndarray]]
"""From the number of uncertain cells n of one observation to their values and weights, both float (n,)."""


def zeros(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Uncertain counts as negative."""
    return np.zeros(count), np.ones(count)


def ones(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Uncertain counts as positive."""
    return np.ones(count), np.ones(count)


def ignore(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Uncertain cells have no part in the loss; the image still trains its other observations."""
    return np.zeros(count), np.zeros(count)


POLICIES: dict[str, Policy] = {"zeros": zeros, "ones": ones, "ignore": ignore}


def _policy_names(value: object) -> dict[str, str]:
    if not isinstance(value, Mapping):
        raise ValueError(f"{value!r} is not a mapping; write policy: {{default: zeros, Atelectasis: ones}}")
    for key, name in value.items():
        if key != "default" and key not in OBSERVATIONS:
            raise ValueError(f"{key!r} is neither 'default' nor an observation; {one_of(key, OBSERVATIONS)}")
        if name not in POLICIES:
            raise ValueError(f".{key}: {name!r} is not a policy; {one_of(name, POLICIES)}")
    return {"default": "zeros", **value}


PolicyNames = Annotated[dict[str, str], BeforeValidator(_policy_names)]
"""A config field: the policy of each observation, `default` for those not named."""


def targets(labels: np.ndarray, observations: tuple[str, ...], policy: Mapping[str, str]) -> Targets:
    """The targets of `observations`, in their order, under `policy`.

    `labels` is int8 (N, 14). Certain cells have weight 1 and value 1 (positive) or 0 (negative and blank) whatever the
    policy; `labels` is left as it is.
    """
    chosen = labels[:, columns(observations)]
    values = (chosen == POSITIVE).astype(np.float32)
    weights = np.ones_like(values)
    for column, name in enumerate(observations):
        uncertain = chosen[:, column] == UNCERTAIN
        cells = POLICIES[policy.get(name, policy["default"])](int(uncertain.sum()))
        values[uncertain, column], weights[uncertain, column] = cells
    return Targets(values, weights)


def truth(labels: np.ndarray, observations: tuple[str, ...]) -> np.ndarray:
    """What validation scores against: float32 (N, K), 1 positive, 0 negative or blank, NaN uncertain (not scored).

    It takes no policy, so that every trial of a search is scored on the same labels.
    """
    chosen = labels[:, columns(observations)]
    return np.where(chosen == UNCERTAIN, np.float32(np.nan), (chosen == POSITIVE).astype(np.float32))
