"""`--version`: what of this project and of the libraries that decide on its figures is installed."""

import argparse
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

DISTRIBUTION = "chexpert-search"


def add_version(parser: argparse.ArgumentParser, libraries: Sequence[str]) -> None:
    """Gives `parser` the option `--version`, which prints `versions` of the `libraries` and ends with exit code 0."""
    parser.add_argument(
        "--version",
        action=_Version,
        libraries=libraries,
        nargs=0,
        help="print the versions of this program, Python and the main libraries",
    )


def versions(libraries: Sequence[str]) -> str:
    """Returns one line: this distribution's version, Python's and those of the `libraries`, none of them imported."""
    named = ", ".join(f"{name} {_version(name)}" for name in libraries)
    return f"{DISTRIBUTION} {_version(DISTRIBUTION)} (Python {platform.python_version()}, {named})"


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


class _Version(argparse.Action):
    """Reads the versions only when they are asked for, unlike argparse's own action."""

    def __init__(self, *args: object, libraries: Sequence[str], **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self.libraries = libraries

    def __call__(self, parser: argparse.ArgumentParser, *_: object, **__: object) -> None:
        print(versions(self.libraries))
        parser.exit()
