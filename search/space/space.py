"""Builds search spaces: Optuna distributions for dotted paths of RunConfig, checked against the run that they vary."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from chex.config import RunConfig, apply_overrides, validate
from chex.errors import InputError, suggest
from chex.schema.strict_model import is_finite_number
from search.space.constraints import Constraints, read_constraints
from search.space.param_paths import get_path, known_paths

KINDS = ("uniform", "loguniform", "int", "int_log", "choice", "fixed")
KINDS_WITH_STEP = ("uniform", "int")
LINEAR_KIND = {"loguniform": "uniform", "int_log": "int"}
NOT_SEARCHABLE = {
    "relabel": "the search makes the tables that its policies read",
    "data": "every trial of a search must be scored on the same labels",
    "device": "resources decide it",
    "reports": "pruning compares trials at the same reports",
}


@dataclass(frozen=True)
class Param:
    """The domain and the condition of a searched path."""

    domain: BaseDistribution
    condition: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    """Allowed values of parameters above this one in the space: it exists if all have one of them; empty: always."""

    def exists(self, values: Mapping[str, Any]) -> bool:
        """Returns whether a trial has this parameter, if it has `values` of the parameters above this one."""
        return all(path in values and values[path] in allowed for path, allowed in self.condition.items())


Space = dict[str, Param]


def build_space(raw: Mapping[str, Any], base: Mapping[str, Any], constraints: Sequence[str] = ()) -> Space:
    """Returns the space that `raw` describes, for example `{"optimizer.lr": {"loguniform": [1e-4, 1e-2]}}`.

    `condition: {path: value or list}` beside the domain makes a parameter conditional. `step: s` beside `int` or
    `uniform` allows the lower end plus multiples of s. Raises InputError if RunConfig does not have a path, a search
    may not vary it, a range's lower end is not below its upper end, a condition can never hold, or RunConfig refuses a
    value that no constraint excludes.
    """
    if not raw:
        raise InputError(
            "space: empty; name at least one dotted path, for example optimizer.lr: {loguniform: [1e-4, 1e-2]}"
        )
    space: Space = {}
    for path, spec in raw.items():
        _check_path(path)
        domain, condition = _split_condition(spec)
        space[path] = Param(_distribution(path, domain), _parse_condition(path, condition, space))
        _check_parent(path, space)
    rules = space_constraints(constraints, space, base)
    for path in space:
        _check_values(path, space, base, rules)
    return space


def space_constraints(texts: Sequence[str], space: Space, base: Mapping[str, Any]) -> Constraints:
    """Returns the constraints in `texts` on the parameters of `space`. Raises InputError (see `read_constraints`)."""
    return read_constraints(texts, {path: _sample_values(param.domain) for path, param in space.items()}, base)


def base_point(space: Space, base: Mapping[str, Any]) -> dict[str, Any] | None:
    """Returns the base run's value of each parameter whose condition holds; None if one lies outside its domain."""
    point: dict[str, Any] = {}
    for path, param in space.items():
        if param.exists(point):
            point[path] = get_path(base, path)
            if not contains(param.domain, point[path]):
                return None
    return point


def contains(domain: BaseDistribution, value: Any) -> bool:
    """Returns whether the domain has the value."""
    if not isinstance(domain, CategoricalDistribution) and not is_finite_number(value):
        return False
    try:
        return bool(domain._contains(domain.to_internal_repr(value)))
    except (ValueError, TypeError):  # not one of the choices, or not a number
        return False


def domain_yaml(domain: BaseDistribution) -> str:
    """Returns the domain as a space's YAML writes it."""
    if isinstance(domain, CategoricalDistribution):
        choices = [_format_yaml(choice) for choice in domain.choices]
        return f"choice: [{', '.join(choices)}]" if len(choices) > 1 else f"fixed: {choices[0]}"
    assert isinstance(domain, FloatDistribution | IntDistribution)
    kind = {(False, True): "int", (True, True): "int_log", (False, False): "uniform", (True, False): "loguniform"}
    whole = isinstance(domain, IntDistribution)
    step = "" if domain.step is None or (whole and domain.step == 1) else f", step: {domain.step:g}"
    return f"{kind[domain.log, whole]}: [{domain.low:g}, {domain.high:g}]{step}"


