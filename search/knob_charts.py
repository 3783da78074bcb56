"""Knobs against AUROC: all of them at once, a line a trial, and each by itself."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from chex.console import decimal
from chex.page import Plot
from chex.pictures import INKS
from search.chart_style import (
    BLACK,
    FAINT,
    GRAY,
    MARKS,
    Drawn,
    add_trials,
    broken,
    chart,
    safe,
    titled,
    told_of,
)
from search.ledger import TrialRow
from search.progress import shown
from search.space import Knob

LACKING = -0.14
"""Where a line passes an axis that its trial has no value on; the axis goes from 0 to 1."""
FEW = 8
"""Whole numbers that all stand on an axis."""
JITTER = 0.16
"""How far the trials of one value are drawn apart, in values."""


def parallel(drawn: Drawn) -> Plot:
    """A line a trial over all knobs to its AUROC; it passes below the axis of a knob that the trial does not have."""
    paths = [path for path, knob in drawn.space.items() if _varies(knob) and any(path in r.knobs for r in drawn.rows)]
    scales = {path: _scale(drawn.space[path]) for path in paths}
    values = [row.value for row in drawn.rows if row.value == row.value]
    low, high = min(values), max(values)
    figure = chart()
    groups: list[tuple[str, dict[str, Any], list[TrialRow]]] = [
        ("failed", {"color": INKS[1], "width": 1, "dash": "dot"}, []),
        ("others", {"color": FAINT, "width": 1}, []),
        ("not told from the best", {"color": INKS[0], "width": 1.4}, []),
        ("winner", {"color": BLACK, "width": 4}, []),
    ]
    for row in drawn.rows:
        tied = row.number in drawn.tied
        place = 3 if row.number == drawn.winner else 2 if tied else 0 if row.state == "failed" else 1
        groups[place][2].append(row)
    for name, line, own in groups:
        heights = [
            [
                *(scales[path].height(row.knobs[path], row.number) if path in row.knobs else LACKING for path in paths),
                (row.value - low) / max(high - low, 1e-9) if row.value == row.value else None,
                None,
            ]
            for row in own
        ]
        if own:
            figure.add_scatter(
                x=[*range(len(paths) + 1), None] * len(own),
                y=[each for line_of in heights for each in line_of],
                mode="lines+markers",
                line=line,
                marker={"size": 4, "color": line["color"]},
                name=f"{name} ({len(own)})",
                hovertext=[told_of(row, ()) for row in own for _ in range(len(paths) + 2)],
                hoverinfo="text",
            )
    marks = [(place, height, text) for place, path in enumerate(paths) for height, text in scales[path].marks]
    marks += [(len(paths), 0.0, decimal(low)), (len(paths), 1.0, decimal(high))]
    lacked = [place for place, path in enumerate(paths) if any(path not in row.knobs for row in drawn.rows)]
    marks += [(place, LACKING, "(none)") for place in lacked]
    style = {"showarrow": False, "xanchor": "left", "xshift": 4, "font": {"size": 11}, "borderpad": 1}
    figure.update_layout(
        annotations=[
            {"x": place, "y": height, "text": safe(text), "bgcolor": "rgba(255,255,255,.75)", **style}
            for place, height, text in marks
        ]
    )
    figure.update_xaxes(
        tickvals=list(range(len(paths) + 1)),
        ticktext=[*(safe(broken(path)) for path in paths), "<b>AUROC</b>"],
        range=[-0.1, len(paths) + 0.4],
        gridcolor=GRAY,
        side="top",
    )
    figure.update_yaxes(visible=False, range=[LACKING - 0.06 if lacked else -0.08, 1.08])
    figure.update_layout(margin={"t": 70, "l": 10, "r": 10, "b": 40}, legend={"y": -0.02, "yanchor": "top"})
    return Plot(figure, _alike_in_words(drawn, paths), "Trials over all knobs", 440, least=110 * (len(paths) + 1))


def _alike_in_words(drawn: Drawn, paths: Sequence[str]) -> str:
    own = [row for row in drawn.rows if row.number in drawn.tied]
    if len(own) < 2:
        return f"each line is a trial; the thick one is the winner, trial {drawn.winner}, alone at the top."
    told = []
    for path in paths:
        given = [row.knobs[path] for row in own if path in row.knobs]
        if isinstance(drawn.space[path].domain, CategoricalDistribution):
            words = sorted({shown(value) for value in given})
            if len(words) == 1:
                told.append(f"{path} is always {words[0]}")
        elif len(set(given)) > 1:
            told.append(f"{path} goes from {shown(min(given))} to {shown(max(given))}")
    return f"among the {len(own)} trials that are not told from the best, {', '.join(told) or 'no knob is common'}."


def slices(drawn: Drawn) -> list[Plot]:
    """A picture a knob: AUROC over its values, a mark a trial."""
    return [_slice(drawn, path) for path, knob in drawn.space.items() if _varies(knob)]


def _slice(drawn: Drawn, path: str) -> Plot:
    scale = _scale(drawn.space[path])
    figure = chart(title=titled(path), yaxis_title="AUROC", showlegend=False)
    there = [row for row in drawn.rows if path in row.knobs and row.value == row.value]
    for state in MARKS:
        own = [row for row in there if row.state == state and row.number != drawn.winner]
        where = [scale.place(row.knobs[path], row.number) for row in own]
        add_trials(figure, own, where, [row.value for row in own], state, paths=[path])
    if path in drawn.won.knobs:
        where = [scale.place(drawn.won.knobs[path], drawn.winner)]
        add_trials(figure, [drawn.won], where, [drawn.won.value], "winner", size=14, paths=[path])
    figure.update_xaxes(**scale.axis)
    figure.update_layout(margin={"t": 36, "b": 40})
    return Plot(figure, _slice_in_words(path, scale, there), f"AUROC over {path}", 270)


def _slice_in_words(path: str, scale: "Scale", rows: Sequence[TrialRow]) -> str:
    finished = sorted((row for row in rows if row.state == "finished"), key=lambda row: -row.value)
    if not finished:
        return "no trial finished with it."
    if not scale.words:
        best = finished[: max(1, round(len(finished) / 4))]
        given = sorted(row.knobs[path] for row in best)
        where = shown(given[0]) if given[0] == given[-1] else f"{shown(given[0])} to {shown(given[-1])}"
        count = (
            "the best finished trial has"
            if len(best) == 1
            else f"the best {len(best)} of {len(finished)} finished have"
        )
        return f"{count} {where}."
    best_of = {str(row.knobs[path]): row.value for row in reversed(finished)}
    ranked = sorted(best_of.items(), key=lambda item: -item[1])
    return f"best finished: {', '.join(f'{value} {decimal(auroc)}' for value, auroc in ranked)}."


@dataclass(frozen=True)
class Scale:
    """How a knob's values lie on an axis."""

    words: tuple[str, ...]
    """Of a knob whose values are words, in their order."""
    low: float
    high: float
    log: bool = False
    whole: bool = False

    @property
    def axis(self) -> dict[str, Any]:
        """Of plotly."""
        if self.words:
            labels, many = [safe(broken(word)) for word in self.words], len(self.words)
            return {"tickvals": list(range(many)), "ticktext": labels, "range": [-0.5, many - 0.5]}
        if self.log:
            ticks = [self.low, (self.low * self.high) ** 0.5, self.high]
            low, high = np.log10([self.low, self.high])
            edges = [low - 0.06 * (high - low), high + 0.06 * (high - low)]
            return {"type": "log", "tickvals": ticks, "ticktext": list(map(shown, ticks)), "range": edges}
        return {"dtick": 1} if self.whole and self.high - self.low <= FEW else {}

    @property
    def marks(self) -> list[tuple[float, str]]:
        """Heights in [0, 1] and what is written there."""
        if self.words:
            return [(place / max(1, len(self.words) - 1), word) for place, word in enumerate(self.words)]
        return [(0.0, shown(self.low)), (1.0, shown(self.high))]

    def place(self, value: Any, trial: int) -> float:
        """Where a trial's value lies on the axis; trials of one word lie a little apart."""
        if not self.words:
            return float(value)
        return self.words.index(str(value)) + JITTER * (2 * (trial * 0.618 % 1) - 1)

    def height(self, value: Any, trial: int) -> float:
        """In [0, 1]."""
        if self.words:
            return self.place(value, trial if len(self.words) > 1 else 0) / max(1, len(self.words) - 1)
        low, high, own = (np.log(each) if self.log else each for each in (self.low, self.high, float(value)))
        return float((own - low) / (high - low))


def _scale(knob: Knob) -> Scale:
    if isinstance(knob.domain, CategoricalDistribution):
        return Scale(tuple(map(str, knob.domain.choices)), 0, 1)
    assert isinstance(knob.domain, FloatDistribution | IntDistribution)
    return Scale((), knob.domain.low, knob.domain.high, knob.domain.log, isinstance(knob.domain, IntDistribution))


def _varies(knob: Knob) -> bool:
    return not knob.domain.single()
