"""Policies: how a label becomes a target. Pure functions; only uncertain cells depend on the policy.

zeros, ones, ignore, self_trained and multiclass are U-Zeros, U-Ones, U-Ignore, U-SelfTrained and U-MultiClass of Irvin
et al. 2019, section 3; smoothed_ones and smoothed_zeros are U-Ones+LSR and U-Zeros+LSR of Pham et al. 2021
(arXiv:1911.06475); forest reads, as self_trained does, a probability table (see relabel.py).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from pydantic import BeforeValidator, Field, model_serializer, model_validator

from chex.errors import one_of
from chex.labels import OBSERVATIONS, POSITIVE, UNCERTAIN, columns
from chex.seeds import stream
from chex.strict import Strict


@dataclass(frozen=True)
class Targets:
    """What the loss sees, one cell per image and observation; all float32 (N, K)."""

    values: np.ndarray
    """How likely the observation is positive, in [0, 1]."""
    weights: np.ndarray
    """0 or more; a cell of weight 0 is ignored."""
    doubt: np.ndarray
    """How likely it belongs to the third class of `multiclass`, 0 or 1; always 0 under other policies."""


@dataclass(frozen=True)
class UncertainCells:
    """The n uncertain cells of one observation, with what a policy may go by."""

    count: int
    rng: np.random.Generator
    """Of the run's seed and the observation."""
    low: float
    high: float
    """What a smoothed policy draws between."""
    probability: np.ndarray
    """float (n,): how likely each is positive by the policy's table; empty for a policy without a table."""


@dataclass(frozen=True)
class Treatment:
    """What a policy gives to uncertain cells, as in Targets: one number for all, or float (n,)."""

    value: float | np.ndarray = 0.0
    weight: float = 1.0
    doubt: float = 0.0


Policy = Callable[[UncertainCells], Treatment]


def zeros(cells: UncertainCells) -> Treatment:
    """Uncertain counts as negative."""
    return Treatment(value=0)


def ones(cells: UncertainCells) -> Treatment:
    """Uncertain counts as positive."""
    return Treatment(value=1)


def ignore(cells: UncertainCells) -> Treatment:
    """Uncertain cells have no part in the loss; the image still trains its other observations."""
    return Treatment(weight=0)


def multiclass(cells: UncertainCells) -> Treatment:
    """Uncertain is a class of its own beside positive and negative (see outputs.py)."""
    return Treatment(doubt=1)


def smoothed(cells: UncertainCells) -> Treatment:
    """Each uncertain cell has a target of its own, drawn evenly between the bounds."""
    return Treatment(value=cells.rng.uniform(cells.low, cells.high, cells.count))


def from_table(cells: UncertainCells) -> Treatment:
    """Each uncertain cell has the probability that the table gives it."""
    return Treatment(value=cells.probability)


POLICIES: dict[str, Policy] = {
    "zeros": zeros,
    "ones": ones,
    "ignore": ignore,
    "multiclass": multiclass,
    "smoothed_zeros": smoothed,
    "smoothed_ones": smoothed,
    "self_trained": from_table,
    "forest": from_table,
}
BOUNDS = {"smoothed_zeros": (0.0, 0.3), "smoothed_ones": (0.55, 0.85)}
"""What the smoothed policies draw between unless told otherwise (Pham et al. 2021)."""

TABLE_POLICIES = ("self_trained", "forest")
"""The policies that read a probability table."""