def value_count(domain: BaseDistribution) -> int | None:
    """Returns how many values the domain has; None if it is continuous."""
    if isinstance(domain, CategoricalDistribution):
        return len(domain.choices)
    assert isinstance(domain, FloatDistribution | IntDistribution)
    return None if domain.step is None else 1 + round((domain.high - domain.low) / domain.step)


def condition_text(condition: Mapping[str, Sequence[Any]]) -> str:
    """Returns a parameter's condition in words; "" without one."""
    each = [
        f"{path} is {' or '.join('blank' if value is None else _format_yaml(value) for value in values)}"
        for path, values in condition.items()
    ]
    return f"where {' and '.join(each)}" if each else ""


def _format_yaml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "null" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _check_path(path: str) -> None:
    head = path.split(".")[0]
    if head in NOT_SEARCHABLE:
        raise InputError(f"space.{path}: cannot be searched, because {NOT_SEARCHABLE[head]}; remove it from the space")


def _split_condition(spec: object) -> tuple[object, object]:
    """Returns the domain and the condition of a path's YAML."""
    if not isinstance(spec, Mapping) or "condition" not in spec:
        return spec, {}
    return {key: value for key, value in spec.items() if key != "condition"}, spec["condition"]


def _parse_condition(path: str, raw: object, space: Space) -> dict[str, tuple[Any, ...]]:
    where = f"space.{path}.condition"
    if not isinstance(raw, Mapping):
        raise InputError(f"{where}: {raw!r} is not a mapping; write condition: {{policy.default: smoothed_ones}}")
    condition = {}
    for other, wanted in raw.items():
        if other not in space:
            raise InputError(
                f"{where}: '{other}' is not a parameter above {path} in the space; {suggest(other, space)}"
            )
        values = tuple(wanted) if isinstance(wanted, list) else (wanted,)
        for value in values:
            if not contains(space[other].domain, value):
                raise InputError(f"{where}.{other}: {value!r} is none of its values; use one of them")
        condition[other] = values
    return condition


def _check_parent(path: str, space: Space) -> None:
    """Raises InputError if `path` is a setting of a searched parameter that its condition does not name."""
    for other in space:
        if path.startswith(f"{other}.") and other not in space[path].condition:
            raise InputError(
                f"space.{path}: {other} is searched too, and not all of its values have this setting; "
                f"add condition: {{{other}: VALUE}}"
            )


def _check_values(path: str, space: Space, base: Mapping[str, Any], rules: Constraints) -> None:
    """Raises InputError if RunConfig refuses a sample value that no constraint excludes.

    Settings of the same policy are tried in all combinations of their sample values.
    """
    parent = path.rpartition(".")[0]
    others = [other for other in space if other != path and other.rpartition(".")[0] == parent and "." in parent]
    known = set(known_paths(base))
    elsewhere = {other: get_path(base, other) for other in space if other in known}
    for context in _contexts(path, space):
        for values in itertools.product(*(_sample_values(space[each].domain) for each in (path, *others))):
            sample = dict(zip((path, *others), values, strict=True))
            if rules.feasible(elsewhere | context | sample):
                validate(RunConfig, apply_overrides(base, context | sample), f"space.{path}")


def _contexts(path: str, space: Space) -> list[dict[str, Any]]:
    """Returns, for each way to meet the condition of `path`, values of the parameters above it with which it exists."""
    condition = space[path].condition
    contexts = []
    for values in itertools.product(*condition.values()):
        context: dict[str, Any] = {}
        for other, value in zip(condition, values, strict=True):
            context |= _contexts(other, space)[0] | {other: value}
        contexts.append(context)
    return contexts


