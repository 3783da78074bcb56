import json
from collections.abc import Iterator, Mapping
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from chex.config import RunConfig, dump, override, validated
from chex.evaluate import EvaluationConfig
from chex.phantom.write import PhantomConfig
from chex.sets import parse_sets
from chex.yaml_text import dump_yaml, load_yaml
from search.cluster_config import Metadata
from search.search_config import SearchConfig
from tests.drawn_configs import drawn

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
)


@given(values)
@settings(max_examples=100)
def test_every_value_comes_back_from_yaml_as_it_was(value: object) -> None:
    again = load_yaml(dump_yaml(value))
    assert repr(again) == repr(value)


@given(st.sampled_from([RunConfig, SearchConfig, PhantomConfig, EvaluationConfig, Metadata]).flatmap(drawn))
@settings(max_examples=100)
def test_every_config_comes_back_from_its_dump_as_it_was(config: BaseModel) -> None:
    assert validated(type(config), load_yaml(dump(config)), "dump") == config


@given(drawn(RunConfig))
@settings(max_examples=50)
def test_every_config_comes_back_from_its_settings_as_it_was(config: RunConfig) -> None:
    sets = [f"{path}={json.dumps(value, ensure_ascii=False)}" for path, value in leaves(config.model_dump(mode="json"))]
    assert validated(RunConfig, override({}, parse_sets(sets)), "sets") == config


def leaves(content: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in content.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value
