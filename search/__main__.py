"""Starts the command `chex-search` after checking that `chex` is the package beside `search`."""

import sys
from collections.abc import Sequence
from pathlib import Path

import chex
import search

EXIT_BAD_INPUT = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code of `search.command.main`, or 2 if another package named chex was imported."""
    ours, other = (Path(str(package.__path__[0])).parent for package in (search, chex))
    if ours != other:
        print(
            f"chex-search: `chex` was imported from {other} and `search` from {ours}; they must lie side by side: "
            "remove the other package named chex from this environment",
            file=sys.stderr,
        )
        return EXIT_BAD_INPUT
    from search import command  # needs our chex

    return command.main(arguments)


if __name__ == "__main__":
    sys.exit(main())
