"""What is typed after --set: `a.b=value` texts, whose values are YAML."""

import shlex
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from chex.errors import InputError
from chex.labels import OBSERVATIONS
from chex.yaml_text import BadYaml, load_yaml

EXAMPLE = "write for example --set optimizer.lr=3e-4"
SPACED = tuple(name for name in OBSERVATIONS if " " in name)
LONGEST = 6
"""Pieces that one setting may be taken for, if a shell has split it."""


def parse_sets(sets: Iterable[str]) -> dict[str, Any]:
    """Dotted paths to values, from `a.b=value` texts.

    Raises InputError for what is not of this form, with what was probably meant, and for two values of one path.
    """
    texts, parsed = list(sets), dict[str, Any]()
    for place, text in enumerate(texts):
        path, value = _parted(text, texts, place)
        if path in parsed and parsed[path] != value:
            raise InputError(f"--set {path}: given twice, as {parsed[path]!r} and as {value!r}; give it once")
        parsed[path] = value
    return parsed


def _parted(text: str, texts: Sequence[str], place: int) -> tuple[str, Any]:
    path, equals, value = (part.strip() for part in text.partition("="))
    if not equals or not path:
        raise _split(texts, place) or InputError(f"--set {text}: not of the form a.b=value; {EXAMPLE}")
    try:
        return path, load_yaml(value)
    except BadYaml as error:
        raise _split(texts, place) or InputError(
            f"--set {text}: '{value}' is not a YAML value; {_closing(value)}"
        ) from error


def _closing(value: str) -> str:
    for opening, closing in ("[]", "{}"):
        if value.startswith(opening) and not value.endswith(closing):
            return f"end it with {closing}"
    return "put quotes around it"


def _split(texts: Sequence[str], place: int) -> InputError | None:
    """The error for a setting that the shell has taken apart at a space, where it looks like one."""
    for given, meant in _joined(texts, place):
        return InputError(f"--set {given}: the space parts it; write --set {shlex.quote(meant)}")
    return None


def _joined(texts: Sequence[str], place: int) -> Iterator[tuple[str, str]]:
    """What was typed around the text at `place`, and the setting that it makes without the shell's cuts."""
    for start in range(max(0, place - 1), place + 1):
        for end in range(start + 2, min(start + LONGEST, len(texts)) + 1):
            given = " ".join(texts[start:end])
            path, equals, value = (part.strip() for part in given.partition("="))
            if not equals and end == start + 2 and start == place and " " not in texts[place + 1]:
                path, value = texts[start:end]
            if path and value and _is_path(path) and _is_value(value):
                yield given, f"{path}={value}"


def _is_path(path: str) -> bool:
    for name in SPACED:
        path = path.replace(name, name.replace(" ", ""))
    return " " not in path


def _is_value(text: str) -> bool:
    try:
        load_yaml(text)
    except BadYaml:
        return False
    return True
