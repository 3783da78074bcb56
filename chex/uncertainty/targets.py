"""Converts labels to the targets of the loss, and to the truth that probabilities are scored against."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from chex.runtime.rng import rng_for
from chex.schema.labels import OBSERVATIONS, POSITIVE, UNCERTAIN, label_columns
from chex.uncertainty.policies import POLICIES, UncertainCells
from chex.uncertainty.policy_config import PolicyConfig, policy_of


@dataclass(frozen=True)
class Targets:
    """What the loss sees: one cell per image and observation. All arrays are float32 (N, K)."""

    values: np.ndarray
    """The probability that the observation is positive, in [0, 1]."""
    weights: np.ndarray
    """0 or more; a cell of weight 0 is ignored."""
    uncertain_class: np.ndarray
    """The probability of the third class of `multiclass`, 0 or 1; always 0 under other policies."""


def targets(
    labels: np.ndarray,
    observations: tuple[str, ...],
    policy: Mapping[str, PolicyConfig],
    seed: int,
    probabilities: Mapping[str, np.ndarray] | None = None,
) -> Targets:
    """Returns the targets of `observations`, in their order, under `policy`.

    `labels` is int8 (N, 14) and is not changed. Certain cells have weight 1 and value 1 (positive) or 0 (negative and
    blank) under every policy. Random draws depend only on `seed`, the observation and the number of its uncertain
    cells. `probabilities` maps each policy in use that reads a table to the table's probabilities, float (N, K).
    """
    chosen = labels[:, label_columns(observations)]
    values = (chosen == POSITIVE).astype(np.float32)
    weights, uncertain_class = np.ones_like(values), np.zeros_like(values)
    for column, name in enumerate(observations):
        config = policy_of(policy, name)
        table = (probabilities or {}).get(config.kind)
        uncertain = np.flatnonzero(chosen[:, column] == UNCERTAIN)
        target = POLICIES[config.kind].target(
            UncertainCells(
                count=len(uncertain),
                rng=rng_for(seed, "policy", OBSERVATIONS.index(name)),
                low=config.low or 0.0,
                high=config.high or 0.0,
                probability=np.empty(0) if table is None else table[uncertain, column],
            )
        )
        values[uncertain, column] = target.value
        weights[uncertain, column] = target.weight
        uncertain_class[uncertain, column] = target.uncertain_class
    return Targets(values, weights, uncertain_class)


def truth(labels: np.ndarray, observations: tuple[str, ...]) -> np.ndarray:
    """Returns the truth for scoring, float32 (N, K): 1 positive, 0 negative or blank, NaN uncertain.

    Uncertain cells are not scored. The truth does not depend on the policy, so that every trial of a search is scored
    on the same labels.
    """
    chosen = labels[:, label_columns(observations)]
    return np.where(chosen == UNCERTAIN, np.float32(np.nan), (chosen == POSITIVE).astype(np.float32))
