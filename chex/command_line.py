"""What both commands take on the command line: whole names of options, and one sentence for what is wrong."""

import argparse
import difflib
import shlex
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from pydantic import BaseModel

Settings = Callable[[str], "type[BaseModel]"]
"""Gives the class whose settings a subcommand takes after --set."""


class Parser(argparse.ArgumentParser):
    """Its options have no abbreviations, which would take one option for another."""

    def __init__(self, *arguments: Any, **options: Any):
        super().__init__(*arguments, **{"allow_abbrev": False} | options)
        self.given: list[str] = []

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        self.given = list(args or ())
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """Ends the command with a sentence and the code 2."""
        remedy = f"`{self.prog} --help` says what it takes"
        if "arguments are required" in message and "--set" in self.given:
            remedy = "what is not a setting stands before --set, which takes all that follows it"
        self.exit(2, f"{self.prog}: {message if ';' in message else f'{message}; {remedy}'}\n")


def parse(parser: Parser, arguments: Sequence[str], settings: Settings) -> argparse.Namespace:
    """The options in `arguments`. Ends the command with a sentence and the code 2 for any that it does not have."""
    options, unknown = parser.parse_known_args(arguments)
    if unknown:
        own = _chosen(parser, options)
        own.error(_unknown(unknown, own, settings(options.command) if hasattr(options, "sets") else None))
    return options


def _chosen(parser: argparse.ArgumentParser, options: argparse.Namespace) -> argparse.ArgumentParser:
    """The parser of the subcommand that was typed."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return _chosen(action.choices[getattr(options, action.dest)], options)
    return parser


def _unknown(unknown: Sequence[str], parser: argparse.ArgumentParser, settings: "type[BaseModel] | None") -> str:
    name, equals, value = unknown[0].partition("=")
    following = unknown[1:2]
    if not name.startswith("-"):
        if equals and settings:
            return f"{unknown[0]} is one argument too many; write --set {shlex.quote(unknown[0])}"
        return f"{unknown[0]} is one argument too many; `{parser.prog} --help` says what it takes"
    if not equals and following and not following[0].startswith("--"):
        value = following[0]
    value = value or "VALUE"
    if settings:
        from chex.sentences import meant_by

        paths = meant_by(name.lstrip("-").replace("-", "_"), settings)
        if paths:
            meant = " or ".join(f"--set {shlex.quote(f'{path}={value}')}" for path in paths)
            return f"{name} is not an option; write {meant}"
    near = difflib.get_close_matches(name, parser._option_string_actions, n=1)
    return f"{name} is not an option; " + (f"did you mean {near[0]}?" if near else f"`{parser.prog} --help` lists them")
