"""The argument parser of both commands: full option names only, and one sentence for a wrong command line."""

import argparse
import difflib
import shlex
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from pydantic import BaseModel

Settings = Callable[[str], "type[BaseModel]"]
"""Returns the config class whose settings a subcommand takes after --set."""


class Parser(argparse.ArgumentParser):
    """A parser that accepts no abbreviated options, because an abbreviation can match the wrong option."""

    def __init__(self, *arguments: Any, **options: Any):
        super().__init__(*arguments, **{"allow_abbrev": False} | options)
        self.arguments: list[str] = []
        """The arguments of the command line, which `error` reads."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        self.arguments = list(args or ())
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """Ends the command with one sentence and exit code 2."""
        remedy = f"`{self.prog} --help` lists the arguments"
        if "arguments are required" in message and "--set" in self.arguments:
            remedy = "write it before --set, which takes all arguments that follow"
        self.exit(2, f"{self.prog}: {message if ';' in message else f'{message}; {remedy}'}\n")


def parse(parser: Parser, arguments: Sequence[str], settings: Settings) -> argparse.Namespace:
    """Returns the options in `arguments`. Ends the command with one sentence and exit code 2 if they are wrong."""
    options, unknown = parser.parse_known_args(arguments)
    if unknown:
        subparser = _subparser(parser, options)
        config_class = settings(options.command) if hasattr(options, "sets") else None
        subparser.error(_unknown_message(unknown, subparser, config_class))
    return options


def _subparser(parser: argparse.ArgumentParser, options: argparse.Namespace) -> argparse.ArgumentParser:
    """Returns the parser of the subcommand that was typed."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return _subparser(action.choices[getattr(options, action.dest)], options)
    return parser


def _unknown_message(
    unknown: Sequence[str], parser: argparse.ArgumentParser, config_class: "type[BaseModel] | None"
) -> str:
    """Returns the sentence about the first unknown argument, with the setting or option that was probably meant."""
    name, equals, value = unknown[0].partition("=")
    following = unknown[1:2]
    if not name.startswith("-"):
        if equals and config_class:
            return f"{unknown[0]} is an unexpected argument; write --set {shlex.quote(unknown[0])}"
        return f"{unknown[0]} is an unexpected argument; `{parser.prog} --help` lists the arguments"
    if not equals and following and not following[0].startswith("--"):
        value = following[0]
    value = value or "VALUE"
    if config_class:
        from chex.schema.error_sentences import matching_paths

        paths = matching_paths(name.lstrip("-").replace("-", "_"), config_class)
        if paths:
            meant = " or ".join(f"--set {shlex.quote(f'{path}={value}')}" for path in paths)
            return f"{name} is not an option; write {meant}"
    near = difflib.get_close_matches(name, parser._option_string_actions, n=1)
    return f"{name} is not an option; " + (f"did you mean {near[0]}?" if near else f"`{parser.prog} --help` lists them")
