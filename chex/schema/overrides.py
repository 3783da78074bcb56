"""Parses the arguments of --set: `a.b=value`, where the value is YAML."""

import shlex
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from chex.errors import InputError
from chex.schema.labels import OBSERVATIONS
from chex.schema.yaml_text import BadYaml, load_yaml

EXAMPLE = "write for example --set optimizer.lr=3e-4"
NAMES_WITH_SPACES = tuple(name for name in OBSERVATIONS if " " in name)
MAX_PIECES = 6
"""The largest number of arguments that are joined to recognise a setting that the shell has split at spaces."""


def parse_overrides(sets: Iterable[str]) -> dict[str, Any]:
    """Returns the values of `a.b=value` arguments by dotted path.

    Raises InputError if one path has two values, or if an argument does not have this form; the message then has the
    form that was probably meant.
    """
    arguments, parsed = list(sets), dict[str, Any]()
    for index in range(len(arguments)):
        path, value = _parse_argument(arguments, index)
        if path in parsed and parsed[path] != value:
            raise InputError(f"--set {path}: given twice, as {parsed[path]!r} and as {value!r}; give it once")
        parsed[path] = value
    return parsed


def _parse_argument(arguments: Sequence[str], index: int) -> tuple[str, Any]:
    argument = arguments[index]
    path, equals, value = (part.strip() for part in argument.partition("="))
    if not equals or not path:
        raise _split_error(arguments, index) or InputError(f"--set {argument}: not of the form a.b=value; {EXAMPLE}")
    try:
        return path, load_yaml(value)
    except BadYaml as error:
        raise _split_error(arguments, index) or InputError(
            f"--set {argument}: '{value}' is not a YAML value; {_quoting_remedy(value)}"
        ) from error


def _quoting_remedy(value: str) -> str:
    for opening, closing in ("[]", "{}"):
        if value.startswith(opening) and not value.endswith(closing):
            return f"end it with {closing}"
    return "put quotes around it"


def _split_error(arguments: Sequence[str], index: int) -> InputError | None:
    """Returns the error if the argument looks like part of a setting that the shell has split at a space, else None."""
    for typed, meant in _joined_settings(arguments, index):
        return InputError(f"--set {typed}: a space splits it; write --set {shlex.quote(meant)}")
    return None


def _joined_settings(arguments: Sequence[str], index: int) -> Iterator[tuple[str, str]]:
    """Yields (as typed, as meant) for each setting that the argument at `index` forms together with its neighbours."""
    for start in range(max(0, index - 1), index + 1):
        for end in range(start + 2, min(start + MAX_PIECES, len(arguments)) + 1):
            typed = " ".join(arguments[start:end])
            path, equals, value = (part.strip() for part in typed.partition("="))
            if not equals and end == start + 2 and start == index and " " not in arguments[index + 1]:
                path, value = arguments[start:end]
            if path and value and _is_path(path) and _is_value(value):
                yield typed, f"{path}={value}"


def _is_path(path: str) -> bool:
    for name in NAMES_WITH_SPACES:
        path = path.replace(name, name.replace(" ", ""))
    return " " not in path


def _is_value(text: str) -> bool:
    try:
        load_yaml(text)
    except BadYaml:
        return False
    return True
