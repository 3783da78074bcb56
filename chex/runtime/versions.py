"""The option `--version`: the versions of this program and of the libraries that affect its results."""

import argparse
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

DISTRIBUTION = "chexpert-search"


def add_version(parser: argparse.ArgumentParser, libraries: Sequence[str]) -> None:
    """Adds the option `--version`, which prints `format_versions` of the `libraries` and ends with exit code 0."""
    parser.add_argument(
        "--version",
        action=_Version,
        libraries=libraries,
        nargs=0,
        help="print the versions of this program, Python and the main libraries",
    )


def format_versions(libraries: Sequence[str]) -> str:
    """Returns one line with the versions of this program, Python and the `libraries`, without importing them."""
    listed = ", ".join(f"{name} {_version(name)}" for name in libraries)
    return f"{DISTRIBUTION} {_version(DISTRIBUTION)} (Python {platform.python_version()}, {listed})"


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


class _Version(argparse.Action):
    """Looks up the versions only when the option is used, unlike argparse's own action."""

    def __init__(self, *args: object, libraries: Sequence[str], **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self.libraries = libraries
        """The libraries to list."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object, **__: object) -> None:
        print(format_versions(self.libraries))
        parser.exit()
