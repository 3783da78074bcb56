"""Search spaces: RunConfig's dotted paths to Optuna distributions, checked against the run that they vary."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from chex.config import RunConfig, override, validated
from chex.errors import InputError, one_of
from chex.strict import number
from search.constraints import Constraints, read_constraints
from search.paths import known_paths, value_at

KINDS = ("uniform", "loguniform", "int", "logint", "choice", "fixed")
STEPPED = ("uniform", "int")
PLAIN = {"loguniform": "uniform", "logint": "int"}
HELD = {
    "relabel": "the search makes the tables that its policies read",
    "data": "every trial of a search must be scored on the same labels",
    "device": "resources decide it",
    "reports": "early stopping compares trials at the same reports",
}


@dataclass(frozen=True)
class Knob:
    """One searched path."""

    domain: BaseDistribution
    when: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    """Other knobs, above this one in the space, and the values of each under which this one exists; empty: always."""

    def exists(self, values: Mapping[str, Any]) -> bool:
        """Whether a trial with these values of the knobs above has this one."""
        return all(path in values and values[path] in allowed for path, allowed in self.when.items())


Space = dict[str, Knob]


def build_space(raw: Mapping[str, Any], base: Mapping[str, Any], constraints: Sequence[str] = ()) -> Space:
    """Knobs of the paths in `raw`, for example `{"optimizer.lr": {"loguniform": [1e-4, 1e-2]}}`.

    `when: {path: value or list}` beside the domain makes a knob conditional; `step: s` beside `int` or `uniform` leaves
    every s-th value from the lower end on. Raises InputError for a path that RunConfig does not have or a search may
    not vary, a range upside down, a condition that cannot hold, and a range or choice that RunConfig refuses, where no
    constraint excludes it.
    """
    if not raw:
        raise InputError(
            "space: empty; name at least one dotted path, for example optimizer.lr: {loguniform: [1e-4, 1e-2]}"
        )
    space: Space = {}
    for path, spec in raw.items():
        _check_path(path)
        domain, when = _parted(path, spec)
        space[path] = Knob(_distribution(path, domain), _conditions(path, when, space))
        _check_parent(path, space)
    rules = space_constraints(constraints, space, base)
    for path in space:
        _check_values(path, space, base, rules)
    return space


def space_constraints(texts: Sequence[str], space: Space, base: Mapping[str, Any]) -> Constraints:
    """The constraints in `texts` between the knobs of `space`. Raises InputError (see `read_constraints`)."""
    return read_constraints(texts, {path: _probes(knob.domain) for path, knob in space.items()}, base)


def base_point(space: Space, base: Mapping[str, Any]) -> dict[str, Any] | None:
    """The base run's own value of every knob that exists there, or None where one lies outside its domain."""
    point: dict[str, Any] = {}
    for path, knob in space.items():
        if knob.exists(point):
            point[path] = value_at(base, path)
            if not inside(knob.domain, point[path]):
                return None
    return point


def inside(domain: BaseDistribution, value: Any) -> bool:
    """Whether the domain holds the value."""
    if not isinstance(domain, CategoricalDistribution) and not number(value):
        return False
    try:
        return bool(domain._contains(domain.to_internal_repr(value)))
    except (ValueError, TypeError):  # not one of the choices, or not a number
        return False


def described(domain: BaseDistribution) -> str:
    """The domain as the space's YAML writes it."""
    if isinstance(domain, CategoricalDistribution):
        shown = [_yaml(choice) for choice in domain.choices]
        return f"choice: [{', '.join(shown)}]" if len(shown) > 1 else f"fixed: {shown[0]}"
    assert isinstance(domain, FloatDistribution | IntDistribution)
    kind = {(False, True): "int", (True, True): "logint", (False, False): "uniform", (True, False): "loguniform"}
    whole = isinstance(domain, IntDistribution)
    step = "" if domain.step is None or (whole and domain.step == 1) else f", step: {domain.step:g}"
    return f"{kind[domain.log, whole]}: [{domain.low:g}, {domain.high:g}]{step}"


def countable(domain: BaseDistribution) -> int | None:
    """How many values the domain has; None where it is continuous."""
    if isinstance(domain, CategoricalDistribution):
        return len(domain.choices)
    assert isinstance(domain, FloatDistribution | IntDistribution)
    return None if domain.step is None else 1 + round((domain.high - domain.low) / domain.step)


def told_when(when: Mapping[str, Sequence[Any]]) -> str:
    """A knob's condition in words; "" for none."""
    each = [
        f"{path} is {' or '.join('blank' if value is None else _yaml(value) for value in values)}"
        for path, values in when.items()
    ]
    return f"where {' and '.join(each)}" if each else ""


def _yaml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "null" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _check_path(path: str) -> None:
    head = path.split(".")[0]
    if head in HELD:
        raise InputError(f"space.{path}: cannot be searched, because {HELD[head]}; remove it from the space")


def _parted(path: str, spec: object) -> tuple[object, object]:
    """The domain and the condition in what stands below a path."""
    if not isinstance(spec, Mapping) or "when" not in spec:
        return spec, {}
    return {key: value for key, value in spec.items() if key != "when"}, spec["when"]


