"""Where two configs differ, told by dotted paths and values, so that a new default is no difference."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel

SHOWN = 3
"""Differences that are told before the rest is counted."""
ABSENT = "not there"


def differences(here: BaseModel, there: BaseModel, there_is: str = "there") -> str:
    """What `here` has otherwise than `there`, for example "optimizer.lr is 0.1 here and 0.2 there"; "" if nothing.

    Both are of one class. `there_is` says where the second one was found.
    """
    ours, theirs = (dict(_leaves(each.model_dump(mode="json"))) for each in (here, there))
    paths = [path for path in ours | theirs if ours.get(path, ABSENT) != theirs.get(path, ABSENT)]
    told = [
        f"{path} is {_told(ours.get(path, ABSENT))} here and {_told(theirs.get(path, ABSENT))} {there_is}"
        for path in paths[:SHOWN]
    ]
    return ", ".join(told) + (f", and {len(paths) - SHOWN} more" if len(paths) > SHOWN else "")


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every path below `path` that holds one value, an empty mapping or an empty list."""
    inner: list[tuple[Any, Any]] = []
    if isinstance(value, Mapping):
        inner = list(value.items())
    elif isinstance(value, Sequence) and not isinstance(value, str):
        inner = list(enumerate(value))
    if not inner:
        yield path, value
    for key, each in inner:
        yield from _leaves(each, f"{path}.{key}" if path else str(key))


def _told(value: Any) -> str:
    return "blank" if value is None else str(value)
