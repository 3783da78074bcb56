"""Configs drawn at random by hypothesis, every field of every class within its bounds."""

import types
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from hypothesis import assume
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from chex.data.data_config import ImageConfig
from chex.schema.labels import FIVE, OBSERVATIONS
from chex.uncertainty.policies import POLICIES

M = TypeVar("M", bound=BaseModel)
texts = st.text(st.characters(categories=["L", "N", "P", "S", "Zs"]), min_size=1, max_size=8)
shares = st.floats(0, 1)
policies = st.one_of(
    st.sampled_from([*POLICIES]),
    st.tuples(st.sampled_from([name for name, policy in POLICIES.items() if policy.bounds]), shares, shares).map(
        lambda drawn: {"kind": drawn[0], "low": min(drawn[1:]), "high": max(drawn[1:])}
    ),
)
domains = st.one_of(
    st.lists(texts | st.floats(allow_nan=False, allow_infinity=False) | st.booleans() | st.none()).map(
        lambda choices: {"choice": choices}
    ),
    st.tuples(shares, shares).map(lambda ends: {"uniform": list(ends)}),
)
SPECIAL = {
    "size": st.just("auto") | st.integers(32, 2048),
    "freeze": st.just("backbone") | st.integers(0, 9),
    "cpus_per_trial": st.just("auto") | st.integers(1, 999),
    "gpus_per_trial": st.integers(0, 8).map(float) | st.integers(1, 10_000).map(lambda units: units / 10_000),
    "observations": st.lists(st.sampled_from(OBSERVATIONS), min_size=1, unique=True),
    "policy": st.dictionaries(st.sampled_from(["default", *OBSERVATIONS]), policies),
    "positive_given_uncertain": st.dictionaries(st.sampled_from(FIVE), shares),
    "space": st.dictionaries(texts, domains, min_size=1),
    "initial_points": st.lists(st.dictionaries(texts, texts | shares)),
}
"""The fields whose values are told apart by a function."""


@st.composite
def drawn(draw: Callable[..., Any], model: type[M]) -> M:
    """A `model`, some of whose fields have their defaults."""
    special = {} if model is ImageConfig else SPECIAL
    fields = {
        name: special[name] if name in special else _values(field.annotation, field.metadata)
        for name, field in model.model_fields.items()
    }
    try:
        return model.model_validate(draw(st.fixed_dictionaries({}, optional=fields)))
    except ValidationError:  # a value that another one forbids
        assume(False)
        raise


def _values(kind: Any, bounds: list[Any]) -> st.SearchStrategy[Any]:
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _values(inner[0], [*inner[1:], *bounds])
    if origin is Literal:
        return st.sampled_from(inner)
    if origin in (Union, types.UnionType):
        return st.one_of(*(st.none() if each is types.NoneType else _values(each, bounds) for each in inner))
    if origin is tuple:
        return st.lists(_values(inner[0], []), max_size=3)
    if origin is dict:
        return st.dictionaries(texts, _values(inner[1], []), max_size=3)
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return drawn(kind)
    found = {type(bound): bound for each in bounds for bound in getattr(each, "metadata", [each])}
    low = found[Ge].ge if Ge in found else found[Gt].gt if Gt in found else None
    high = found[Le].le if Le in found else found[Lt].lt if Lt in found else None
    if kind is int:
        return st.integers(low, high - (Lt in found) if high is not None else None)
    if kind is float:
        return st.floats(
            low, high, exclude_min=Gt in found, exclude_max=Lt in found, allow_nan=False, allow_infinity=False
        )
    if kind is Path:
        return texts.map(Path)
    return {bool: st.booleans(), str: texts}[kind]
