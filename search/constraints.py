"""Constraints: what has to hold between the knobs of a trial, in arithmetic, comparisons, `and`, `or` and `not`.

They are parsed into a tree of the few kinds of node below and computed from it; nothing is run as code.
"""

import ast
import difflib
import operator
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chex.errors import InputError, one_of
from search.paths import governing, known_paths, value_at

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
EXAMPLE = "write for example `optimizer.lr_low < optimizer.lr`, with + - * /, comparisons, and, or, not"
LONGEST = 1000
QUOTED = r"'[^']*'|\"[^\"]*\""
OF_BASE = "base"
"""Marks, in a tree, what the base run says."""
KINDS: dict[type, str] = {bool: "truth", int: "number", float: "number", str: "word"}
ARTICLES = {"number": "a number", "word": "a word", "truth": "true or false", "either": "a number or a word"}


@dataclass(frozen=True)
class Constraint:
    """One of them, as it was written and as it is computed."""

    text: str
    tree: ast.expr
    knobs: dict[str, str]
    """The names in the tree, and the path that each stands for."""

    def holds(self, values: Mapping[str, Any]) -> bool:
        """Whether a trial with these values of its knobs satisfies it.

        It holds where a knob that it mentions does not exist or is blank, and fails where it divides by 0.
        """
        given = {name: values.get(path) for name, path in self.knobs.items()}
        if None in given.values():
            return True
        try:
            return bool(_computed(self.tree, given))
        except ZeroDivisionError:
            return False


@dataclass(frozen=True)
class Constraints:
    """All of a search."""

    each: tuple[Constraint, ...] = ()

    def feasible(self, values: Mapping[str, Any]) -> bool:
        """Whether a trial with these values of its knobs satisfies every constraint."""
        return self.violated(values) is None

    def violated(self, values: Mapping[str, Any]) -> str | None:
        """The first constraint that the values do not satisfy, as it was written."""
        return next((each.text for each in self.each if not each.holds(values)), None)


def read_constraints(texts: Sequence[str], knobs: Mapping[str, Sequence[Any]], base: Mapping[str, Any]) -> Constraints:
    """The constraints in `texts`. `knobs` has, for each searched path, its choices or values that stand for them.

    A path that is not searched is the value that `base`, a RunConfig as JSON has it, gives it. Raises InputError for
    what is no such expression, an unknown path, a word that its knob cannot be, and a constraint on no knob.
    """
    return Constraints(tuple(_Reader(text, knobs, base).constraint() for text in texts))


