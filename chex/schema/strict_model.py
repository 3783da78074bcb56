"""The base of all config classes: frozen, without unknown keys, and without conversion of values."""

import math
import os
from pathlib import Path
from typing import Annotated, TypeGuard

from pydantic import BaseModel, BeforeValidator, ConfigDict


class Strict(BaseModel):
    """The base of a config class, for settings from a YAML file or from Python.

    Refuses an unknown key, a value of another type (`true` or 1.0 for a whole number, a string for a number) and a
    number that is not finite. A whole number is accepted as a number.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


def is_int(value: object) -> TypeGuard[int]:
    """Returns whether `value` is a whole number; True and False are not."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_finite_number(value: object) -> TypeGuard[int | float]:
    """Returns whether `value` is a finite number; True and False are not."""
    return is_int(value) or (isinstance(value, float) and math.isfinite(value))


def _to_tuple(value: object) -> object:
    if not isinstance(value, list | tuple):
        raise ValueError(f"{value!r} is not a list; write [first, second], or a line `- entry` for each")
    return tuple(value)


AsList = BeforeValidator(_to_tuple)
"""Marks a tuple field; YAML writes it as a list."""


def _to_path(value: object) -> Path:
    if not isinstance(value, str | Path) or not str(value):
        raise ValueError(f"{value!r} is not a path; write a path as a string")
    return Path(value) if str(value).startswith("~") else Path(os.path.abspath(value))


def _to_absolute_path(value: object) -> Path:
    return Path(os.path.abspath(os.path.expanduser(_to_path(value))))


PathField = Annotated[Path, BeforeValidator(_to_absolute_path)]
"""The type of a config field: a path, which YAML writes as a string.

The path is made absolute from the command's working directory, because Ray's processes run in other directories.
"""
NodePath = Annotated[Path, BeforeValidator(_to_path)]
"""Like PathField, but `~` stays as it is, because each machine of a cluster has its own home directory."""
