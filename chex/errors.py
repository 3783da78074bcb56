"""Errors that the user can correct; their message is one sentence."""

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """Bad input: a file, an image, a config value or a command line.

    The message names the file or dotted path, the value, the rule and the remedy. Both commands print it and exit
    with code 2.
    """


class DiskFull(InputError):
    """A disk of this machine is full or cannot be written."""


def suggest(value: object, choices: Iterable[str]) -> str:
    """Returns the end of an error message about `value`: the most similar choice, if there is one, and all choices."""
    options = list(choices)
    near = difflib.get_close_matches(str(value), options, n=1, cutoff=0.6)
    guess = f"did you mean '{near[0]}'? " if near else ""
    return f"{guess}choices: {', '.join(options)}"
