"""The purposes of random streams are part of every result: a search that renames one draws other numbers."""

import ast
from collections.abc import Iterator
from pathlib import Path

from chex.runtime.rng import rng_for, seed_for

PURPOSES = {
    "affine",
    "bags",
    "confirm",
    "contact sheet",
    "drawn film",
    "draws",
    "dropout",
    "ensemble",
    "folds {purpose}",
    "holdout",
    "interval",
    "lighting",
    "look at films",
    "order",
    "phantom film",
    "phantom study",
    "phantom {split}",
    "plan",
    "policy",
    "effects",
    "rows for statistics",
    "sampling",
    "statistics",
    "ties",
    "weights",
    "{purpose}",
}


def purposes(tree: ast.AST) -> Iterator[str]:
    """Gives the purpose of each stream that the code asks for; a name in braces stands for a variable."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("rng_for", "seed_for"):
            purpose = ast.unparse(node.args[1])
            yield purpose.removeprefix("f").strip("'") if "'" in purpose else f"{{{purpose}}}"


def test_no_stream_has_been_renamed() -> None:
    modules = [*Path("chex").rglob("*.py"), *Path("search").rglob("*.py")]
    found = {purpose for path in modules for purpose in purposes(ast.parse(path.read_text(encoding="utf-8")))}
    assert found == PURPOSES


def test_a_stream_gives_the_numbers_that_it_always_gave() -> None:
    assert rng_for(7, "order", 2).permutation(8).tolist() == [4, 0, 1, 2, 5, 7, 6, 3]
    assert seed_for(7, "weights") == 4650183089905874630


def test_streams_of_other_seeds_purposes_and_keys_are_other_streams() -> None:
    seeds = [seed_for(7, "order", 2), seed_for(8, "order", 2), seed_for(7, "weights", 2), seed_for(7, "order", 3)]
    assert len(set(seeds)) == 4
