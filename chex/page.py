"""A self-contained HTML page of words, tables and pictures, alone or with its PNGs and CSVs beside it."""

import base64
import hashlib
import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import pandas as pd
import plotly.graph_objects as go
from jinja2 import Environment, StrictUndefined
from matplotlib.figure import Figure
from PIL import Image
from plotly.offline import get_plotlyjs

from chex.atomic import replacing, write_text
from chex.pictures import png

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
class Plot:
    """A plotly figure with its reading; the reader's browser draws it, and tells more of what a pointer rests on."""

    figure: go.Figure
    """Its texts are HTML to plotly: whatever comes from outside has to be escaped in them."""
    reading: str
    alt: str
    height: int
    """In pixels; the width is what there is."""
    least: int = 0
    """Where there are fewer pixels across, it scrolls in its own box."""


@dataclass(frozen=True)
class Films:
    """Pictures in a grid, each with a few lines below it."""

    films: Sequence[tuple[Image.Image, Sequence[str]]]
    reading: str


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
    sortable: bool = False
    """A click on a column's head sorts its rows, and a field above it leaves those that hold a word."""


@dataclass(frozen=True)
class Points:
    """A list of sentences, each after a mark: one word, of which `refused` and `mind` are set off."""

    points: Sequence[tuple[str, str]]
    commands: Sequence[str] = ()
    """What to type for each of them; blank: nothing."""


@dataclass(frozen=True)
class Beside:
    """Columns side by side as far as there is room, else below each other; a column is a part or several."""

    columns: "Sequence[Single | Sequence[Single]]"
    least: int = 300
    """Pixels across that each needs."""


Single = str | Points | Picture | Plot | Films | Table
Part = Single | Beside


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
    first: Sequence[Part] = ()
    """What stands above the table of contents."""


def write_page(page: Page, folder: Path, progress: Callable[[int, int], None] | None = None) -> Path:
    """Writes the page, its pictures and tables into `folder` (made if need be); the page's path comes back.

    Each file appears whole, the page last. It needs none of the others and no network. What an earlier page left in
    `folder` and this one lacks is removed. `progress(done, total)` is called after each section.
    """
    folder.mkdir(parents=True, exist_ok=True)
    html, beside = _rendered(page, alone=False, progress=progress)
    for name, content in beside.items():
        with replacing(folder / name) as path:
            path.write_bytes(content)
    for name in _earlier(folder / INDEX) - set(beside):
        (folder / name).unlink(missing_ok=True)
    write_text(folder / INDEX, html)
    return folder / INDEX


def write_alone(page: Page, path: Path, progress: Callable[[int, int], None] | None = None) -> None:
    """Writes the page, whole, with nothing beside it; otherwise as `write_page`."""
    write_text(path, _rendered(page, alone=True, progress=progress)[0])


def _rendered(page: Page, alone: bool, progress: Callable[[int, int], None] | None) -> tuple[str, dict[str, bytes]]:
    """The page's text, and what its pictures and tables have as files beside it."""
    beside: dict[str, bytes] = {}
    first, sections = [_part(part, beside) for part in page.first], []
    for section in page.sections:
        anchor = re.sub(r"\W+", "-", section.title.lower()).strip("-")
        parts = [_part(part, beside) for part in section.parts]
        sections.append({"title": section.title, "anchor": anchor, "parts": parts})
        if progress:
            progress(len(sections), len(page.sections))
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    html = environment.from_string(_resource("page.html")).render(
        title=page.title,
        lead=page.lead,
        first=first,
        sections=sections,
        beside="" if alone else " ".join(beside),
        scripts=[(script, _digest(script)) for script in _scripts(page)],
    )
    return html, beside


def _scripts(page: Page) -> list[str]:
    parts = [*page.first, *(part for section in page.sections for part in section.parts)]
    flat = [each for part in parts for column in _columns(part) for each in _column(column)]
    drawn = [get_plotlyjs()] if any(isinstance(part, Plot) for part in flat) else []
    alive = drawn or any(isinstance(part, Table) and part.sortable for part in flat)
    return [*drawn, _resource("page.js")] if alive else []


