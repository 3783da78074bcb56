"""Writes docs/map.md from the docstrings of folders and modules: `make map`."""

import ast
import re
import textwrap
import tomllib
from pathlib import Path

MAP = Path(__file__).with_name("map.md")
ROOT = MAP.parent.parent
HEAD = """\
# Map

`make map` writes this page from the docstrings of the code, and a test checks that it is up to date.

There are two packages. `chex` is one run: it works without Ray and Optuna, and never imports `search`. `search` is many
runs. Inside each package the folders import in one direction only. They stand here from top to bottom: a folder may
import those below it. `make check` tests this, by the contracts in `pyproject.toml`. `tests/` has the same folders;
`tests/bench/` has the programs behind `make bench-...`, and [results/LOG.md](../results/LOG.md) what they measured.
`configs/` has runs, searches and clusters to start from. `make help` lists all make targets.
"""


def folders(package: str) -> list[str]:
    """Returns the folders of `package` from top to bottom, as the layers of the import linter have them."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    layers = next(each["layers"] for each in contracts if each.get("containers") == [package])
    names = [name for layer in layers for name in re.findall(r"\w+", layer)]
    return [name for name in names if (ROOT / package / name).is_dir()]


def docstring(path: Path) -> str:
    """Returns the first paragraph of a module's docstring as one line."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return " ".join(text.partition("\n\n")[0].split())


def module_lines(folder: Path) -> list[str]:
    """Returns a list item for each module of `folder`: its name and the first sentence of its docstring."""
    modules = sorted(path for path in folder.glob("*.py") if path.name != "__init__.py")
    sentences = [re.split(r"(?<=[.])\s", docstring(path), maxsplit=1)[0] for path in modules]
    return [f"- `{path.name}`: {sentence}" for path, sentence in zip(modules, sentences, strict=True)]


def section(heading: str, folder: Path) -> str:
    """Returns the part of the map on one folder: heading, what belongs there, its modules."""
    lines = [_wrap(docstring(folder / "__init__.py"), ""), "", *(_wrap(item, "  ") for item in module_lines(folder))]
    return f"{heading} {folder.relative_to(ROOT)}/\n\n" + "\n".join(lines)


def map_text() -> str:
    """Returns the content of docs/map.md."""
    parts = [HEAD.strip()]
    for package in (ROOT / "chex", ROOT / "search"):
        parts.append(section("##", package))
        parts += [section("###", package / name) for name in folders(package.name)]
    return "\n\n".join(parts) + "\n"


def _wrap(text: str, indent: str) -> str:
    return textwrap.fill(text, 120, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


if __name__ == "__main__":
    MAP.write_text(map_text(), encoding="utf-8")
