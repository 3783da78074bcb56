"""A self-contained HTML page of words, tables and pictures, with its PNGs and CSVs beside it."""

import base64
import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, StrictUndefined
from matplotlib.figure import Figure
from PIL import Image

from chex.atomic import replacing, write_text
from chex.errors import InputError
from chex.pictures import save_picture

INDEX = "index.html"


@dataclass(frozen=True)
class Picture:
    """A figure with its reading; it is also written as `name`.png."""

    name: str
    figure: Figure
    reading: str
    """What to see in it: one sentence, from the data."""
    alt: str
    """What it is, for those who cannot see it."""
    wide: bool = False
    """On a narrow screen it keeps its size and scrolls in its own box."""


@dataclass(frozen=True)
class Table:
    """A table; its raw values are also written as `name`.csv."""

    name: str
    frame: pd.DataFrame
    caption: str
    formats: Mapping[str, Callable[[Any], str]] = field(default_factory=dict)
    """How a column's values are shown; without one, numbers get separators of thousands. NaN is shown as `-`."""
    folded: bool = False
    """Only its caption is seen until it is clicked."""
    most: int = 200
    """How many rows the page shows; the CSV has all."""
    shown: pd.DataFrame | None = None
    """What the page shows in place of `frame`, as a figure and its interval in one cell."""


@dataclass(frozen=True)
class Points:
    """A list of sentences, each after a mark: one word, of which `refused` and `mind` are set off."""

    points: Sequence[tuple[str, str]]


Part = str | Points | Picture | Table


@dataclass(frozen=True)
class Section:
    """A heading, listed in the table of contents, and what stands below it."""

    title: str
    parts: Sequence[Part]


@dataclass(frozen=True)
class Page:
    """What `write_page` writes. All text is plain: whatever looks like markup is shown as it is."""

    title: str
    lead: str
    sections: Sequence[Section]


def check_folder(folder: Path, tree: Path, kind: str) -> None:
    """Raises InputError where a page, `kind` in words, cannot go: a file, other things, inside the tree it is of."""
    if folder.resolve().is_relative_to(tree.resolve()):
        raise InputError(f"--out: {folder} lies inside the tree that it tells of; give a folder outside it")
    if folder.exists() and not folder.is_dir():
        raise InputError(f"--out: {folder} is a file; give a folder")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / INDEX).is_file():
        raise InputError(f"--out: {folder} holds other things than {kind}; give a new or empty folder")


def write_page(page: Page, folder: Path, progress: Callable[[int, int], None] | None = None) -> Path:
    """Writes the page, its pictures and tables into `folder` (made if need be); the page's path comes back.

    Each file appears whole, the page last. It needs none of the others and no network. What an earlier page left in
    `folder` and this one lacks is removed. `progress(done, total)` is called after each section.
    """
    folder.mkdir(parents=True, exist_ok=True)
    sections = []
    for section in page.sections:
        anchor = re.sub(r"\W+", "-", section.title.lower()).strip("-")
        parts = [_part(part, folder) for part in section.parts]
        sections.append({"title": section.title, "anchor": anchor, "parts": parts})
        if progress:
            progress(len(sections), len(page.sections))
    written = [
        f"{part.name}.{'png' if isinstance(part, Picture) else 'csv'}"
        for section in page.sections
        for part in section.parts
        if isinstance(part, Picture | Table)
    ]
    for name in _earlier(folder / INDEX) - set(written):
        (folder / name).unlink(missing_ok=True)
    template = files("chex").joinpath("page.html").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    html = environment.from_string(template).render(
        title=page.title, lead=page.lead, sections=sections, beside=" ".join(written)
    )
    write_text(folder / INDEX, html)
    return folder / INDEX


def _earlier(index: Path) -> set[str]:
    if not index.is_file():
        return set()
    beside = re.search(r'<meta name="beside" content="([^"]*)">', index.read_text(encoding="utf-8", errors="replace"))
    return set(re.findall(r"(?<!\S)[\w-]+\.(?:png|csv)(?!\S)", beside[1])) if beside else set()


def _part(part: Part, folder: Path) -> dict[str, Any]:
    if isinstance(part, str):
        return {"kind": "text", "text": part}
    if isinstance(part, Points):
        return {"kind": "points", "points": part.points}
    if isinstance(part, Picture):
        return _picture(part, folder / f"{part.name}.png")
    with replacing(folder / f"{part.name}.csv") as beside:
        part.frame.to_csv(beside, index=False)
    return _table(part)


def _picture(part: Picture, path: Path) -> dict[str, Any]:
    save_picture(part.figure, path)
    data = path.read_bytes()
    with Image.open(io.BytesIO(data)) as image:
        width, height = image.size
    return {
        "kind": "picture",
        "data": base64.b64encode(data).decode(),
        "width": width,
        "height": height,
        "alt": part.alt,
        "reading": part.reading,
        "wide": part.wide,
    }


def _table(part: Table) -> dict[str, Any]:
    frame = part.frame if part.shown is None else part.shown
    numbers = [pd.api.types.is_numeric_dtype(dtype) for dtype in frame.dtypes]
    shown = frame.head(part.most)
    cells = [[_cell(value, part.formats.get(str(name))) for value in shown[name]] for name in frame.columns]
    return {
        "kind": "table",
        "caption": part.caption,
        "columns": list(zip(map(str, frame.columns), numbers, strict=True)),
        "rows": [list(zip(row, numbers, strict=True)) for row in zip(*cells, strict=True)],
        "folded": part.folded,
        "more": f"{len(frame) - len(shown):,} more rows are in {part.name}.csv." if len(frame) > len(shown) else "",
    }


def _cell(value: Any, form: Callable[[Any], str] | None) -> str:
    if isinstance(value, str):
        return value
    if value != value:
        return "-"
    if form:
        return form(value)
    return f"{value:,.2f}" if isinstance(value, float) else f"{value:,}"
