"""Describes how two configs differ, by dotted path and value."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel

MAX_SHOWN = 3
"""The largest number of differences that the text names. It only counts the others."""
MISSING = "missing"


def describe_differences(here: BaseModel, there: BaseModel, there_is: str = "there") -> str:
    """Returns the differences, for example "optimizer.lr is 0.1 here and 0.2 there"; "" if there are none.

    Both configs are of one class. `there_is` follows each value of the second one: words for where it was found.
    """
    ours, theirs = (dict(_leaves(config.model_dump(mode="json"))) for config in (here, there))
    paths = [path for path in ours | theirs if ours.get(path, MISSING) != theirs.get(path, MISSING)]
    sentences = [
        f"{path} is {_format(ours.get(path, MISSING))} here and {_format(theirs.get(path, MISSING))} {there_is}"
        for path in paths[:MAX_SHOWN]
    ]
    return ", ".join(sentences) + (f", and {len(paths) - MAX_SHOWN} more" if len(paths) > MAX_SHOWN else "")


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yields every path below `path` whose value is a scalar, an empty mapping or an empty list, with its value."""
    items: list[tuple[Any, Any]] = []
    if isinstance(value, Mapping):
        items = list(value.items())
    elif isinstance(value, Sequence) and not isinstance(value, str):
        items = list(enumerate(value))
    if not items:
        yield path, value
    for key, item in items:
        yield from _leaves(item, f"{path}.{key}" if path else str(key))


def _format(value: Any) -> str:
    return "blank" if value is None else str(value)
