"""Defines the style of a search's plots: markers that show a trial's state without colours, hover texts, escaping."""

import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import plotly.graph_objects as go

from chex.reporting.console import format_decimal
from chex.reporting.plot_style import SERIES_COLORS
from chex.statistics.intervals import Estimate
from search.space.space import Space
from search.trials.trial import State, TrialRecord
from search.trials.trial_text import format_value

BLACK, GRAY, FAINT, BROWN = "#1a1a1a", "#808080", "#c4c4c4", "#b05f00"
STATE_MARKERS: dict[State, tuple[str, str]] = {
    "finished": ("circle", SERIES_COLORS[0]),
    "pruned": ("diamond-open", BROWN),
    "failed": ("x-thin-open", SERIES_COLORS[1]),
    "pending": ("square-open", GRAY),
}
"""Marker symbol and colour of a trial by its state; symbols differ so that no colour is needed."""
WINNER_MARKER = ("star", SERIES_COLORS[1])
MINUS = "\N{MINUS SIGN}"


@dataclass(frozen=True)
class ChartData:
    """The trials of a search as its charts need them."""

    rows: Sequence[TrialRecord]
    winner: int
    tied: frozenset[int]
    """The trials that may be the best, including the winner."""
    space: Space

    @property
    def winning_trial(self) -> TrialRecord:
        """The winner."""
        return next(row for row in self.rows if row.number == self.winner)


def new_chart(**layout: Any) -> go.Figure:
    """Returns an empty figure in the page's style, updated with plotly's `layout`."""
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
    rows: Sequence[TrialRecord],
    x: Sequence[float],
    y: Sequence[float],
    name: State | Literal["winner"],
    size: int = 10,
    paths: Sequence[str] | None = None,
) -> None:
    """Adds a marker per trial, in the style of its state or of the winner; `paths` is as in `hover_text`."""
    if not rows:
        return
    symbol, color = WINNER_MARKER if name == "winner" else STATE_MARKERS[name]
    figure.add_scatter(
        x=x,
        y=y,
        mode="markers",
        marker={
            "symbol": symbol,
            "color": color,
            "size": size,
            "line": {"width": 2 if "open" in symbol else 0},
        },
        name={"pending": "unfinished", "winner": f"winner, trial {rows[0].number}"}.get(name, name),
        hovertext=[hover_text(row, paths) for row in rows],
        hoverinfo="text",
    )


def hover_text(row: TrialRecord, paths: Sequence[str] | None) -> str:
    """Returns the hover text of a trial, with its parameters `paths` (None: with all parameters)."""
    outcome = f"pruned at {row.percent} %" if row.state == "pruned" else row.state
    lines = [f"trial {row.number}, {outcome}", f"AUROC {format_decimal(row.value)}, {row.images_seen:,} images"]
    lines += [f"{path} {format_value(value)}" for path, value in row.params.items() if paths is None or path in paths]
    return "<br>".join(map(escape_html, [*lines, *([row.error[:80]] if row.error else [])]))


def error_bars(estimates: Sequence[Estimate], ink: str = BLACK) -> dict[str, Any]:
    """Returns intervals as plotly's error bars."""
    return {
        "type": "data",
        "symmetric": False,
        "array": [each.high - each.value for each in estimates],
        "arrayminus": [each.value - each.low for each in estimates],
        "color": ink,
        "thickness": 1.6,
    }


def title_layout(text: str) -> dict[str, Any]:
    """Returns the layout of a plot's title."""
    return {
        "text": f"<b>{escape_html(text)}</b>",
        "font": {"size": 14},
        "x": 0,
        "xanchor": "left",
        "y": 0.98,
        "yanchor": "top",
    }


def escape_html(text: str) -> str:
    """Escapes `text` for plotly, which renders texts as HTML."""
    return html.escape(text, quote=False).replace("\n", "<br>")


def break_path(path: str) -> str:
    """Returns a parameter path with a line break after its first part."""
    return path.replace(".", ".\n", 1)


def format_interval(estimate: Estimate) -> str:
    """Formats a value with its 95 % interval; `-` if undefined."""
    if np.isnan(estimate.value):
        return "-"
    return f"{format_decimal(estimate.value)} ({format_bound(estimate.low)} to {format_bound(estimate.high)})"


def format_signed_interval(estimate: Estimate) -> str:
    """Formats a difference with its sign and interval; `-` if undefined."""
    if np.isnan(estimate.value):
        return "-"
    return f"{format_signed(estimate.value)} ({format_bound(estimate.low)} to {format_bound(estimate.high)})"


def format_signed(value: float) -> str:
    """Formats a difference with its sign; `-` if undefined."""
    return "-" if np.isnan(value) else f"{'+' if value > 0 else ''}{format_bound(value)}"


def format_bound(value: float) -> str:
    """Formats like `format_decimal` a value that may be negative."""
    return f"{MINUS}{format_decimal(-value)}" if value < 0 else format_decimal(value)
