"""Pictures in one style, drawn without a display."""

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from chex.atomic import replacing

INKS = ("#1f5fa8", "#c8102e", "#e08a00", "#2e8b57", "#7a4fa3", "#8c6d46", "#4f9fb5", "#666666")
"""Colours of series in their order; neighbours differ in lightness too, so that gray prints can be told apart."""


def picture(width: float = 7.0, height: float = 4.0) -> tuple[Figure, Axes]:
    """An empty picture (inches) and its one pair of axes: open at the top and right, with a faint grid behind."""
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    return figure, axes


def save_picture(figure: Figure, path: Path) -> None:
    """Writes a PNG, whole, at twice the density of a plain screen."""
    with replacing(path) as beside:
        figure.savefig(beside, format="png", dpi=160)