def _earlier(index: Path) -> set[str]:
    if not index.is_file():
        return set()
    beside = re.search(r'<meta name="beside" content="([^"]*)">', index.read_text(encoding="utf-8", errors="replace"))
    return set(re.findall(r"(?<!\S)[\w-]+\.(?:png|csv)(?!\S)", beside[1])) if beside else set()


def _columns(part: Part) -> "Sequence[Single | Sequence[Single]]":
    return part.columns if isinstance(part, Beside) else [part]


def _column(column: "Single | Sequence[Single]") -> Sequence[Single]:
    return column if isinstance(column, Sequence) and not isinstance(column, str) else [column]


def _resource(name: str) -> str:
    return files("chex").joinpath(name).read_text(encoding="utf-8")


def _digest(script: str) -> str:
    """What a content security policy calls a script by: the page's own run, and no other, whatever a text holds."""
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _part(part: Part, beside: dict[str, bytes]) -> dict[str, Any]:
    if isinstance(part, str):
        return {"kind": "text", "text": part}
    if isinstance(part, Points):
        commands = part.commands or [""] * len(part.points)
        return {"kind": "points", "points": [(*each, own) for each, own in zip(part.points, commands, strict=True)]}
    if isinstance(part, Picture):
        data = beside[f"{part.name}.png"] = png(part.figure)
        return {"kind": "picture", "image": _image(data), **_told(part), "wide": part.wide}
    if isinstance(part, Plot):
        data = part.figure.to_json()  # which writes < as an escape: nothing in it ends its script
        return {"kind": "plot", "data": data, **_told(part), "height": part.height, "least": part.least}
    if isinstance(part, Films):
        films = [(_image(_encoded(image)), lines) for image, lines in part.films]
        return {"kind": "films", "films": films, "reading": part.reading}
    if isinstance(part, Beside):
        columns = [[_part(each, beside) for each in _column(column)] for column in part.columns]
        return {"kind": "beside", "columns": columns, "least": part.least}
    beside[f"{part.name}.csv"] = part.frame.to_csv(index=False).encode()
    return _table(part)


def _told(part: Picture | Plot) -> dict[str, str]:
    return {"alt": part.alt, "reading": part.reading}


def _encoded(image: Image.Image) -> bytes:
    content = io.BytesIO()
    image.save(content, "JPEG", quality=85)
    return content.getvalue()


def _image(data: bytes) -> dict[str, Any]:
    with Image.open(io.BytesIO(data)) as image:
        width, height = image.size
        kind = str(image.format).lower()
    return {"kind": kind, "data": base64.b64encode(data).decode(), "width": width, "height": height}


def _table(part: Table) -> dict[str, Any]:
    frame = part.frame if part.shown is None else part.shown
    numbers = [pd.api.types.is_numeric_dtype(dtype) for dtype in frame.dtypes]
    shown = frame.head(part.most)
    cells = [[_cell(value, part.formats.get(str(name))) for value in shown[name]] for name in frame.columns]
    ranks = [[_rank(value, number) for value in shown[n]] for n, number in zip(frame.columns, numbers, strict=True)]
    columns = [list(zip(*each, strict=True)) for each in zip(cells, ranks, strict=True)]
    return {
        "kind": "table",
        "caption": part.caption,
        "columns": list(zip(map(str, frame.columns), numbers, strict=True)),
        "rows": [
            [(*cell, number) for cell, number in zip(row, numbers, strict=True)] for row in zip(*columns, strict=True)
        ],
        "sortable": part.sortable,
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


def _rank(value: Any, number: bool) -> str:
    """What a script sorts a cell by; blank where it is undefined, or a text that sorts by itself."""
    return repr(float(value)) if number and pd.notna(value) else ""
