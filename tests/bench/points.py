"""Points of a search's space without Optuna's samplers: at random, near another, and as numbers in [0, 1]."""

import math
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from search.space.space import Space


def draw(space: Space, rng: np.random.Generator) -> dict[str, Any]:
    """A point drawn evenly (on the log scale where the parameter has one)."""
    return {path: value_at(param.domain, rng.random()) for path, param in space.items()}


def near(space: Space, point: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    """A point in the neighbourhood: numbers moved by about a tenth of their range, a choice drawn anew now and then."""
    moved = {}
    for path, param in space.items():
        place = place_of(param.domain, point[path])
        if isinstance(param.domain, CategoricalDistribution):
            place = rng.random() if rng.random() < 0.25 else place
        else:
            place = place + 0.12 * rng.normal()
        moved[path] = value_at(param.domain, min(max(place, 0.0), 1 - 1e-9))
    return moved


def place_of(domain: BaseDistribution, value: Any) -> float:
    """Where in [0, 1) a value lies, in the middle of its share for choices and whole numbers."""
    if isinstance(domain, CategoricalDistribution):
        return (domain.choices.index(value) + 0.5) / len(domain.choices)
    if isinstance(domain, IntDistribution):
        return (value - domain.low + 0.5) / (domain.high - domain.low + 1)
    assert isinstance(domain, FloatDistribution)
    low, high, at = (math.log(each) if domain.log else each for each in (domain.low, domain.high, value))
    return (at - low) / (high - low)


def value_at(domain: BaseDistribution, place: float) -> Any:
    """The value at a place in [0, 1)."""
    if isinstance(domain, CategoricalDistribution):
        return domain.choices[int(place * len(domain.choices))]
    if isinstance(domain, IntDistribution):
        return domain.low + int(place * (domain.high - domain.low + 1))
    assert isinstance(domain, FloatDistribution)
    low, high = (math.log(each) if domain.log else each for each in (domain.low, domain.high))
    value = low + place * (high - low)
    return min(max(math.exp(value) if domain.log else value, domain.low), domain.high)
