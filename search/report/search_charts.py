"""Draws the results of a search: AUROC over training images, importances, learning curves."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from chex.reporting.console import format_decimal, format_percent
from chex.reporting.html_report import InteractivePlot
from chex.reporting.plot_style import SERIES_COLORS
from chex.statistics.intervals import Estimate
from search.analysis.importance import Importances
from search.optimize.pruning import PruningConfig
from search.report.chart_style import (
    BLACK,
    BROWN,
    GRAY,
    STATE_MARKERS,
    WINNER_MARKER,
    ChartData,
    add_trials,
    error_bars,
    escape_html,
    format_interval,
    new_chart,
)
from search.trials.trial import State, TrialRecord

MANY_LINES = 30
"""From this number of lines on, lines are drawn translucent."""


def images_spent_at_end(rows: Sequence[TrialRecord], order: Sequence[int]) -> dict[int, int]:
    """Returns, per ended trial, the training images of it and of all trials that ended before it.

    `order` has the numbers of the ended trials in the order in which they ended.
    Images of trials that have not ended are omitted, because it is not known when they were seen.
    """
    images = {row.number: row.images_seen for row in rows}
    return dict(zip(order, np.cumsum([images[number] for number in order], dtype=int).tolist(), strict=True))


def auroc_over_images_plot(data: ChartData, order: Sequence[int], corrected: Estimate) -> InteractivePlot:
    """Draws AUROC over training images, a marker per trial, with the best so far and the winner's expected AUROC."""
    spent = images_spent_at_end(data.rows, order)
    rows = {row.number: row for row in data.rows}
    ended = [rows[number] for number in order]
    floor = min((row.value for row in ended if row.value == row.value), default=0.5) - 0.02
    figure = new_chart(xaxis_title="training images of all trials", yaxis_title="validation AUROC")
    scored = [row for row in ended if row.value == row.value]
    best = np.maximum.accumulate([row.value for row in scored])
    line = {"shape": "hv", "color": BLACK, "width": 1.5}
    last = max(spent.values(), default=0)
    figure.add_scatter(
        x=[*(spent[row.number] for row in scored), last],
        y=[*best, best[-1]],
        mode="lines",
        line=line,
        name="best so far",
        hoverinfo="skip",
    )
    for state in STATE_MARKERS:
        group = [row for row in ended if row.state == state and row.number != data.winner]
        add_trials(figure, group, [spent[row.number] for row in group], [_height(row, floor) for row in group], state)
    add_trials(figure, [data.winning_trial], [spent[data.winner]], [data.winning_trial.value], "winner", size=15)
    figure.add_scatter(
        x=[last * 1.05],
        y=[corrected.value],
        error_y=error_bars([corrected]),
        mode="markers",
        marker={"symbol": "square", "color": BLACK, "size": 8},
        name="winner, expected on other patients like these",
        hovertext=[f"expected on other patients like these<br>{format_interval(corrected)}"],
        hoverinfo="text",
    )
    return InteractivePlot(
        figure,
        _describe_best_over_images(data, scored, spent, last),
        "AUROC over training images, one marker per trial",
        400,
    )


def _describe_best_over_images(
    data: ChartData, scored: Sequence[TrialRecord], spent: Mapping[int, int], last: int
) -> str:
    later_count = sum(spent[row.number] > spent[data.winner] for row in scored)
    later_text = (
        f"the {later_count} trials that ended later were" if later_count > 1 else "the trial that ended later was"
    )
    if not later_count:
        return f"the winner, trial {data.winner}, was the last one with a result: more trials may find a better one."
    share = format_percent(spent[data.winner] / last)
    return (
        f"the winner, trial {data.winner}, ended when {spent[data.winner]:,} of {last:,} images ({share}) had "
        f"been used; {later_text} not better."
    )


