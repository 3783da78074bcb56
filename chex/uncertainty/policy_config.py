"""The sections `policy` and `relabel` of a run's config."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, model_serializer, model_validator

from chex.errors import suggest
from chex.schema.labels import OBSERVATIONS
from chex.schema.strict_model import PathField, Strict
from chex.uncertainty.policies import POLICIES


class RelabelConfig(Strict):
    """The files of the probability tables, one for each policy that reads a table. A search makes its tables itself."""

    self_trained: PathField | None = None
    """The file that `chex relabel teacher` has written; blank: none."""
    forest: PathField | None = None
    """The file that `chex relabel forest` has written; blank: none."""


class PolicyConfig(Strict):
    """One observation's policy. A name alone stands for {kind: name}; a policy without bounds is saved as its name."""

    kind: str
    """A name in POLICIES."""
    low: float | None = Field(None, ge=0, le=1)
    high: float | None = Field(None, ge=0, le=1)
    """The bounds that a smoothed policy draws between; blank: its default bounds. Other policies have no bounds."""

    @model_validator(mode="before")
    @classmethod
    def _fill_bounds(cls, value: object) -> object:
        settings = dict(value) if isinstance(value, Mapping) else {"kind": value}
        if "kind" not in settings:
            raise ValueError("has no kind; write for example {kind: smoothed_ones, low: 0.55, high: 0.85}")
        kind = settings["kind"]
        if not isinstance(kind, str) or kind not in POLICIES:
            raise ValueError(f"{kind!r} is not a policy; {suggest(kind, POLICIES)}")
        for name, bound in zip(("low", "high"), POLICIES[kind].bounds or (), strict=False):
            if settings.get(name) is None:
                settings[name] = bound
        return settings

    @model_validator(mode="after")
    def _check_bounds(self) -> "PolicyConfig":
        if POLICIES[self.kind].bounds is None and (self.low, self.high) != (None, None):
            drawing = " and ".join(policy.name for policy in POLICIES.values() if policy.bounds)
            raise ValueError(f"'{self.kind}' has no bounds; leave low and high out, which only {drawing} have")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(f"low {self.low:g} is above high {self.high:g}; write the smaller bound as low")
        return self

    @model_serializer
    def _serialize(self) -> str | dict[str, Any]:
        return self.kind if self.low is None else {"kind": self.kind, "low": self.low, "high": self.high}

    def __str__(self) -> str:
        return self.kind if self.low is None else f"{self.kind} {self.low:g} to {self.high:g}"


def _check_policies(value: object) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError(f"{value!r} is not a mapping; write policy: {{default: zeros, Atelectasis: ones}}")
    for key in value:
        if key != "default" and key not in OBSERVATIONS:
            raise ValueError(f"{key!r} is neither 'default' nor an observation; {suggest(key, OBSERVATIONS)}")
    return {"default": {"kind": "zeros"}} | dict(value)


Policies = Annotated[dict[str, PolicyConfig], BeforeValidator(_check_policies)]
"""A config field: the policy of each observation; `default` is for the observations that the field does not name."""


def policy_of(policy: Mapping[str, PolicyConfig], observation: str) -> PolicyConfig:
    """Returns the policy of `observation`; if `policy` does not name it, the default."""
    return policy.get(observation, policy["default"])


def observations_under(
    policy: Mapping[str, PolicyConfig], observations: tuple[str, ...], kinds: tuple[str, ...]
) -> tuple[str, ...]:
    """Returns those of `observations`, in their order, whose policy is one of `kinds`."""
    return tuple(name for name in observations if policy_of(policy, name).kind in kinds)
