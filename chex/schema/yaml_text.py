"""Reads and writes YAML with the scalars of YAML 1.2, and refuses duplicate keys.

PyYAML by itself reads YAML 1.1, where 1e-3 is a string, `off` is false, 010 is 8 and 1:30 is 90.
"""

import re
from typing import Any

import yaml
from yaml.nodes import MappingNode, ScalarNode

NUMBER_STARTS = list("-+.0123456789")
FLOAT = re.compile(
    r"[-+]?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?$|[-+]?\.(?:inf|Inf|INF)$|\.(?:nan|NaN|NAN)$"
)


class BadYaml(ValueError):
    """The text is not YAML; the message says why, and in which line."""


class RayLoader(yaml.SafeLoader):
    """Reads YAML 1.1, as Ray reads a cluster's file, and refuses duplicate keys of a mapping."""

    def compose_mapping_node(self, anchor: Any) -> MappingNode:
        node = super().compose_mapping_node(anchor)
        seen: set[tuple[str, str]] = set()
        for key, _ in node.value:
            if isinstance(key, ScalarNode) and (key.tag, key.value) in seen:
                raise yaml.MarkedYAMLError(problem=f"the key '{key.value}' is there twice", problem_mark=key.start_mark)
            if isinstance(key, ScalarNode):
                seen.add((key.tag, key.value))
        return node


class ConfigLoader(RayLoader):
    """Reads the core schema of YAML 1.2, without octal and hexadecimal numbers."""


class ConfigDumper(yaml.SafeDumper):
    """Puts quotes around strings that YAML 1.1 or 1.2 would read as another type."""


ConfigLoader.yaml_implicit_resolvers = {}
for _tag, _form, _starts in (
    ("null", re.compile(r"(?:~|null|Null|NULL|)$"), ["~", "n", "N", ""]),
    ("bool", re.compile(r"(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")),
    ("int", re.compile(r"[-+]?(?:0|[1-9][0-9]*)$"), NUMBER_STARTS),
    ("float", FLOAT, NUMBER_STARTS),
    ("merge", re.compile(r"<<$"), ["<"]),
):
    ConfigLoader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", _form, _starts)


def _represent_string(dumper: yaml.SafeDumper, text: str) -> ScalarNode:
    """Writes a string; one with line breaks or control characters gets escapes, so that it loads unchanged."""
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if text.isprintable() else '"')


ConfigDumper.add_representer(str, _represent_string)
ConfigDumper.add_implicit_resolver("tag:yaml.org,2002:float", FLOAT, NUMBER_STARTS)


def load_yaml(text: str, loader: type[RayLoader] = ConfigLoader) -> Any:
    """Returns the value of a YAML text: mappings, lists, strings, numbers, booleans and None. Raises BadYaml."""
    try:
        return yaml.load(text, Loader=loader)
    except yaml.MarkedYAMLError as error:
        raise BadYaml(_explain(text, error)) from error
    except RecursionError as error:
        raise BadYaml("it is nested too deep") from error
    except (yaml.YAMLError, ValueError) as error:
        raise BadYaml(" ".join(str(error).split())) from error


def dump_yaml(value: Any) -> str:
    """Returns YAML that `load_yaml` reads as an equal value."""
    return yaml.dump(value, Dumper=ConfigDumper, sort_keys=False, allow_unicode=True)


def _explain(text: str, error: yaml.MarkedYAMLError) -> str:
    mark = error.problem_mark or error.context_mark
    line = mark.line if mark else 0
    lines = text.splitlines()
    parts = (error.context, error.problem) if error.context and "document" in error.context else (error.problem,)
    problem = ", ".join(filter(None, parts)) or str(error.context)
    if line < len(lines) and ("'\\t'" in problem or re.match(r" *\t", lines[line])):
        return f"line {line + 1} has a tab; YAML indents with spaces"
    return f"line {line + 1}: {problem}"
