"""YAML as configs are written in it: the words and numbers of YAML 1.2, and no key twice.

PyYAML alone reads YAML 1.1, in which 1e-3 is a word, `off` is false, 010 is 8 and 1:30 is 90.
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
    """A text that is not YAML; the message says why, and in which line."""


class RayLoader(yaml.SafeLoader):
    """YAML 1.1, as Ray reads a cluster's file; a key that stands twice in one mapping is refused."""

    def compose_mapping_node(self, anchor: Any) -> MappingNode:
        node = super().compose_mapping_node(anchor)
        seen: set[tuple[str, str]] = set()
        for key, _ in node.value:
            if isinstance(key, ScalarNode) and (key.tag, key.value) in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"the key '{key.value}' stands there twice", problem_mark=key.start_mark
                )
            if isinstance(key, ScalarNode):
                seen.add((key.tag, key.value))
        return node


class ConfigLoader(RayLoader):
    """YAML 1.2's core schema, without octal and hexadecimal numbers."""


class ConfigDumper(yaml.SafeDumper):
    """Puts quotes around whatever YAML 1.1 or 1.2 would take for something else than a text."""


ConfigLoader.yaml_implicit_resolvers = {}
for _tag, _form, _starts in (
    ("null", re.compile(r"(?:~|null|Null|NULL|)$"), ["~", "n", "N", ""]),
    ("bool", re.compile(r"(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")),
    ("int", re.compile(r"[-+]?(?:0|[1-9][0-9]*)$"), NUMBER_STARTS),
    ("float", FLOAT, NUMBER_STARTS),
    ("merge", re.compile(r"<<$"), ["<"]),
):
    ConfigLoader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", _form, _starts)


def _text(dumper: yaml.SafeDumper, text: str) -> ScalarNode:
    """A text; one with line breaks or the like is written with escapes, which all come back as they were."""
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if text.isprintable() else '"')


ConfigDumper.add_representer(str, _text)
ConfigDumper.add_implicit_resolver("tag:yaml.org,2002:float", FLOAT, NUMBER_STARTS)


def load_yaml(text: str, loader: type[RayLoader] = ConfigLoader) -> Any:
    """The value that `text` writes: mappings, lists, texts, numbers, true, false and None. Raises BadYaml."""
    try:
        return yaml.load(text, Loader=loader)
    except yaml.MarkedYAMLError as error:
        raise BadYaml(_reason(text, error)) from error
    except RecursionError as error:
        raise BadYaml("it is nested too deep") from error
    except (yaml.YAMLError, ValueError) as error:
        raise BadYaml(" ".join(str(error).split())) from error


def dump_yaml(value: Any) -> str:
    """A text from which `load_yaml` gives an equal value."""
    return yaml.dump(value, Dumper=ConfigDumper, sort_keys=False, allow_unicode=True)


def _reason(text: str, error: yaml.MarkedYAMLError) -> str:
    mark = error.problem_mark or error.context_mark
    line = mark.line if mark else 0
    lines = text.splitlines()
    told = (error.context, error.problem) if error.context and "document" in error.context else (error.problem,)
    problem = ", ".join(filter(None, told)) or str(error.context)
    if line < len(lines) and ("'\\t'" in problem or re.match(r" *\t", lines[line])):
        return f"line {line + 1} has a tab; YAML indents with spaces"
    return f"line {line + 1}: {problem}"
