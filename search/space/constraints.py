"""Parses and evaluates constraints between the parameters of a trial: arithmetic, comparisons, `and`, `or`, `not`.

A constraint is parsed into a syntax tree that may have only the node types below. It is never run as code.
"""

import ast
import difflib
import operator
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chex.errors import InputError, suggest
from search.space.param_paths import effective_path, get_path, known_paths

ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
ORDER: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
EQUALITY: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {ast.Eq: operator.eq, ast.NotEq: operator.ne}
COMPARISONS = ORDER | EQUALITY
EXAMPLE = "write for example `optimizer.lr_stem < optimizer.lr`, with + - * /, comparisons, and, or, not"
MAX_LENGTH = 1000
"""The maximum number of characters of a constraint."""
QUOTED = r"'[^']*'|\"[^\"]*\""
FROM_BASE = "base"
"""Marks the constants of a tree that are values of the base run."""
TYPES: dict[type, str] = {bool: "truth", int: "number", float: "number", str: "word"}
ARTICLES = {"number": "a number", "word": "a word", "truth": "true or false", "either": "a number or a word"}


@dataclass(frozen=True)
class Constraint:
    """A checked constraint."""

    text: str
    """The constraint as the user wrote it."""
    tree: ast.expr
    params: dict[str, str]
    """The dotted path of the searched parameter for which each name in the tree stands."""

    def holds(self, values: Mapping[str, Any]) -> bool:
        """Returns whether a trial with these parameter values satisfies the constraint.

        True if the trial lacks a parameter of the constraint, or has it blank; False if the constraint divides by 0.
        """
        by_name = {name: values.get(path) for name, path in self.params.items()}
        if None in by_name.values():
            return True
        try:
            return bool(_evaluate(self.tree, by_name))
        except ZeroDivisionError:
            return False


@dataclass(frozen=True)
class Constraints:
    """The constraints of a search."""

    each: tuple[Constraint, ...] = ()

    def feasible(self, values: Mapping[str, Any]) -> bool:
        """Returns whether a trial with these parameter values satisfies every constraint."""
        return self.violated(values) is None

    def violated(self, values: Mapping[str, Any]) -> str | None:
        """Returns the text of the first constraint that the values do not satisfy; None where they satisfy all."""
        return next((each.text for each in self.each if not each.holds(values)), None)


def read_constraints(texts: Sequence[str], params: Mapping[str, Sequence[Any]], base: Mapping[str, Any]) -> Constraints:
    """Returns the constraints in `texts`, checked.

    `params` has the choices or sample values of each searched path. A path that is not searched has its value in
    `base`, a RunConfig as JSON. Raises InputError if a text is not an allowed expression, has an unknown path or a word
    that is no value of its parameter, or mentions no searched parameter.
    """
    return Constraints(tuple(_Parser(text, params, base).parse() for text in texts))


