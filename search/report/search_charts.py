"""Draws the results of a search: AUROC over training images, comparisons of values, importances, learning curves."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

import numpy as np
import plotly.graph_objects as go

from chex.reporting.console import format_decimal, format_percent
from chex.reporting.html_report import InteractivePlot
from chex.reporting.plot_style import SERIES_COLORS
from chex.statistics.intervals import Estimate
from search.analysis.importance import Importances
from search.analysis.value_comparison import ValueComparison
from search.optimize.pruning import PruningConfig
from search.report.chart_style import (
    BLACK,
    BROWN,
    GRAY,
    MINUS,
    STATE_MARKERS,
    WINNER_MARKER,
    ChartData,
    add_trials,
    error_bars,
    escape_html,
    format_interval,
    format_signed,
    format_signed_interval,
    new_chart,
    title_layout,
)
from search.trials.trial import State, TrialRecord

MANY_LINES = 30
"""From this number of lines on, lines are drawn translucent."""
MAX_PAIRS = 10
"""The most pairs of values in the first plot of a parameter."""
MAX_NAMED_PAIRS = 3
"""The most pairs of values that a sentence names; more are counted."""


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


def comparison_plots(
    comparisons: Sequence[ValueComparison], winner_params: Mapping[str, Any]
) -> list[tuple[InteractivePlot, InteractivePlot | None]]:
    """Draws, for each parameter, the differences between its values, with intervals for the averages.

    With at most MAX_PAIRS pairs of values the first plot has all, and the second is None. With more, the first has up
    to MAX_PAIRS pairs that differ or contain the winner's value (in `winner_params`), and the second has all.
    """
    plots: list[tuple[InteractivePlot, InteractivePlot | None]] = []
    for param, group in groupby(comparisons, key=lambda each: each.param):
        pairs, value = list(group), str(winner_params.get(param))
        all_plot = _comparison_plot(param, pairs, pairs)
        if len(pairs) <= MAX_PAIRS:
            plots.append((all_plot, None))
            continue
        shown = [
            _with_value_first(value, pair)
            for pair in pairs
            if pair.verdict == "different" or value in (pair.first, pair.second)
        ]
        plots.append(
            (_comparison_plot(param, shown[:MAX_PAIRS], pairs) if shown else all_plot, all_plot if shown else None)
        )
    return plots


def _with_value_first(value: str, pair: ValueComparison) -> ValueComparison:
    """Returns the pair with `value` first, if it is one of the two."""
    if pair.second != value:
        return pair
    best, average = (Estimate(-each.value, -each.high, -each.low) for each in (pair.best, pair.average))
    return replace(pair, first=pair.second, second=pair.first, trials=pair.trials[::-1], best=best, average=average)


def _comparison_plot(
    param: str, pairs: Sequence[ValueComparison], all_pairs: Sequence[ValueComparison]
) -> InteractivePlot:
    of = "" if pairs[0].outcome == "mean" else f" of {pairs[0].outcome}"
    sides = f"AUROC{escape_html(of)}<br>better: \u2190 second \u00b7 first \u2192"
    figure = new_chart(title=title_layout(param), xaxis_title={"text": sides, "font": {"size": 12}})
    files_and_commands = np.arange(len(pairs))[::-1].astype(float)
    for name, shift, symbol, color, group, is_tested in (
        ("average trials", 0.14, "circle", SERIES_COLORS[0], [pair.average for pair in pairs], True),
        ("best trials", -0.14, "diamond-open", GRAY, [pair.best for pair in pairs], False),
    ):
        if all(np.isnan(each.value) for each in group):
            continue
        figure.add_scatter(
            x=[each.value for each in group],
            y=files_and_commands + shift,
            error_x=error_bars(group, color) if is_tested else None,
            mode="markers",
            marker={"symbol": symbol, "color": color, "size": 9},
            name=name,
            hovertext=[
                f"{_pair(pair)}, {name}<br>{format_signed_interval(each) if is_tested else format_signed(each.value)}"
                for pair, each in zip(pairs, group, strict=True)
            ],
            hoverinfo="text",
        )
    figure.add_vline(x=0, line={"color": BLACK, "width": 1})
    labels = [_label(pair) for pair in pairs]
    figure.update_yaxes(
        tickvals=files_and_commands, ticktext=labels, showgrid=False, range=[-0.6, len(pairs) - 0.4], title=""
    )
    return InteractivePlot(
        figure, describe_comparisons(all_pairs), f"Differences between values of {param}", 160 + 40 * len(pairs)
    )


def describe_comparisons(pairs: Sequence[ValueComparison]) -> str:
    """Says in a sentence which values of a parameter differ, are tied, or have too few finished trials."""
    shown = [_describe_difference(pair) for pair in pairs if pair.verdict == "different"]
    for verdict, all_pairs, some_pairs in (
        ("tied", "the data show no difference between any two values", "show no clear difference"),
        ("untested", "too few trials finished to compare averages", "have too few finished trials to compare averages"),
    ):
        group = [f"{pair.first} and {pair.second}" for pair in pairs if pair.verdict == verdict]
        if len(group) == len(pairs):
            shown.append(all_pairs)
        elif group:
            shown.append(
                f"{', '.join(group) if len(group) <= MAX_NAMED_PAIRS else f'{len(group)} other pairs'} {some_pairs}"
            )
    return f"{'; '.join(shown)}."


def _describe_difference(pair: ValueComparison) -> str:
    first, second, gain = pair.first, pair.second, pair.average
    if gain.value < 0:
        first, second, gain = second, first, Estimate(-gain.value, -gain.high, -gain.low)
    on = "" if pair.outcome == "mean" else f" on {pair.outcome}"
    return f"{first} is better than {second}{on} by {format_interval(gain)}"


def _label(pair: ValueComparison) -> str:
    shown = f"{_pair(pair)}<br>{pair.trials[0]} and {pair.trials[1]} finished"
    return f"<b>{shown}</b>" if pair.verdict == "different" else shown


def _pair(pair: ValueComparison) -> str:
    return escape_html(f"{pair.first} {MINUS} {pair.second}")


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