def importances_plot(plots: Importances) -> InteractivePlot:
    """Draws the importance of each parameter by two measures."""
    paths = list(dict.fromkeys([*plots.fanova, *plots.ped_anova]))
    figure = new_chart(xaxis_title="share")
    for name, symbol, color, group in (
        ("of the variance over the space (fANOVA)", "circle", SERIES_COLORS[0], plots.fanova),
        ("of being among the best tenth (PED-ANOVA)", "diamond-open", BROWN, plots.ped_anova),
    ):
        known = [path for path in paths if path in group]
        figure.add_scatter(
            x=[group[path] for path in known],
            y=[escape_html(path) for path in known],
            mode="markers",
            marker={"symbol": symbol, "color": color, "size": 11},
            name=name,
            hovertext=[f"{escape_html(path)}: {format_percent(group[path])} {name}" for path in known],
            hoverinfo="text",
        )
    figure.update_xaxes(tickformat=".0%", rangemode="tozero")
    figure.update_yaxes(autorange="reversed")
    top = max(plots.fanova, key=lambda path: plots.fanova[path])
    best_ped = max(plots.ped_anova, key=lambda path: plots.ped_anova[path], default=top)
    reading = f"{top} explains the largest share of the differences between trials, {format_percent(plots.fanova[top])}"
    more = f"{'it also' if best_ped == top else best_ped} matters most for being among the best tenth"
    return InteractivePlot(figure, f"{reading}; {more}.", "Importance of parameters", 130 + 30 * len(paths))


def curves_plot(data: ChartData, pruning: PruningConfig | None) -> InteractivePlot:
    """Draws AUROC at each report, one line per trial, with a marker at its end."""
    by_images = pruning is not None and pruning.time_attr == "images_seen"
    field, axis_title = (
        ("images_seen", "training images of the trial") if by_images else ("percent", "% of the trial's schedule")
    )
    figure = new_chart(xaxis_title=axis_title, yaxis_title="validation AUROC")
    groups: list[tuple[str, dict[str, Any], State | None]] = [
        ("pruned", {"color": BROWN, "width": 1.2, "dash": "dot"}, "pruned"),
        ("failed", {"color": SERIES_COLORS[1], "width": 1, "dash": "dot"}, "failed"),
        ("unfinished", {"color": GRAY, "width": 1, "dash": "dash"}, "pending"),
        ("finished", {"color": SERIES_COLORS[0], "width": 1.2}, "finished"),
        ("winner", {"color": BLACK, "width": 3.5}, None),
    ]
    for name, line, state in groups:
        group = (
            [data.winning_trial]
            if state is None
            else [row for row in data.rows if row.state == state and row.number != data.winner and row.reports]
        )
        if group:
            _curves(figure, group, field, name, line, WINNER_MARKER[0] if state is None else STATE_MARKERS[state][0])
    return InteractivePlot(figure, _describe_pruning(data), "Learning curves of the trials", 400)


def _curves(
    figure: go.Figure, rows: Sequence[TrialRecord], field: str, name: str, line: dict[str, Any], symbol: str
) -> None:
    reports = [(row, position, each) for row in rows for position, each in enumerate([*row.reports, None])]
    ends = [len(row.reports) - 1 == position for row, position, _ in reports]
    figure.add_scatter(
        x=[each and each[field] for _, _, each in reports],
        y=[each and each["auroc"] for _, _, each in reports],
        mode="lines+markers",
        line=line,
        opacity=1 if len(rows) < MANY_LINES else 0.4,
        marker={"symbol": symbol, "size": [9 if end else 0.1 for end in ends], "color": line["color"]},
        name=f"{name} ({len(rows)})",
        hovertext=[f"trial {row.number}, {format_decimal(each['auroc'])}" if each else "" for row, _, each in reports],
        hoverinfo="text",
    )


def _describe_pruning(data: ChartData) -> str:
    pruned = [row for row in data.rows if row.state == "pruned"]
    if not pruned:
        return "no trial was pruned."
    at = sorted({row.percent for row in pruned})
    where = f"at {at[0]} %" if len(at) == 1 else f"between {at[0]} and {at[-1]} %"
    best = max(pruned, key=lambda row: row.value)
    return (
        f"{len(pruned)} of {len(data.rows)} trials were pruned, {where} of their schedules; the best of them, trial "
        f"{best.number}, had reached {format_decimal(best.value)}."
    )


def _height(row: TrialRecord, floor: float) -> float:
    return floor if np.isnan(row.value) else row.value
