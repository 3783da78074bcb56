"""Reads the user's initial points of a space, and draws random points by which the space is checked."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from chex.config import RunConfig, apply_overrides, validate
from chex.errors import InputError, suggest
from chex.runtime.rng import rng_for
from search.space.constraints import Constraints
from search.space.param_paths import get_path
from search.space.space import Space, condition_text, contains, domain_yaml, value_count

DRAWS = 1000
"""The number of random points."""


def read_initial_points(
    raw_points: Sequence[Mapping[str, Any]], space: Space, base: Mapping[str, Any], rules: Constraints
) -> list[dict[str, Any]]:
    """Returns the points in `raw_points`, each with all parameters whose conditions hold in it.

    A parameter that a point leaves out has the base run's value, or the only value of its domain. Raises InputError if
    a path is no parameter or does not exist in its point, if a value lies outside its domain, if a point violates a
    constraint, and if two points are the same.
    """
    points: list[dict[str, Any]] = []
    for number, raw in enumerate(raw_points, start=1):
        point = _complete(raw, space, base, f"initial_points: point {number}")
        violated = rules.violated(point)
        if violated:
            raise InputError(f"initial_points: point {number} violates the constraint '{violated}'; change the point")
        if point in points:
            raise InputError(
                f"initial_points: point {number} is the same as point {points.index(point) + 1} (a parameter that a "
                "point leaves out has the base run's value); remove one"
            )
        points.append(point)
    return points


def _complete(raw: Mapping[str, Any], space: Space, base: Mapping[str, Any], where: str) -> dict[str, Any]:
    for path in raw:
        if path not in space:
            raise InputError(f"{where}: '{path}' is not a parameter of the space; {suggest(path, space)}")
    point: dict[str, Any] = {}
    for path, param in space.items():
        if not param.exists(point):
            if path in raw:
                raise InputError(
                    f"{where}: {path} exists only {condition_text(param.condition)}; remove it from the point"
                )
            continue
        fixed = value_count(param.domain) == 1
        value = raw[path] if path in raw else _only_value(param.domain) if fixed else get_path(base, path)
        if not contains(param.domain, value):
            what = f"{path} is" if path in raw else f"leaves out {path}, which in the base run is"
            remedy = "change the value" if path in raw else "give it a value"
            raise InputError(f"{where}: {what} {_format_value(value)}, outside {domain_yaml(param.domain)}; {remedy}")
        point[path] = param.domain.to_external_repr(param.domain.to_internal_repr(value))
    return point


def _format_value(value: Any) -> str:
    return "blank" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _only_value(domain: BaseDistribution) -> Any:
    assert isinstance(domain, CategoricalDistribution)  # a range has more than one value
    return domain.choices[0]


def random_points(space: Space, count: int = DRAWS) -> list[dict[str, Any]]:
    """Returns `count` points drawn uniformly, or log-uniformly, from the domains: the same at each call.

    Constraints are ignored.
    """
    rng = rng_for(0, "draws")
    return [_draw_point(space, rng) for _ in range(count)]


def _draw_point(space: Space, rng: np.random.Generator) -> dict[str, Any]:
    point: dict[str, Any] = {}
    for path, param in space.items():
        if param.exists(point):
            point[path] = _draw_value(param.domain, rng)
    return point


def _draw_value(domain: BaseDistribution, rng: np.random.Generator) -> Any:
    if isinstance(domain, CategoricalDistribution):
        return domain.choices[rng.integers(len(domain.choices))]
    if isinstance(domain, FloatDistribution):
        if domain.step is not None:
            steps = int(rng.integers(round((domain.high - domain.low) / domain.step) + 1))
            return min(domain.high, domain.low + domain.step * steps)  # 3 * .1 is above .3 in floating point
        low, high = (math.log(domain.low), math.log(domain.high)) if domain.log else (domain.low, domain.high)
        drawn = rng.uniform(low, high)
        return min(domain.high, max(domain.low, math.exp(drawn) if domain.log else drawn))
    assert isinstance(domain, IntDistribution)
    if not domain.log:
        return domain.low + domain.step * int(rng.integers((domain.high - domain.low) // domain.step + 1))
    drawn = math.exp(rng.uniform(math.log(domain.low - 0.5), math.log(domain.high + 0.5)))
    return min(domain.high, max(domain.low, round(drawn)))


def check_space(space: Space, base: Mapping[str, Any], rules: Constraints) -> None:
    """Raises InputError if no random point is feasible, or if RunConfig refuses a feasible one."""
    feasible = [point for point in random_points(space) if rules.feasible(point)]
    if not feasible:
        raise InputError(
            f"constraints: none of {DRAWS:,} random points of the space satisfies them all; "
            "loosen a constraint, or change the domains"
        )
    for point in feasible:
        try:
            validate(RunConfig, apply_overrides(base, point), "space")
        except InputError as error:
            values = ", ".join(f"{path}: {_format_value(value)}" for path, value in point.items())
            raise InputError(f"{error} (at {values}); exclude such points with a condition or a constraint") from error
