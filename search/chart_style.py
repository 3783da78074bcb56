"""How plots of a search look: marks that tell a trial's state without colours, hover texts, safe texts."""

import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import plotly.graph_objects as go

from chex.console import decimal
from chex.intervals import Estimate
from chex.pictures import INKS
from search.ledger import State, TrialRow
from search.progress import shown
from search.space import Space

BLACK, GRAY, FAINT, BROWN = "#1a1a1a", "#808080", "#c4c4c4", "#b05f00"
MARKS: dict[State, tuple[str, str]] = {
    "finished": ("circle", INKS[0]),
    "stopped": ("diamond-open", BROWN),
    "failed": ("x-thin-open", INKS[1]),
    "waiting": ("square-open", GRAY),
}
"""A trial's shape, which tells its state without colours too, and its ink."""
WINNER = ("star", INKS[1])
MINUS = "\N{MINUS SIGN}"


@dataclass(frozen=True)
class Drawn:
    """The trials of a search as its pictures need them."""

    rows: Sequence[TrialRow]
    winner: int
    tied: frozenset[int]
    """Trials that are not told from the best, the winner among them."""
    space: Space

    @property
    def won(self) -> TrialRow:
        """The winner's row."""
        return next(row for row in self.rows if row.number == self.winner)


def chart(**layout: Any) -> go.Figure:
    """An empty figure in the page's style; `layout` is plotly's, laid over it."""
    axis = {"gridcolor": "#dddddd", "zeroline": False, "linecolor": BLACK, "automargin": True, "fixedrange": True}
    style = {
        "template": go.layout.Template(),
        "font": {"family": "system-ui, -apple-system, 'Segoe UI', 'Liberation Sans', sans-serif", "color": BLACK},
        "plot_bgcolor": "white",
        "hoverlabel": {"align": "left", "bgcolor": "white", "font": {"color": BLACK}},
        "hovermode": "closest",
        "dragmode": False,
        "showlegend": True,
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        "margin": {"l": 10, "r": 10, "t": 60 if "title" in layout else 10, "b": 10},
        "xaxis": axis,
        "yaxis": axis,
    }
    return go.Figure(layout=style).update_layout(**layout)


def add_trials(
    figure: go.Figure,
    rows: Sequence[TrialRow],
    x: Sequence[float],
    y: Sequence[float],
    name: State | Literal["winner"],
    size: int = 10,
    paths: Sequence[str] | None = None,
) -> None:
    """Adds a mark a trial, in the shape of its state or the winner's; under the pointer it tells `paths`, None: all."""
    if not rows:
        return
    own_symbol, own_ink = WINNER if name == "winner" else MARKS[name]
    figure.add_scatter(
        x=x,
        y=y,
        mode="markers",
        marker={
            "symbol": own_symbol,
            "color": own_ink,
            "size": size,
            "line": {"width": 2 if "open" in own_symbol else 0},
        },
        name={"waiting": "unfinished", "winner": f"winner, trial {rows[0].number}"}.get(name, name),
        hovertext=[told_of(row, paths) for row in rows],
        hoverinfo="text",
    )


def told_of(row: TrialRow, paths: Sequence[str] | None) -> str:
    """What is told of a trial, with these of its knobs; None: with all."""
    how = f"stopped at {row.percent} %" if row.state == "stopped" else row.state
    lines = [f"trial {row.number}, {how}", f"AUROC {decimal(row.value)}, {row.images:,} images"]
    lines += [f"{path} {shown(value)}" for path, value in row.knobs.items() if paths is None or path in paths]
    return "<br>".join(map(safe, [*lines, *([row.error[:80]] if row.error else [])]))


def bars(own: Sequence[Estimate], ink: str = BLACK) -> dict[str, Any]:
    """Intervals, as plotly's error bars."""
    return {
        "type": "data",
        "symmetric": False,
        "array": [each.high - each.value for each in own],
        "arrayminus": [each.value - each.low for each in own],
        "color": ink,
        "thickness": 1.6,
    }


def titled(text: str) -> dict[str, Any]:
    """A plot's head."""
    return {
        "text": f"<b>{safe(text)}</b>",
        "font": {"size": 14},
        "x": 0,
        "xanchor": "left",
        "y": 0.98,
        "yanchor": "top",
    }


def safe(text: str) -> str:
    """What plotly, which takes texts for HTML, shows as `text`."""
    return html.escape(text, quote=False).replace("\n", "<br>")


def broken(path: str) -> str:
    """A path in two lines."""
    return path.replace(".", ".\n", 1)


def interval(estimate: Estimate) -> str:
    """A figure with its 95 % interval; `-` where undefined."""
    if np.isnan(estimate.value):
        return "-"
    return f"{decimal(estimate.value)} ({bound(estimate.low)} to {bound(estimate.high)})"


def signed(estimate: Estimate) -> str:
    """A difference with its interval; `-` where undefined."""
    if np.isnan(estimate.value):
        return "-"
    return f"{gap(estimate.value)} ({bound(estimate.low)} to {bound(estimate.high)})"


def gap(value: float) -> str:
    """A difference without an interval; `-` where undefined."""
    return "-" if np.isnan(value) else f"{'+' if value > 0 else ''}{bound(value)}"


def bound(value: float) -> str:
    """As `decimal`, of what may be negative."""
    return f"{MINUS}{decimal(-value)}" if value < 0 else decimal(value)
