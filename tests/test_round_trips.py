import json
from collections.abc import Iterator, Mapping
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from chex.config import RunConfig, apply_overrides, to_yaml, validate
from chex.evaluation.evaluate import EvaluationConfig
from chex.phantom.write import PhantomConfig
from chex.schema.overrides import parse_overrides
from chex.schema.yaml_text import dump_yaml, load_yaml
from search.cluster.cluster_config import Metadata
from search.config.search_config import SearchConfig
from tests.drawn_configs import drawn

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
)


@given(values)
@settings(max_examples=100)
def test_every_value_survives_yaml(value: object) -> None:
    assert repr(load_yaml(dump_yaml(value))) == repr(value)


@given(st.sampled_from([RunConfig, SearchConfig, PhantomConfig, EvaluationConfig, Metadata]).flatmap(drawn))
@settings(max_examples=100)
def test_every_config_survives_its_yaml(config: BaseModel) -> None:
    assert validate(type(config), load_yaml(to_yaml(config)), "dump") == config


@given(drawn(RunConfig))
@settings(max_examples=50)
def test_every_config_survives_its_settings(config: RunConfig) -> None:
    sets = [f"{path}={json.dumps(value, ensure_ascii=False)}" for path, value in leaves(config.model_dump(mode="json"))]
    assert validate(RunConfig, apply_overrides({}, parse_overrides(sets)), "sets") == config


def leaves(content: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in content.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value
