"""Points of a space: those that a user gives to start from, and those that are drawn at random to look at it."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from chex.config import RunConfig, override, validated
from chex.errors import InputError, one_of
from chex.seeds import stream
from search.constraints import Constraints
from search.paths import value_at
from search.space import Space, countable, described, inside, told_when

DRAWS = 1000


def read_points(
    given: Sequence[Mapping[str, Any]], space: Space, base: Mapping[str, Any], rules: Constraints
) -> list[dict[str, Any]]:
    """The points in `given`, each with every knob that exists there and no other.

    A knob that a point leaves out has the base run's value, or the only one of its domain. Raises InputError for a path
    that is no knob, a value outside its domain, a knob that does not exist there, one left out whose base value lies
    outside, a constraint violated, and a point given twice.
    """
    points: list[dict[str, Any]] = []
    for number, raw in enumerate(given, start=1):
        point = _completed(raw, space, base, f"points: point {number}")
        broken = rules.violated(point)
        if broken:
            raise InputError(f"points: point {number} violates the constraint '{broken}'; change the point")
        if point in points:
            raise InputError(
                f"points: point {number} is the same as point {points.index(point) + 1}, with the base run's values "
                "for knobs left out; remove one"
            )
        points.append(point)
    return points


def _completed(raw: Mapping[str, Any], space: Space, base: Mapping[str, Any], where: str) -> dict[str, Any]:
    for path in raw:
        if path not in space:
            raise InputError(f"{where}: '{path}' is not a knob of the space; {one_of(path, space)}")
    point: dict[str, Any] = {}
    for path, knob in space.items():
        if not knob.exists(point):
            if path in raw:
                raise InputError(f"{where}: {path} exists only {told_when(knob.when)}; remove it from the point")
            continue
        only = countable(knob.domain) == 1
        value = raw[path] if path in raw else _only(knob.domain) if only else value_at(base, path)
        if not inside(knob.domain, value):
            owner = f"{path} is" if path in raw else f"leaves out {path}, which in the base run is"
            remedy = "change the value" if path in raw else "give it a value"
            raise InputError(f"{where}: {owner} {_told(value)}, outside {described(knob.domain)}; {remedy}")
        point[path] = knob.domain.to_external_repr(knob.domain.to_internal_repr(value))
    return point


def _told(value: Any) -> str:
    return "blank" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _only(domain: BaseDistribution) -> Any:
    assert isinstance(domain, CategoricalDistribution)  # ranges have two ends
    return domain.choices[0]


def draws(space: Space, count: int = DRAWS) -> list[dict[str, Any]]:
    """`count` points drawn evenly (logarithmically where the domain is), the same at each call, constraints ignored."""
    rng = stream(0, "draws")
    return [_draw(space, rng) for _ in range(count)]


def _draw(space: Space, rng: np.random.Generator) -> dict[str, Any]:
    point: dict[str, Any] = {}
    for path, knob in space.items():
        if knob.exists(point):
            point[path] = _drawn(knob.domain, rng)
    return point


def _drawn(domain: BaseDistribution, rng: np.random.Generator) -> Any:
    if isinstance(domain, CategoricalDistribution):
        return domain.choices[rng.integers(len(domain.choices))]
    if isinstance(domain, FloatDistribution):
        if domain.step is not None:
            steps = int(rng.integers(round((domain.high - domain.low) / domain.step) + 1))
            return min(domain.high, domain.low + domain.step * steps)  # .1 three times is above .3
        low, high = (math.log(domain.low), math.log(domain.high)) if domain.log else (domain.low, domain.high)
        drawn = rng.uniform(low, high)
        return min(domain.high, max(domain.low, math.exp(drawn) if domain.log else drawn))
    assert isinstance(domain, IntDistribution)
    if not domain.log:
        return domain.low + domain.step * int(rng.integers((domain.high - domain.low) // domain.step + 1))
    drawn = math.exp(rng.uniform(math.log(domain.low - 0.5), math.log(domain.high + 0.5)))
    return min(domain.high, max(domain.low, round(drawn)))


def check_space(space: Space, base: Mapping[str, Any], rules: Constraints) -> None:
    """Raises InputError where no random point is feasible, and where RunConfig refuses one that is."""
    feasible = [point for point in draws(space) if rules.feasible(point)]
    if not feasible:
        raise InputError(
            f"constraints: none of {DRAWS:,} random points of the space satisfies them all; "
            "loosen a constraint, or change the domains"
        )
    for point in feasible:
        try:
            validated(RunConfig, override(base, point), "space")
        except InputError as error:
            told = ", ".join(f"{path}: {_told(value)}" for path, value in point.items())
            raise InputError(
                f"{error} (at {told}); exclude such points with a condition (when) or a constraint"
            ) from error