class PolicyConfig(Strict):
    """One observation's policy; written as its name alone unless it has bounds. A name stands for {kind: name}."""

    kind: str
    """One of POLICIES."""
    low: float | None = Field(None, ge=0, le=1)
    high: float | None = Field(None, ge=0, le=1)
    """What a smoothed policy draws between; blank: the policy's own (BOUNDS). The other policies have none."""

    @model_validator(mode="before")
    @classmethod
    def _filled(cls, value: object) -> object:
        settings = dict(value) if isinstance(value, Mapping) else {"kind": value}
        if "kind" not in settings:
            raise ValueError("names no kind; write for example {kind: smoothed_ones, low: 0.55, high: 0.85}")
        kind = settings["kind"]
        if not isinstance(kind, str) or kind not in POLICIES:
            raise ValueError(f"{kind!r} is not a policy; {one_of(kind, POLICIES)}")
        for name, own in zip(("low", "high"), BOUNDS.get(kind, ()), strict=False):
            if settings.get(name) is None:
                settings[name] = own
        return settings

    @model_validator(mode="after")
    def _bounds(self) -> "PolicyConfig":
        if self.kind not in BOUNDS and (self.low, self.high) != (None, None):
            raise ValueError(
                f"'{self.kind}' draws nothing between bounds, and has no low and high; only {' and '.join(BOUNDS)} do"
            )
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(f"low {self.low:g} is above high {self.high:g}; write the smaller bound as low")
        return self

    @model_serializer
    def _short(self) -> str | dict[str, Any]:
        return self.kind if self.low is None else {"kind": self.kind, "low": self.low, "high": self.high}

    def __str__(self) -> str:
        return self.kind if self.low is None else f"{self.kind} {self.low:g} to {self.high:g}"


def _policies(value: object) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError(f"{value!r} is not a mapping; write policy: {{default: zeros, Atelectasis: ones}}")
    for key in value:
        if key != "default" and key not in OBSERVATIONS:
            raise ValueError(f"{key!r} is neither 'default' nor an observation; {one_of(key, OBSERVATIONS)}")
    return {"default": {"kind": "zeros"}} | dict(value)


Policies = Annotated[dict[str, PolicyConfig], BeforeValidator(_policies)]
"""A config field: the policy of each observation, `default` for those not named."""


def policy_of(policy: Mapping[str, PolicyConfig], observation: str) -> PolicyConfig:
    """The policy of `observation`: its own, or the default."""
    return policy.get(observation, policy["default"])


def observations_under(
    policy: Mapping[str, PolicyConfig], observations: tuple[str, ...], kinds: tuple[str, ...]
) -> tuple[str, ...]:
    """Those of `observations` whose policy is one of `kinds`, in their order."""
    return tuple(name for name in observations if policy_of(policy, name).kind in kinds)


def targets(
    labels: np.ndarray,
    observations: tuple[str, ...],
    policy: Mapping[str, PolicyConfig],
    seed: int,
    probabilities: Mapping[str, np.ndarray] | None = None,
) -> Targets:
    """The targets of `observations`, in their order, under `policy`.

    `labels` is int8 (N, 14). Certain cells have weight 1 and value 1 (positive) or 0 (negative and blank) whatever the
    policy; `labels` is left as it is. What is drawn at random depends on `seed`, the observation and the number of its
    uncertain cells alone. `probabilities` has, for each of TABLE_POLICIES in use, float (N, K): its table's figures.
    """
    chosen = labels[:, columns(observations)]
    values = (chosen == POSITIVE).astype(np.float32)
    weights, doubt = np.ones_like(values), np.zeros_like(values)
    for column, name in enumerate(observations):
        own = policy_of(policy, name)
        uncertain = np.flatnonzero(chosen[:, column] == UNCERTAIN)
        table = probabilities[own.kind][uncertain, column] if probabilities and own.kind in TABLE_POLICIES else None
        given = POLICIES[own.kind](
            UncertainCells(
                count=len(uncertain),
                rng=stream(seed, "policy", OBSERVATIONS.index(name)),
                low=own.low or 0.0,
                high=own.high or 0.0,
                probability=np.empty(0) if table is None else table,
            )
        )
        values[uncertain, column], weights[uncertain, column] = given.value, given.weight
        doubt[uncertain, column] = given.doubt
    return Targets(values, weights, doubt)


def truth(labels: np.ndarray, observations: tuple[str, ...]) -> np.ndarray:
    """What validation scores against: float32 (N, K), 1 positive, 0 negative or blank, NaN uncertain (not scored).

    It takes no policy, so that every trial of a search is scored on the same labels.
    """
    chosen = labels[:, columns(observations)]
    return np.where(chosen == UNCERTAIN, np.float32(np.nan), (chosen == POSITIVE).astype(np.float32))
