"""The dotted paths of a run: which there are, and what a run says at each."""

from collections.abc import Iterator, Mapping
from typing import Any

from chex.labels import OBSERVATIONS


def known_paths(run: Mapping[str, Any]) -> list[str]:
    """Every path of the run (a RunConfig as JSON has it) that holds one value; each observation's policy is among them.

    Lists, of observations or rounds, are left out.
    """
    policies = [f"policy.{name}{bound}" for name in ("default", *OBSERVATIONS) for bound in ("", ".low", ".high")]
    return [*_leaves({key: value for key, value in run.items() if key != "policy"}), *policies]


def value_at(run: Mapping[str, Any], path: str) -> Any:
    """What the run says at `path`; an observation without a policy of its own follows the default.

    None where it is blank, as the bounds of a policy without bounds are. Raises KeyError for a path that is not there.
    """
    head, _, rest = path.partition(".")
    if head == "policy":
        name, _, bound = rest.partition(".")
        policy = run["policy"].get(name, run["policy"]["default"])
        settings = {"kind": policy} if isinstance(policy, str) else policy
        return settings.get(bound or "kind")
    return value_at(run[head], rest) if rest else run[head]


def governing(path: str, run: Mapping[str, Any], searched: Mapping[str, Any]) -> str:
    """The path that decides `path` in a trial: `policy.default` for the policy of an observation that has none.

    `searched` has the paths that a search varies.
    """
    head, _, rest = path.partition(".")
    name, dot, bound = rest.partition(".")
    if head != "policy" or name in run["policy"] or f"policy.{name}" in searched:
        return path
    return f"policy.default{dot}{bound}"


def _leaves(run: Mapping[str, Any], above: str = "") -> Iterator[str]:
    for key, value in run.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{above}{key}.")
        elif not isinstance(value, list):
            yield f"{above}{key}"
