"""Pictures in one style, drawn without a display."""

import io
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from chex.atomic import replacing

INKS = ("#1f5fa8", "#c8102e", "#e08a00", "#2e8b57", "#7a4fa3", "#8c6d46", "#4f9fb5", "#666666")
"""Colours of series in their order; neighbours differ in lightness too, so that gray prints can be told apart."""


def picture(width: float = 7.0, height: float = 4.0) -> tuple[Figure, Axes]:
    """An empty picture (inches) and its one pair of axes: open at the top and right, with a faint grid behind."""
    figure, (axes,) = panels(1, 1, width, height)
    return figure, axes


def panels(rows: int, columns: int, width: float = 7.0, height: float = 4.0) -> tuple[Figure, list[Axes]]:
    """An empty picture (inches) of rows x columns panels, row by row, each as in `picture`."""
    figure = Figure(figsize=(width, height), layout="constrained")
    each: list[Axes] = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes in each:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color="#dddddd", linewidth=0.6)
        axes.set_axisbelow(True)
    return figure, each


def png(figure: Figure) -> bytes:
    """A PNG at twice the density of a plain screen."""
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=160)
    return content.getvalue()


def save_picture(figure: Figure, path: Path) -> None:
    """Writes a PNG, whole."""
    with replacing(path) as beside:
        beside.write_bytes(png(figure))
