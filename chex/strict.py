"""What all config classes have in common: they cannot be changed, know their keys, and convert no value."""

import math
import os
from pathlib import Path
from typing import Annotated, TypeGuard

from pydantic import BaseModel, BeforeValidator, ConfigDict


class Strict(BaseModel):
    """A class of settings, whether they come from a YAML file or from Python.

    An unknown key, a value of another type (`true` or 1.0 for a whole number, text for a number) and a number that is
    not finite are refused. A whole number is a number too.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


def whole(value: object) -> TypeGuard[int]:
    """Whether `value` is a whole number; true and false are none."""
    return isinstance(value, int) and not isinstance(value, bool)


def number(value: object) -> TypeGuard[int | float]:
    """Whether `value` is a finite number; true and false are none."""
    return whole(value) or (isinstance(value, float) and math.isfinite(value))


def _listed(value: object) -> object:
    if not isinstance(value, list | tuple):
        raise ValueError(f"{value!r} is not a list; write [first, second], or a line `- entry` for each")
    return tuple(value)


AsList = BeforeValidator(_listed)
"""Marks a tuple field, which YAML writes as a list."""


def _path(value: object) -> Path:
    if not isinstance(value, str | Path) or not str(value):
        raise ValueError(f"{value!r} is not a path; write one as text")
    return Path(value) if str(value).startswith("~") else Path(os.path.abspath(value))


def _expanded(value: object) -> Path:
    return Path(os.path.abspath(os.path.expanduser(_path(value))))


PathField = Annotated[Path, BeforeValidator(_expanded)]
"""A config field: a path, which YAML writes as text.

It is made absolute: a relative one is below the folder of the command, and processes of Ray work in other folders.
"""
NodePath = Annotated[Path, BeforeValidator(_path)]
"""The same, but `~` stays, since each machine of a cluster has its own."""