class _Reader:
    """Reads one constraint."""

    def __init__(self, text: str, knobs: Mapping[str, Sequence[Any]], base: Mapping[str, Any]):
        self.text, self.knobs, self.base = text, knobs, base
        self.names: dict[str, str] = {}
        """The paths in the text, by the names that they get in the tree."""
        self.words: dict[str, str] = {}
        """The same of words: in quotes, or choices of a knob that Python would take apart."""

    def constraint(self) -> Constraint:
        tree = self._resolved(self._parsed())
        self._require(tree, "truth")
        searched = {name: path for name, path in self.names.items() if path in self.knobs}
        if not searched:
            raise self._refused(
                "mentions no knob of the space, so that it is the same for every trial", "name a searched path"
            )
        return Constraint(self.text, tree, searched)

    def _parsed(self) -> ast.expr:
        """The tree, in which every path, quoted text and choice with dots or hyphens has become a name."""
        paths = {*known_paths(self.base), *self.knobs}
        choices = {value for values in self.knobs.values() for value in values if isinstance(value, str)}
        words = {word for word in choices if word[:1].isalpha() and not word.isidentifier()}
        names = sorted(paths | words, key=len, reverse=True)
        form = re.compile(rf"(?P<quoted>{QUOTED})|(?<![\w.])(?P<name>{'|'.join(map(re.escape, names))})(?![\w.])")
        text = form.sub(lambda match: self._named(match, paths), self.text)
        strange = re.search(r"[A-Za-z_]\w*(?:\.\w+)+", text)
        if strange:
            remedy = f"{_near(strange[0], sorted(paths))} (a value with dots stands in quotes: '{strange[0]}')"
            raise self._refused(f"'{strange[0]}' is not a path of a run", remedy)
        try:
            if len(text) > LONGEST:
                raise SyntaxError
            return ast.parse(text.strip(), mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            raise self._refused("is not an expression", EXAMPLE) from None

    def _named(self, match: re.Match[str], paths: Collection[str]) -> str:
        """The name that a path or a word gets in the tree."""
        word = match["quoted"][1:-1] if match["quoted"] else match["name"]
        if match["quoted"] or word not in paths:
            name = f"word_{len(self.words)}"
            self.words[name] = word
        else:
            name = f"path_{len(self.names)}"
            self.names[name] = governing(word, self.base, self.knobs)
        return name

    def _resolved(self, tree: ast.expr) -> ast.expr:
        """The tree in which only knobs are names: other paths are what the base run says, and other names words."""
        of_base = {name: self._of_base(path) for name, path in self.names.items() if path not in self.knobs}
        names, words = self.names, self.words | {"true": True, "false": False}

        class Resolve(ast.NodeTransformer):
            def visit_Name(self, node: ast.Name) -> ast.expr:
                if node.id in of_base:
                    return ast.Constant(of_base[node.id], kind=OF_BASE)
                return node if node.id in names else ast.Constant(words.get(node.id, node.id))

        return Resolve().visit(tree)

    def _of_base(self, path: str) -> Any:
        parent = next((knob for knob in self.knobs if path.startswith(f"{knob}.")), None)
        if parent:
            raise self._refused(f"{parent} is searched and {path} is not", f"add {path} to the space")
        value = value_at(self.base, path)
        if value is None:
            raise self._refused(
                f"{path} is blank in the base run and not searched", "give it a value, or drop the constraint"
            )
        return value

    def _kind(self, node: ast.expr) -> str:
        """What the node gives: a number, a word, a truth or either. Raises InputError for what does not fit."""
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
                self._compared(first, op, second)
            return "truth"
        if isinstance(node, ast.Name):
            return _kind_of(self.knobs[self.names[node.id]])
        if isinstance(node, ast.Constant) and isinstance(node.value, bool | int | float | str):
            return _kind_of([node.value])
        raise self._refused(f"`{self._shown(node)}` is not allowed", EXAMPLE)

    def _require(self, node: ast.expr, wanted: str) -> str:
        kind = self._kind(node)
        if kind != wanted:
            raise self._refused(
                f"`{self._shown(node)}` is {ARTICLES[kind]} where {ARTICLES[wanted]} is needed", EXAMPLE
            )
        return kind

    def _compared(self, first: ast.expr, op: ast.cmpop, second: ast.expr) -> None:
        if type(op) in ORDER:
            self._require(first, "number")
            self._require(second, "number")
            return
        kinds = {self._kind(first), self._kind(second)}
        if len(kinds) > 1 and "either" not in kinds:
            raise self._refused(
                f"`{self._shown(first)}` and `{self._shown(second)}` are never equal, being "
                f"{' and '.join(sorted(ARTICLES[kind] for kind in kinds))}",
                EXAMPLE,
            )
        for one, other in ((first, second), (second, first)):
            self._check_word(one, other)

    def _check_word(self, knob: ast.expr, word: ast.expr) -> None:
        """A word that the constraint compares with a knob is one of the knob's values."""
        if not isinstance(knob, ast.Name) or not isinstance(word, ast.Constant) or word.kind == OF_BASE:
            return
        path, value = self.names[knob.id], word.value
        choices = [str(choice) for choice in self.knobs[path]]
        if isinstance(value, str) and value not in choices:
            raise self._refused(f"'{value}' is no value of {path}", one_of(value, choices))

    def _shown(self, node: ast.expr) -> str:
        return re.sub(r"\bpath_\d+\b", lambda match: self.names.get(match[0], match[0]), ast.unparse(node))

    def _refused(self, what: str, remedy: str) -> InputError:
        return InputError(f"constraints: '{self.text}': {what}; {remedy}")


def _kind_of(values: Sequence[Any]) -> str:
    kinds = {KINDS[type(value)] for value in values if value is not None}
    return kinds.pop() if len(kinds) == 1 else "either"


def _near(path: str, paths: Sequence[str]) -> str:
    near = difflib.get_close_matches(path, paths, n=1, cutoff=0.6)
    return f"did you mean '{near[0]}'?" if near else "name a dotted path of a run, for example optimizer.lr"


def _computed(node: ast.expr, given: Mapping[str, Any]) -> Any:
    """The value of a tree that `_Reader` has checked."""
    if isinstance(node, ast.BoolOp):
        each = (_computed(part, given) for part in node.values)
        return all(each) if isinstance(node.op, ast.And) else any(each)
    if isinstance(node, ast.UnaryOp):
        value = _computed(node.operand, given)
        return not value if isinstance(node.op, ast.Not) else -value
    if isinstance(node, ast.BinOp):
        return ARITHMETIC[type(node.op)](_computed(node.left, given), _computed(node.right, given))
    if isinstance(node, ast.Compare):
        sides = [_computed(side, given) for side in (node.left, *node.comparators)]
        pairs = zip(sides, node.ops, sides[1:], strict=False)
        return all(COMPARISONS[type(op)](first, second) for first, op, second in pairs)
    if isinstance(node, ast.Name):
        return given[node.id]
    assert isinstance(node, ast.Constant)
    return node.value
