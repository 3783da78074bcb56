"""Draws parameters against AUROC: parallel coordinates with one line per trial, and one plot per parameter."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from chex.reporting.console import format_decimal
from chex.reporting.html_report import InteractivePlot
from chex.reporting.plot_style import SERIES_COLORS
from search.report.chart_style import (
    BLACK,
    FAINT,
    GRAY,
    STATE_MARKERS,
    ChartData,
    add_trials,
    break_path,
    escape_html,
    hover_text,
    new_chart,
    title_layout,
)
from search.space.space import Param
from search.trials.trial import TrialRecord
from search.trials.trial_text import format_value

MISSING_HEIGHT = -0.14
"""The height of a line at an axis for which its trial has no value; the axis goes from 0 to 1."""
MAX_INTEGER_TICKS = 8
"""An axis with at most this many integers has a tick for each."""
JITTER = 0.16
"""Trials of a category are drawn at most this far from its position; neighbouring categories have distance 1."""


def parallel_coordinates(data: ChartData) -> InteractivePlot:
    """Draws a line per trial over all parameters to its AUROC; below the axis of a parameter that the trial lacks."""
    paths = [path for path, param in data.space.items() if _varies(param) and any(path in r.params for r in data.rows)]
    scales = {path: _scale(data.space[path]) for path in paths}
    values = [row.value for row in data.rows if row.value == row.value]
    low, high = min(values), max(values)
    figure = new_chart()
    groups: list[tuple[str, dict[str, Any], list[TrialRecord]]] = [
        ("failed", {"color": SERIES_COLORS[1], "width": 1, "dash": "dot"}, []),
        ("others", {"color": FAINT, "width": 1}, []),
        ("may be the best", {"color": SERIES_COLORS[0], "width": 1.4}, []),
        ("winner", {"color": BLACK, "width": 4}, []),
    ]
    for row in data.rows:
        tied = row.number in data.tied
        position = 3 if row.number == data.winner else 2 if tied else 0 if row.state == "failed" else 1
        groups[position][2].append(row)
    for name, line, trials in groups:
        heights = [
            [
                *(
                    scales[path].height(row.params[path], row.number) if path in row.params else MISSING_HEIGHT
                    for path in paths
                ),
                (row.value - low) / max(high - low, 1e-9) if row.value == row.value else None,
                None,
            ]
            for row in trials
        ]
        if trials:
            figure.add_scatter(
                x=[*range(len(paths) + 1), None] * len(trials),
                y=[each for line_of in heights for each in line_of],
                mode="lines+markers",
                line=line,
                marker={"size": 4, "color": line["color"]},
                name=f"{name} ({len(trials)})",
                hovertext=[hover_text(row, ()) for row in trials for _ in range(len(paths) + 2)],
                hoverinfo="text",
            )
    marks = [(position, height, text) for position, path in enumerate(paths) for height, text in scales[path].marks]
    marks += [(len(paths), 0.0, format_decimal(low)), (len(paths), 1.0, format_decimal(high))]
    missing = [position for position, path in enumerate(paths) if any(path not in row.params for row in data.rows)]
    marks += [(position, MISSING_HEIGHT, "(none)") for position in missing]
    style = {"showarrow": False, "xanchor": "left", "xshift": 4, "font": {"size": 11}, "borderpad": 1}
    figure.update_layout(
        annotations=[
            {"x": position, "y": height, "text": escape_html(text), "bgcolor": "rgba(255,255,255,.75)", **style}
            for position, height, text in marks
        ]
    )
    figure.update_xaxes(
        tickvals=list(range(len(paths) + 1)),
        ticktext=[*(escape_html(break_path(path)) for path in paths), "<b>AUROC</b>"],
        range=[-0.1, len(paths) + 0.4],
        gridcolor=GRAY,
        side="top",
    )
    figure.update_yaxes(visible=False, range=[MISSING_HEIGHT - 0.06 if missing else -0.08, 1.08])
    figure.update_layout(margin={"t": 70, "l": 10, "r": 10, "b": 40}, legend={"y": -0.02, "yanchor": "top"})
    return InteractivePlot(
        figure, _describe_best_trials(data, paths), "Trials over all parameters", 440, min_width=110 * (len(paths) + 1)
    )


def _describe_best_trials(data: ChartData, paths: Sequence[str]) -> str:
    trials = [row for row in data.rows if row.number in data.tied]
    if len(trials) < 2:
        return (
            f"each line is a trial; the thick one is the winner, trial {data.winner}, which is better than all others."
        )
    sentences = []
    for path in paths:
        values_of_best = [row.params[path] for row in trials if path in row.params]
        if isinstance(data.space[path].domain, CategoricalDistribution):
            words = sorted({format_value(value) for value in values_of_best})
            if len(words) == 1:
                sentences.append(f"{path} is always {words[0]}")
        elif len(set(values_of_best)) > 1:
            sentences.append(
                f"{path} goes from {format_value(min(values_of_best))} to {format_value(max(values_of_best))}"
            )
    return f"among the {len(trials)} trials that may be the best, {', '.join(sentences) or 'no parameter is common'}."


def slice_plots(data: ChartData) -> list[InteractivePlot]:
    """Draws a plot per parameter: AUROC over its values, one marker per trial."""
    return [_slice(data, path) for path, param in data.space.items() if _varies(param)]


def _slice(data: ChartData, path: str) -> InteractivePlot:
    scale = _scale(data.space[path])
    figure = new_chart(title=title_layout(path), yaxis_title="AUROC", showlegend=False)
    scored = [row for row in data.rows if path in row.params and row.value == row.value]
    for state in STATE_MARKERS:
        trials = [row for row in scored if row.state == state and row.number != data.winner]
        positions = [scale.position(row.params[path], row.number) for row in trials]
        add_trials(figure, trials, positions, [row.value for row in trials], state, paths=[path])
    if path in data.winning_trial.params:
        positions = [scale.position(data.winning_trial.params[path], data.winner)]
        add_trials(figure, [data.winning_trial], positions, [data.winning_trial.value], "winner", size=14, paths=[path])
    figure.update_xaxes(**scale.axis)
    figure.update_layout(margin={"t": 36, "b": 40})
    return InteractivePlot(figure, _describe_slice(path, scale, scored), f"AUROC over {path}", 270)


def _describe_slice(path: str, scale: "Scale", rows: Sequence[TrialRecord]) -> str:
    finished = sorted((row for row in rows if row.state == "finished"), key=lambda row: -row.value)
    if not finished:
        return "no trial with this parameter finished."
    if not scale.words:
        best = finished[: max(1, round(len(finished) / 4))]
        values_of_best = sorted(row.params[path] for row in best)
        positions = (
            format_value(values_of_best[0])
            if values_of_best[0] == values_of_best[-1]
            else f"{format_value(values_of_best[0])} to {format_value(values_of_best[-1])}"
        )
        count = (
            "the best finished trial has"
            if len(best) == 1
            else f"the best {len(best)} of {len(finished)} finished have"
        )
        return f"{count} {positions}."
    best_of = {str(row.params[path]): row.value for row in reversed(finished)}
    ranked = sorted(best_of.items(), key=lambda item: -item[1])
    return f"best finished: {', '.join(f'{value} {format_decimal(auroc)}' for value, auroc in ranked)}."


@dataclass(frozen=True)
class Scale:
    """The axis of a parameter."""

    words: tuple[str, ...]
    """The values of a categorical parameter in their order; empty for a numerical one."""
    low: float
    high: float
    log: bool = False
    integer: bool = False

    @property
    def axis(self) -> dict[str, Any]:
        """The axis as plotly's layout."""
        if self.words:
            labels, count = [escape_html(break_path(word)) for word in self.words], len(self.words)
            return {"tickvals": list(range(count)), "ticktext": labels, "range": [-0.5, count - 0.5]}
        if self.log:
            ticks = [self.low, (self.low * self.high) ** 0.5, self.high]
            low, high = np.log10([self.low, self.high])
            edges = [low - 0.06 * (high - low), high + 0.06 * (high - low)]
            return {"type": "log", "tickvals": ticks, "ticktext": list(map(format_value, ticks)), "range": edges}
        return {"dtick": 1} if self.integer and self.high - self.low <= MAX_INTEGER_TICKS else {}

    @property
    def marks(self) -> list[tuple[float, str]]:
        """The labels of the axis in parallel coordinates: heights in [0, 1] and texts."""
        if self.words:
            return [(position / max(1, len(self.words) - 1), word) for position, word in enumerate(self.words)]
        return [(0.0, format_value(self.low)), (1.0, format_value(self.high))]

    def position(self, value: Any, trial: int) -> float:
        """Returns the position of a trial's value on the axis; trials with the same category lie slightly apart."""
        if not self.words:
            return float(value)
        return self.words.index(str(value)) + JITTER * (2 * (trial * 0.618 % 1) - 1)

    def height(self, value: Any, trial: int) -> float:
        """Returns the height in [0, 1] of a trial's value in parallel coordinates."""
        if self.words:
            return self.position(value, trial if len(self.words) > 1 else 0) / max(1, len(self.words) - 1)
        low, high, trials = (np.log(each) if self.log else each for each in (self.low, self.high, float(value)))
        return float((trials - low) / (high - low))


def _scale(param: Param) -> Scale:
    if isinstance(param.domain, CategoricalDistribution):
        return Scale(tuple(map(str, param.domain.choices)), 0, 1)
    assert isinstance(param.domain, FloatDistribution | IntDistribution)
    return Scale((), param.domain.low, param.domain.high, param.domain.log, isinstance(param.domain, IntDistribution))


def _varies(param: Param) -> bool:
    return not param.domain.single()
