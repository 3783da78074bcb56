from typing import Any

import pytest

from chex.schema.yaml_text import BadYaml, RayLoader, load_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("4E7", 4e7),
        (".5", 0.5),
        ("5.", 5.0),
        ("-0.0", -0.0),
        ("3", 3),
        (".inf", float("inf")),
        ("010", "010"),
        ("0x1f", "0x1f"),
        ("1_000", "1_000"),
        ("1:30", "1:30"),
        ("0,001", "0,001"),
        ("off", "off"),
        ("yes", "yes"),
        ("2026-11-27", "2026-11-27"),
        ("'1e-3'", "1e-3"),
        ("true", True),
        ("~", None),
        ("", None),
        ("{a: &x {b: 1}, c: {<<: *x, b: 2}}", {"a": {"b": 1}, "c": {"b": 2}}),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text: str, value: Any) -> None:
    assert repr(load_yaml(text)) == repr(value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("optimizer:\n\tlr: 1", "line 2 has a tab; YAML indents with spaces"),
        ("optimizer:\n  lr:\t1", "line 2 has a tab; YAML indents with spaces"),
        ("seed: 1\nseed: 2", "line 2: the key 'seed' is there twice"),
        ("optimizer: {lr: 1, lr: 2}", "line 1: the key 'lr' is there twice"),
        ("a: b: c", "line 1: mapping values are not allowed here"),
        ("a: [1", r"line 1: expected ',' or '\]'"),
        ("a: 1\n---\nb: 1", "line 2: expected a single document in the stream, but found another document"),
        ("[" * 3000, "it is nested too deep"),
        ("\x00", "unacceptable character"),
        ("!!python/object:x.y {}", "line 1: could not determine a constructor for the tag"),
    ],
)
def test_text_that_is_not_yaml_is_refused_with_its_line(text: str, message: str) -> None:
    with pytest.raises(BadYaml, match=message):
        load_yaml(text)


def test_a_cluster_file_is_read_as_ray_reads_it_without_duplicate_keys() -> None:
    assert load_yaml("{a: off, b: 010}", RayLoader) == {"a": False, "b": 8}
    with pytest.raises(BadYaml, match="the key 'a' is there twice"):
        load_yaml("{a: off, a: on}", RayLoader)
