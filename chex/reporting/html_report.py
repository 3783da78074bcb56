"""Self-contained HTML pages of text, tables and plots, in one file or with the PNGs and CSVs as files beside it."""

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

from chex.reporting.plot_style import to_png
from chex.runtime.atomic_io import atomic_write, write_text

INDEX = "index.html"


@dataclass(frozen=True)
class StaticPlot:
    """A matplotlib figure with a caption; `write_page` also writes it as `name`.png."""

    name: str
    figure: Figure
    caption: str
    """One sentence on what the data in the plot show."""
    alt: str
    """A description of the plot for screen readers."""
    wide: bool = False
    """True: on a narrow screen the plot keeps its size and scrolls in a box of its own."""


@dataclass(frozen=True)
class InteractivePlot:
    """A plotly figure with a caption. The browser draws it and shows details of the mark below the pointer."""

    figure: go.Figure
    """Plotly reads the texts in the figure as HTML, so escape every text that comes from a file or a user."""
    caption: str
    alt: str
    height: int
    """Pixels; the plot is as wide as the page."""
    min_width: int = 0
    """Pixels; on a narrower page the plot scrolls in a box of its own."""


@dataclass(frozen=True)
class ImageGrid:
    """Images in a grid, each with a few lines of text below it."""

    images: Sequence[tuple[Image.Image, Sequence[str]]]
    caption: str


@dataclass(frozen=True)
class Table:
    """A table; `write_page` also writes its raw values as `name`.csv."""

    name: str
    frame: pd.DataFrame
    caption: str
    formats: Mapping[str, Callable[[Any], str]] = field(default_factory=dict)
    """Formats the values of a column. Numbers of other columns get thousands separators. NaN is shown as `-`."""
    collapsed: bool = False
    """True: the page shows only the caption until the reader clicks on it."""
    max_rows: int = 200
    """The page shows at most this many rows; the CSV has all."""
    display: pd.DataFrame | None = None
    """The table that the page shows in place of `frame`, for example with a value and its interval in one cell."""
    sortable: bool = False
    """True: the reader can sort the rows by a click on a column's head, and filter them by words."""


@dataclass(frozen=True)
class MarkedList:
    """A list of sentences, each after a one-word mark. The page highlights the marks `refused` and `warning`."""

    items: Sequence[tuple[str, str]]
    """The mark and the sentence of each item."""
    commands: Sequence[str] = ()
    """The command line to show after each sentence, "" for no command; an empty sequence: no commands at all."""


@dataclass(frozen=True)
class Columns:
    """Columns side by side where the page is wide enough, else below each other; a column has one block or more."""

    columns: "Sequence[Block | Sequence[Block]]"
    min_width: int = 300
    """The least width of each column, in pixels."""


Block = str | MarkedList | StaticPlot | InteractivePlot | ImageGrid | Table
Part = Block | Columns


@dataclass(frozen=True)
class Section:
    """A heading, which the table of contents lists, and the parts below it."""

    title: str
    parts: Sequence[Part]


@dataclass(frozen=True)
class Page:
    """The content of a page. All text is plain: markup in it is escaped."""

    title: str
    lead: str
    sections: Sequence[Section]
    intro: Sequence[Part] = ()
    """The parts above the table of contents."""


def write_page(page: Page, folder: Path, progress: Callable[[int, int], None] | None = None) -> Path:
    """Writes the page with its plots and tables into `folder` and returns the path of the page.

    Makes the folder if it is missing. Writes each file atomically, and the page last. The page can be read without the
    other files and without a network. Removes the files that an earlier page wrote into `folder` and this one does not
    write. Calls `progress(sections done, sections in total)` after each section.
    """
    folder.mkdir(parents=True, exist_ok=True)
    html, companions = _render(page, single_file=False, progress=progress)
    for name, content in companions.items():
        with atomic_write(folder / name) as path:
            path.write_bytes(content)
    for name in _earlier_companions(folder / INDEX) - set(companions):
        (folder / name).unlink(missing_ok=True)
    write_text(folder / INDEX, html)
    return folder / INDEX


def write_single_file(page: Page, path: Path, progress: Callable[[int, int], None] | None = None) -> None:
    """Writes the page as one file, with no others beside it. Calls `progress` as `write_page` does."""
    write_text(path, _render(page, single_file=True, progress=progress)[0])


def _render(page: Page, single_file: bool, progress: Callable[[int, int], None] | None) -> tuple[str, dict[str, bytes]]:
    """Returns the HTML and the companion files by name: the PNGs of the plots and the CSVs of the tables."""
    companions: dict[str, bytes] = {}
    intro, sections = [_render_part(part, companions) for part in page.intro], []
    for section in page.sections:
        anchor = re.sub(r"\W+", "-", section.title.lower()).strip("-")
        parts = [_render_part(part, companions) for part in section.parts]
        sections.append({"title": section.title, "anchor": anchor, "parts": parts})
        if progress:
            progress(len(sections), len(page.sections))
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    html = environment.from_string(_read_resource("page.html")).render(
        title=page.title,
        lead=page.lead,
        intro=intro,
        sections=sections,
        companions="" if single_file else " ".join(companions),
        scripts=[(script, _csp_digest(script)) for script in _scripts(page)],
    )
    return html, companions