def _distribution(path: str, spec: object) -> BaseDistribution:
    if not isinstance(spec, Mapping) or len(spec) - ("step" in spec) != 1:
        raise InputError(f"space.{path}: {spec!r} is not one domain; write for example {{loguniform: [1e-4, 1e-2]}}")
    kind, arguments = next((key, value) for key, value in spec.items() if key != "step")
    if isinstance(arguments, Mapping):
        raise InputError(f"space.{path}: a space has dotted paths only; write {path}.{kind}: ...")
    if kind not in KINDS:
        raise InputError(f"space.{path}: '{kind}' is not a kind of domain; {suggest(kind, KINDS)}")
    if "step" in spec and kind not in KINDS_WITH_STEP:
        raise InputError(f"space.{path}.step: '{kind}' has no step; remove it, or use {' or '.join(KINDS_WITH_STEP)}")
    if kind == "fixed":
        return _choice(path, kind, [arguments])
    if not isinstance(arguments, list) or not arguments:
        raise InputError(f"space.{path}.{kind}: {arguments!r} is not a list; write {kind}: [a, b]")
    return _choice(path, kind, arguments) if kind == "choice" else _range(path, kind, arguments, spec.get("step"))


def _choice(path: str, kind: str, values: list[Any]) -> CategoricalDistribution:
    for value in values:
        if isinstance(value, list | dict):
            raise InputError(
                f"space.{path}.{kind}: {value!r} is not a single value; list numbers, words, true, false or null"
            )
    if len(set(map(repr, values))) < len(values):
        raise InputError(f"space.{path}.choice: {values} has a value twice; write each value once")
    return CategoricalDistribution(values)


def _range(path: str, kind: str, arguments: list[Any], step: object) -> BaseDistribution:
    where = f"space.{path}.{kind}"
    if len(arguments) != 2 or not all(map(is_finite_number, arguments)):
        raise InputError(f"{where}: {arguments} is not two numbers; write {kind}: [low, high]")
    low, high = map(float, arguments)
    if not low < high:
        raise InputError(
            f"{where}: [{arguments[0]}, {arguments[1]}] is upside down or empty; write the smaller number first"
        )
    if kind in LINEAR_KIND and low <= 0:
        raise InputError(f"{where}: the lower end {arguments[0]} must be above 0; raise it or use {LINEAR_KIND[kind]}")
    whole = kind in ("int", "int_log")
    if whole and (low % 1 or high % 1):
        raise InputError(f"{where}: {arguments} are not whole numbers; use uniform, or whole numbers")
    size = _parse_step(path, step, high - low, whole)
    if whole:
        return IntDistribution(int(low), int(high), log=kind == "int_log", step=int(size or 1))
    return FloatDistribution(low, high, log=kind == "loguniform", step=size)


def _parse_step(path: str, step: object, width: float, whole: bool) -> float | None:
    """Returns the step as a number, or None. Raises InputError if the range's `width` is not a multiple of it."""
    if step is None:
        return None
    size = float(step) if is_finite_number(step) else math.nan
    if not 0 < size < width or (whole and size % 1) or abs(width / size - round(width / size)) > 1e-9:
        raise InputError(
            f"space.{path}.step: {step!r} does not lead from the lower end to the upper one, {width:g} above it"
            f"{', in whole numbers' if whole else ''}; change the step or an end"
        )
    return size


def _sample_values(domain: BaseDistribution) -> list[Any]:
    """Returns all choices of the domain, or both ends and, if it is continuous, a point between them.

    The point is not a whole number, so that RunConfig refuses it for a setting that must be whole. If both ends are
    whole, the point comes first.
    """
    if isinstance(domain, CategoricalDistribution):
        return list(domain.choices)
    if isinstance(domain, IntDistribution):
        return [domain.low, domain.high]
    assert isinstance(domain, FloatDistribution)
    if domain.step is not None:
        return [domain.low, domain.high]
    ends, inside = [domain.low, domain.high], domain.low + (domain.high - domain.low) * 0.3819
    return [inside, *ends] if all(end.is_integer() for end in ends) else [*ends, inside]
