"""Matplotlib figures in one style, drawn without a display."""

import io
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from chex.runtime.atomic_io import atomic_write

DOTS_PER_INCH = 160
SERIES_COLORS = ("#1f5fa8", "#c8102e", "#e08a00", "#2e8b57", "#7a4fa3", "#8c6d46", "#4f9fb5", "#666666")
"""The colours of series in order; neighbours also differ in lightness, for prints in gray."""


def new_figure(width: float = 7.0, height: float = 4.0) -> tuple[Figure, Axes]:
    """Returns an empty figure (size in inches) and its one plot, with a faint grid and no top and right spines."""
    figure, (axes,) = new_panels(1, 1, width, height)
    return figure, axes


def new_panels(rows: int, columns: int, width: float = 7.0, height: float = 4.0) -> tuple[Figure, list[Axes]]:
    """Returns an empty figure (size in inches) and its rows x columns plots, row by row, styled as in `new_figure`."""
    figure = Figure(figsize=(width, height), layout="constrained")
    plots: list[Axes] = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes in plots:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color="#dddddd", linewidth=0.6)
        axes.set_axisbelow(True)
    return figure, plots


def to_png(figure: Figure) -> bytes:
    """Returns the figure as the bytes of a PNG file, with DOTS_PER_INCH."""
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=DOTS_PER_INCH)
    return content.getvalue()


def save_png(figure: Figure, path: Path) -> None:
    """Writes the figure as a PNG, atomically."""
    with atomic_write(path) as temporary:
        temporary.write_bytes(to_png(figure))