def _scripts(page: Page) -> list[str]:
    parts = [*page.intro, *(part for section in page.sections for part in section.parts)]
    blocks = [block for part in parts for column in _columns(part) for block in _blocks(column)]
    plotly = [get_plotlyjs()] if any(isinstance(block, InteractivePlot) for block in blocks) else []
    needs_script = plotly or any(isinstance(block, Table) and block.sortable for block in blocks)
    return [*plotly, _read_resource("page.js")] if needs_script else []


def _earlier_companions(index: Path) -> set[str]:
    """Returns the names of the companion files that the page at `index` lists; only PNGs and CSVs in its own folder."""
    if not index.is_file():
        return set()
    html = index.read_text(encoding="utf-8", errors="replace")
    listed = re.search(r'<meta name="companions" content="([^"]*)">', html)
    return set(re.findall(r"(?<!\S)[\w-]+\.(?:png|csv)(?!\S)", listed[1])) if listed else set()


def _columns(part: Part) -> "Sequence[Block | Sequence[Block]]":
    return part.columns if isinstance(part, Columns) else [part]


def _blocks(column: "Block | Sequence[Block]") -> Sequence[Block]:
    return column if isinstance(column, Sequence) and not isinstance(column, str) else [column]


def _read_resource(name: str) -> str:
    return files("chex.reporting").joinpath(name).read_text(encoding="utf-8")


def _csp_digest(script: str) -> str:
    """Returns the digest by which the page's content security policy allows `script`, so that no other script runs."""
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _render_part(part: Part, companions: dict[str, bytes]) -> dict[str, Any]:
    """Returns the values that the page's template needs for `part`, and adds the part's files to `companions`."""
    match part:
        case str():
            return {"kind": "text", "text": part}
        case MarkedList():
            commands = part.commands or [""] * len(part.items)
            items = [(*item, command) for item, command in zip(part.items, commands, strict=True)]
            return {"kind": "list", "entries": items}
        case StaticPlot():
            data = companions[f"{part.name}.png"] = to_png(part.figure)
            return {"kind": "static", "image": _embed(data), **_texts(part), "wide": part.wide}
        case InteractivePlot():
            data = part.figure.to_json()  # escapes "<", so that no text in the figure can end its script
            sizes = {"height": part.height, "min_width": part.min_width}
            return {"kind": "interactive", "data": data, **_texts(part), **sizes}
        case ImageGrid():
            images = [(_embed(_to_jpeg(image)), lines) for image, lines in part.images]
            return {"kind": "images", "images": images, "caption": part.caption}
        case Columns():
            columns = [[_render_part(block, companions) for block in _blocks(column)] for column in part.columns]
            return {"kind": "columns", "columns": columns, "min_width": part.min_width}
        case Table():
            companions[f"{part.name}.csv"] = part.frame.to_csv(index=False).encode()
            return _render_table(part)


def _texts(part: StaticPlot | InteractivePlot) -> dict[str, str]:
    return {"alt": part.alt, "caption": part.caption}


def _to_jpeg(image: Image.Image) -> bytes:
    content = io.BytesIO()
    image.save(content, "JPEG", quality=85)
    return content.getvalue()


def _embed(data: bytes) -> dict[str, Any]:
    """Returns an image file as base64, with its format and its size in pixels."""
    with Image.open(io.BytesIO(data)) as image:
        width, height = image.size
        kind = str(image.format).lower()
    return {"kind": kind, "data": base64.b64encode(data).decode(), "width": width, "height": height}


def _render_table(part: Table) -> dict[str, Any]:
    frame = part.frame if part.display is None else part.display
    numeric = [pd.api.types.is_numeric_dtype(dtype) for dtype in frame.dtypes]
    shown = frame.head(part.max_rows)
    cells = [[_format_cell(value, part.formats.get(str(name))) for value in shown[name]] for name in frame.columns]
    keys = [
        [_sort_key(value, number) for value in shown[name]] for name, number in zip(frame.columns, numeric, strict=True)
    ]
    columns = [list(zip(*column, strict=True)) for column in zip(cells, keys, strict=True)]
    return {
        "kind": "table",
        "caption": part.caption,
        "columns": list(zip(map(str, frame.columns), numeric, strict=True)),
        "rows": [
            [(*cell, number) for cell, number in zip(row, numeric, strict=True)] for row in zip(*columns, strict=True)
        ],
        "sortable": part.sortable,
        "collapsed": part.collapsed,
        "more": f"{len(frame) - len(shown):,} more in {part.name}.csv." if len(frame) > len(shown) else "",
    }


def _format_cell(value: Any, form: Callable[[Any], str] | None) -> str:
    if isinstance(value, str):
        return value
    if value != value:
        return "-"
    if form:
        return form(value)
    return f"{value:,.2f}" if isinstance(value, float) else f"{value:,}"


def _sort_key(value: Any, number: bool) -> str:
    """Returns the number by which the page's script sorts a cell; "" for NaN and for text, which it sorts as text."""
    return repr(float(value)) if number and pd.notna(value) else ""