class _Parser:
    """Parses and checks one constraint."""

    def __init__(self, text: str, params: Mapping[str, Sequence[Any]], base: Mapping[str, Any]):
        self.text, self.params, self.base = text, params, base
        self.names: dict[str, str] = {}
        """The dotted path for which each name in the tree stands."""
        self.words: dict[str, str] = {}
        """The word (quoted, or a choice that is not a Python name) for which each name in the tree stands."""

    def parse(self) -> Constraint:
        tree = self._resolve_names(self._parse_text())
        self._require(tree, "truth")
        searched = {name: path for name, path in self.names.items() if path in self.params}
        if not searched:
            raise self._error(
                "mentions no parameter of the space, so it is the same for every trial", "name a searched path"
            )
        return Constraint(self.text, tree, searched)

    def _parse_text(self) -> ast.expr:
        """Returns the syntax tree, with a name in place of each path, quoted word, and choice with dots or hyphens."""
        paths = {*known_paths(self.base), *self.params}
        choices = {value for values in self.params.values() for value in values if isinstance(value, str)}
        words = {word for word in choices if word[:1].isalpha() and not word.isidentifier()}
        names = sorted(paths | words, key=len, reverse=True)
        pattern = re.compile(rf"(?P<quoted>{QUOTED})|(?<![\w.])(?P<name>{'|'.join(map(re.escape, names))})(?![\w.])")
        text = pattern.sub(lambda match: self._name_for(match, paths), self.text)
        unknown = re.search(r"[A-Za-z_]\w*(?:\.\w+)+", text)
        if unknown:
            remedy = f"{_suggest_path(unknown[0], sorted(paths))} (put a value with dots in quotes: '{unknown[0]}')"
            raise self._error(f"'{unknown[0]}' is not a path of a run", remedy)
        try:
            if len(text) > MAX_LENGTH:
                raise SyntaxError
            return ast.parse(text.strip(), mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            raise self._error("is not an expression", EXAMPLE) from None

    def _name_for(self, match: re.Match[str], paths: Collection[str]) -> str:
        """Returns the name in the tree for a matched path or word, and records what the name stands for."""
        word = match["quoted"][1:-1] if match["quoted"] else match["name"]
        if match["quoted"] or word not in paths:
            name = f"word_{len(self.words)}"
            self.words[name] = word
        else:
            name = f"path_{len(self.names)}"
            self.names[name] = effective_path(word, self.base, self.params)
        return name

    def _resolve_names(self, tree: ast.expr) -> ast.expr:
        """Returns the tree with a constant (the base run's value, or a word) in place of each name of no parameter."""
        base_values = {name: self._base_value(path) for name, path in self.names.items() if path not in self.params}
        names, words = self.names, self.words | {"true": True, "false": False}

        class Resolve(ast.NodeTransformer):
            def visit_Name(self, node: ast.Name) -> ast.expr:
                if node.id in base_values:
                    return ast.Constant(base_values[node.id], kind=FROM_BASE)
                return node if node.id in names else ast.Constant(words.get(node.id, node.id))

        return Resolve().visit(tree)

    def _base_value(self, path: str) -> Any:
        parent = next((param for param in self.params if path.startswith(f"{param}.")), None)
        if parent:
            raise self._error(f"{parent} is searched and {path} is not", f"add {path} to the space")
        value = get_path(self.base, path)
        if value is None:
            raise self._error(
                f"{path} is blank in the base run and not searched", "give it a value, or drop the constraint"
            )
        return value

    def _type(self, node: ast.expr) -> str:
        """Returns the type of the node's value, a key of ARTICLES. Raises InputError if an operand has a wrong type."""
        if isinstance(node, ast.BoolOp):
            for part in node.values:
                self._require(part, "truth")
            return "truth"
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.USub):
            return self._require(node.operand, "truth" if isinstance(node.op, ast.Not) else "number")
        if isinstance(node, ast.BinOp) and type(node.op) in ARITHMETIC:
            self._require(node.left, "number")
            return self._require(node.right, "number")
        if isinstance(node, ast.Compare) and all(type(op) in COMPARISONS for op in node.ops):
            for first, op, second in zip([node.left, *node.comparators], node.ops, node.comparators, strict=False):
                self._check_comparison(first, op, second)
            return "truth"
        if isinstance(node, ast.Name):
            return _type_of(self.params[self.names[node.id]])
        if isinstance(node, ast.Constant) and isinstance(node.value, bool | int | float | str):
            return _type_of([node.value])
        raise self._error(f"`{self._format(node)}` is not allowed", EXAMPLE)

    def _require(self, node: ast.expr, wanted: str) -> str:
        found = self._type(node)
        if found != wanted:
            raise self._error(
                f"`{self._format(node)}` is {ARTICLES[found]} where {ARTICLES[wanted]} is needed", EXAMPLE
            )
        return found

    def _check_comparison(self, first: ast.expr, op: ast.cmpop, second: ast.expr) -> None:
        if type(op) in ORDER:
            self._require(first, "number")
            self._require(second, "number")
            return
        types = {self._type(first), self._type(second)}
        if len(types) > 1 and "either" not in types:
            raise self._error(
                f"`{self._format(first)}` and `{self._format(second)}` are never equal: they are "
                f"{' and '.join(sorted(ARTICLES[each] for each in types))}",
                EXAMPLE,
            )
        for one, other in ((first, second), (second, first)):
            self._check_word(one, other)

    def _check_word(self, param: ast.expr, word: ast.expr) -> None:
        """Raises InputError if `param` is a parameter and `word` a text that is none of its values."""
        if not isinstance(param, ast.Name) or not isinstance(word, ast.Constant) or word.kind == FROM_BASE:
            return
        path, value = self.names[param.id], word.value
        choices = [str(choice) for choice in self.params[path]]
        if isinstance(value, str) and value not in choices:
            raise self._error(f"'{value}' is no value of {path}", suggest(value, choices))

    def _format(self, node: ast.expr) -> str:
        return re.sub(r"\bpath_\d+\b", lambda match: self.names.get(match[0], match[0]), ast.unparse(node))

    def _error(self, what: str, remedy: str) -> InputError:
        return InputError(f"constraints: '{self.text}': {what}; {remedy}")


def _type_of(values: Sequence[Any]) -> str:
    types = {TYPES[type(value)] for value in values if value is not None}
    return types.pop() if len(types) == 1 else "either"


def _suggest_path(path: str, paths: Sequence[str]) -> str:
    near = difflib.get_close_matches(path, paths, n=1, cutoff=0.6)
    return f"did you mean '{near[0]}'?" if near else "name a dotted path of a run, for example optimizer.lr"


def _evaluate(node: ast.expr, values: Mapping[str, Any]) -> Any:
    """Returns the value of a tree that `_Parser` has checked; `values` has the value of each name in it."""
    if isinstance(node, ast.BoolOp):
        each = (_evaluate(part, values) for part in node.values)
        return all(each) if isinstance(node.op, ast.And) else any(each)
    if isinstance(node, ast.UnaryOp):
        value = _evaluate(node.operand, values)
        return not value if isinstance(node.op, ast.Not) else -value
    if isinstance(node, ast.BinOp):
        return ARITHMETIC[type(node.op)](_evaluate(node.left, values), _evaluate(node.right, values))
    if isinstance(node, ast.Compare):
        sides = [_evaluate(side, values) for side in (node.left, *node.comparators)]
        pairs = zip(sides, node.ops, sides[1:], strict=False)
        return all(COMPARISONS[type(op)](first, second) for first, op, second in pairs)
    if isinstance(node, ast.Name):
        return values[node.id]
    assert isinstance(node, ast.Constant)
    return node.value
