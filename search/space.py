"""Search spaces: RunConfig's dotted paths to Optuna distributions, checked against the run that they vary."""

from collections.abc import Mapping
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from chex.config import RunConfig, override, validated
from chex.errors import InputError, one_of

KINDS = ("uniform", "loguniform", "int", "choice")
HELD = {
    "data": "every trial of a search must be scored on the same labels",
    "device": "resources decide it",
    "reports": "early stopping compares trials at the same reports",
}
Space = dict[str, BaseDistribution]


def build_space(raw: Mapping[str, Any], base: Mapping[str, Any]) -> Space:
    """Distributions of the paths in `raw`, for example `{"optimizer.lr": {"loguniform": [1e-4, 1e-2]}}`.

    Raises InputError for a path that RunConfig does not have or a search may not vary, a range upside down, and a range
    or choice that RunConfig refuses.
    """
    if not raw:
        raise InputError(
            "space: empty; name at least one dotted path, for example optimizer.lr: {loguniform: [1e-4, 1e-2]}"
        )
    space = {}
    for path, spec in raw.items():
        _check_path(path)
        space[path] = _distribution(path, spec)
        for value in _probes(space[path]):
            validated(RunConfig, override(base, {path: value}), f"space.{path}")
    return space


def base_point(space: Space, base: Mapping[str, Any]) -> dict[str, Any] | None:
    """The base run's own value of every knob in `space`, or None where one lies outside its domain."""
    point = {path: _value_at(base, path) for path in space}
    return point if all(_inside(domain, point[path]) for path, domain in space.items()) else None


def _value_at(base: Mapping[str, Any], path: str) -> Any:
    head, _, rest = path.partition(".")
    if not rest:
        return base[head]
    inner = base[head]
    return inner.get(rest, inner["default"]) if head == "policy" else _value_at(inner, rest)


def _inside(domain: BaseDistribution, value: Any) -> bool:
    try:
        return bool(domain._contains(domain.to_internal_repr(value)))
    except ValueError:  # not one of the choices, or not a number
        return False


def _check_path(path: str) -> None:
    head = path.split(".")[0]
    if head in HELD:
        raise InputError(f"space.{path}: cannot be searched, because {HELD[head]}; remove it from the space")


def _distribution(path: str, spec: object) -> BaseDistribution:
    if not isinstance(spec, Mapping) or len(spec) != 1:
        raise InputError(f"space.{path}: {spec!r} is not one domain; write for example {{loguniform: [1e-4, 1e-2]}}")
    ((kind, arguments),) = spec.items()
    if kind not in KINDS:
        raise InputError(f"space.{path}: '{kind}' is not a kind of domain; {one_of(kind, KINDS)}")
    if not isinstance(arguments, list) or not arguments:
        raise InputError(f"space.{path}.{kind}: {arguments!r} is not a list; write {kind}: [a, b]")
    return _choice(path, arguments) if kind == "choice" else _range(path, kind, arguments)


def _choice(path: str, values: list[Any]) -> CategoricalDistribution:
    for value in values:
        if isinstance(value, list | dict):
            raise InputError(
                f"space.{path}.choice: {value!r} is not a single value; list numbers, words, true, false or null"
            )
    if len(set(map(repr, values))) < len(values):
        raise InputError(f"space.{path}.choice: {values} names a value twice; name each once")
    return CategoricalDistribution(values)


def _range(path: str, kind: str, arguments: list[Any]) -> BaseDistribution:
    where = f"space.{path}.{kind}"
    try:
        low, high = map(float, arguments)
    except (TypeError, ValueError):
        raise InputError(f"{where}: {arguments} is not two numbers; write {kind}: [low, high]") from None
    if not low < high:
        raise InputError(
            f"{where}: [{arguments[0]}, {arguments[1]}] is upside down or empty; write the smaller number first"
        )
    if kind == "int":
        if low % 1 or high % 1:
            raise InputError(f"{where}: {arguments} are not whole numbers; use uniform, or whole numbers")
        return IntDistribution(int(low), int(high))
    if kind == "loguniform" and low <= 0:
        raise InputError(f"{where}: the lower end {arguments[0]} must be above 0; raise it or use uniform")
    return FloatDistribution(low, high, log=kind == "loguniform")


def _probes(domain: BaseDistribution) -> list[Any]:
    """Values that stand for the domain: all choices, or both ends and a point inside that is not whole by luck."""
    if isinstance(domain, CategoricalDistribution):
        return list(domain.choices)
    if isinstance(domain, IntDistribution):
        return [domain.low, domain.high]
    assert isinstance(domain, FloatDistribution)
    return [domain.low, domain.high, domain.low + (domain.high - domain.low) * 0.3819]
