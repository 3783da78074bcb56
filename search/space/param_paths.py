"""Lists the dotted paths of a run, and finds the value of a run at a path."""

from collections.abc import Iterator, Mapping
from typing import Any

from chex.schema.labels import OBSERVATIONS


def known_paths(run: Mapping[str, Any]) -> list[str]:
    """Returns every path of a run (a RunConfig as JSON) that has a single value, with each observation's policy.

    Lists, such as observations and phases, are left out.
    """
    policies = [f"policy.{name}{bound}" for name in ("default", *OBSERVATIONS) for bound in ("", ".low", ".high")]
    return [*_leaves({key: value for key, value in run.items() if key != "policy"}), *policies]


def get_path(run: Mapping[str, Any], path: str) -> Any:
    """Returns the run's value at `path`; an observation without its own policy has the default one.

    Returns None for a blank value, for example the bounds of a policy without bounds. Raises KeyError if the run does
    not have the path.
    """
    head, _, rest = path.partition(".")
    if head == "policy":
        name, _, bound = rest.partition(".")
        policy = run["policy"].get(name, run["policy"]["default"])
        settings = {"kind": policy} if isinstance(policy, str) else policy
        return settings.get(bound or "kind")
    return get_path(run[head], rest) if rest else run[head]


def effective_path(path: str, run: Mapping[str, Any], searched: Mapping[str, Any]) -> str:
    """Returns the path that decides the value of `path` in a trial.

    That is `policy.default` for an observation without its own policy, else `path`. `searched` has the paths that a
    search varies.
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
