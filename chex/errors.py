"""What a user did that cannot work, told in one sentence."""

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """Bad input from outside: a file, an image, a config value, a command line.

    Its text names the file or dotted path, the value, the rule and the remedy. Both commands print it and exit with 2.
    """


class NoRoom(InputError):
    """A disk of this machine that has no room for what it needs, or cannot be written."""


def one_of(value: object, choices: Iterable[str]) -> str:
    """The end of a sentence that refuses `value`: the nearest choice, where one is near, and then all of them."""
    listed = list(choices)
    near = difflib.get_close_matches(str(value), listed, n=1, cutoff=0.6)
    guess = f"did you mean '{near[0]}'? " if near else ""
    return f"{guess}choices: {', '.join(listed)}"