def _conditions(path: str, when: object, space: Space) -> dict[str, tuple[Any, ...]]:
    where = f"space.{path}.when"
    if not isinstance(when, Mapping):
        raise InputError(f"{where}: {when!r} is not a mapping; write when: {{policy.default: smoothed_ones}}")
    conditions = {}
    for other, wanted in when.items():
        if other not in space:
            raise InputError(f"{where}: '{other}' is not a knob above {path} in the space; {one_of(other, space)}")
        values = tuple(wanted) if isinstance(wanted, list) else (wanted,)
        for value in values:
            if not inside(space[other].domain, value):
                raise InputError(f"{where}.{other}: {value!r} is none of its values; use one that it can take")
        conditions[other] = values
    return conditions


def _check_parent(path: str, space: Space) -> None:
    """A setting of a choice exists only under some of its values, which the condition has to name."""
    for other in space:
        if path.startswith(f"{other}.") and other not in space[path].when:
            raise InputError(
                f"space.{path}: {other} is searched too, and not all of its values have this setting; "
                f"add when: {{{other}: VALUE}}"
            )


def _check_values(path: str, space: Space, base: Mapping[str, Any], rules: Constraints) -> None:
    """RunConfig takes every feasible probe of the knob, with every probe of the other settings of the same policy."""
    parent = path.rpartition(".")[0]
    others = [other for other in space if other != path and other.rpartition(".")[0] == parent and "." in parent]
    known = set(known_paths(base))
    elsewhere = {other: value_at(base, other) for other in space if other in known}
    for given in _contexts(path, space):
        for values in itertools.product(*(_probes(space[each].domain) for each in (path, *others))):
            probe = dict(zip((path, *others), values, strict=True))
            if rules.feasible(elsewhere | given | probe):
                validated(RunConfig, override(base, given | probe), f"space.{path}")


def _contexts(path: str, space: Space) -> list[dict[str, Any]]:
    """Values of the knobs above, under each of which the knob exists: one for every way to meet its conditions."""
    when = space[path].when
    contexts = []
    for values in itertools.product(*when.values()):
        given: dict[str, Any] = {}
        for other, value in zip(when, values, strict=True):
            given |= _contexts(other, space)[0] | {other: value}
        contexts.append(given)
    return contexts


def _distribution(path: str, spec: object) -> BaseDistribution:
    if not isinstance(spec, Mapping) or len(spec) - ("step" in spec) != 1:
        raise InputError(f"space.{path}: {spec!r} is not one domain; write for example {{loguniform: [1e-4, 1e-2]}}")
    kind, arguments = next((key, value) for key, value in spec.items() if key != "step")
    if isinstance(arguments, Mapping):
        raise InputError(f"space.{path}: a space has dotted paths alone; write {path}.{kind}: ...")
    if kind not in KINDS:
        raise InputError(f"space.{path}: '{kind}' is not a kind of domain; {one_of(kind, KINDS)}")
    if "step" in spec and kind not in STEPPED:
        raise InputError(f"space.{path}.step: '{kind}' has no step; remove it, or use {' or '.join(STEPPED)}")
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
        raise InputError(f"space.{path}.choice: {values} names a value twice; name each once")
    return CategoricalDistribution(values)


def _range(path: str, kind: str, arguments: list[Any], step: object) -> BaseDistribution:
    where = f"space.{path}.{kind}"
    if len(arguments) != 2 or not all(map(number, arguments)):
        raise InputError(f"{where}: {arguments} is not two numbers; write {kind}: [low, high]")
    low, high = map(float, arguments)
    if not low < high:
        raise InputError(
            f"{where}: [{arguments[0]}, {arguments[1]}] is upside down or empty; write the smaller number first"
        )
    if kind in PLAIN and low <= 0:
        raise InputError(f"{where}: the lower end {arguments[0]} must be above 0; raise it or use {PLAIN[kind]}")
    whole = kind.endswith("int")
    if whole and (low % 1 or high % 1):
        raise InputError(f"{where}: {arguments} are not whole numbers; use uniform, or whole numbers")
    size = _step(path, step, high - low, whole)
    if whole:
        return IntDistribution(int(low), int(high), log=kind == "logint", step=int(size or 1))
    return FloatDistribution(low, high, log=kind == "loguniform", step=size)


def _step(path: str, step: object, width: float, whole: bool) -> float | None:
    """The step as a number, or None. Raises InputError where it does not lead from the lower end to the upper one."""
    if step is None:
        return None
    size = float(step) if number(step) else math.nan
    if not 0 < size < width or (whole and size % 1) or abs(width / size - round(width / size)) > 1e-9:
        raise InputError(
            f"space.{path}.step: {step!r} does not lead from the lower end to the upper one, {width:g} above it"
            f"{', in whole numbers' if whole else ''}; change the step or an end"
        )
    return size


def _probes(domain: BaseDistribution) -> list[Any]:
    """Values that stand for the domain: all choices, or both ends and a point inside that is not whole by luck.

    That point is the first between ends that are whole: it is what a setting of whole numbers is to be refused by.
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
