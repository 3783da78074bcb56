"""What a search's page draws for the browser to tell more of: trials, values against each other, knobs, curves."""

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Literal

import numpy as np
import plotly.graph_objects as go
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from chex.console import decimal, percent
from chex.figures import Estimate
from chex.page import Plot
from chex.pictures import INKS
from search.importance import Importances
from search.ledger import State, TrialRow
from search.progress import shown
from search.rivals import Rivalry
from search.space import Knob, Space
from search.stopping import Stopping

BLACK, GRAY, FAINT = "#1a1a1a", "#808080", "#c4c4c4"
MARKS: dict[State, tuple[str, str]] = {
    "finished": ("circle", INKS[0]),
    "stopped": ("diamond-open", "#b05f00"),
    "failed": ("x-thin-open", INKS[1]),
    "waiting": ("square-open", GRAY),
}
"""A trial's shape, which tells its state without colours too, and its ink."""
WINNER = ("star", INKS[1])
MINUS = "\N{MINUS SIGN}"
LACKING = -0.14
"""Where a line passes an axis that its trial has no value on; the axis goes from 0 to 1."""
MANY = 30
"""Lines that stand in each other's light."""
FEW = 8
"""Whole numbers that all stand on an axis."""
JITTER = 0.16
"""How far the trials of one value are drawn apart, in values."""


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


def spent_at_end(rows: Sequence[TrialRow], order: Sequence[int]) -> dict[int, int]:
    """The training images that all trials had seen when a trial ended; `order` has the ended ones' numbers.

    Images of trials that have not ended are left out: nobody knows when they were seen.
    """
    images = {row.number: row.images for row in rows}
    return dict(zip(order, np.cumsum([images[number] for number in order], dtype=int).tolist(), strict=True))


def found_over_images(drawn: Drawn, order: Sequence[int], corrected: Estimate) -> Plot:
    """AUROC over training images spent, a mark a trial; the best so far; what to expect of it on new patients."""
    spent = spent_at_end(drawn.rows, order)
    rows = {row.number: row for row in drawn.rows}
    ended = [rows[number] for number in order]
    floor = min((row.value for row in ended if row.value == row.value), default=0.5) - 0.02
    figure = _figure(xaxis_title="training images of all trials", yaxis_title="validation AUROC")
    valued = [row for row in ended if row.value == row.value]
    best = np.maximum.accumulate([row.value for row in valued])
    line = {"shape": "hv", "color": BLACK, "width": 1.5}
    last = max(spent.values(), default=0)
    figure.add_scatter(
        x=[*(spent[row.number] for row in valued), last],
        y=[*best, best[-1]],
        mode="lines",
        line=line,
        name="best so far",
        hoverinfo="skip",
    )
    for state in MARKS:
        own = [row for row in ended if row.state == state and row.number != drawn.winner]
        _points(figure, own, [spent[row.number] for row in own], [_height(row, floor) for row in own], state)
    _points(figure, [drawn.won], [spent[drawn.winner]], [drawn.won.value], "winner", size=15)
    figure.add_scatter(
        x=[last * 1.05],
        y=[corrected.value],
        error_y=_bars([corrected]),
        mode="markers",
        marker={"symbol": "square", "color": BLACK, "size": 8},
        name="winner, expected on new patients",
        hovertext=[f"expected on new patients<br>{interval(corrected)}"],
        hoverinfo="text",
    )
    return Plot(figure, _found_in_words(drawn, valued, spent, last), "AUROC over training images, a mark a trial", 400)


def _found_in_words(drawn: Drawn, valued: Sequence[TrialRow], spent: Mapping[int, int], last: int) -> str:
    after = sum(spent[row.number] > spent[drawn.winner] for row in valued)
    later = f"{after} trials that ended later brought" if after != 1 else "the one trial that ended later brought"
    if not after:
        return f"the winner, trial {drawn.winner}, was the last to end with a result: more trials may find more."
    share = percent(spent[drawn.winner] / last)
    return (
        f"the winner, trial {drawn.winner}, ended when {spent[drawn.winner]:,} of {last:,} images ({share}) were "
        f"spent; {later} nothing better."
    )


def rival_plots(rivals: Sequence[Rivalry]) -> list[Plot]:
    """A picture a knob: the difference that each pair of its values makes, with intervals."""
    return [_rival_plot(knob, list(own)) for knob, own in groupby(rivals, key=lambda each: each.knob)]


def _rival_plot(knob: str, pairs: Sequence[Rivalry]) -> Plot:
    of = "" if pairs[0].outcome == "mean" else f" of {pairs[0].outcome}"
    sides = f"AUROC{_safe(of)}<br>\u2190 second better \u00b7 first better \u2192"
    figure = _figure(title=_title(knob), xaxis_title={"text": sides, "font": {"size": 12}})
    places = np.arange(len(pairs))[::-1].astype(float)
    for name, shift, symbol, ink, own in (
        ("average trials", 0.14, "circle", INKS[0], [pair.average for pair in pairs]),
        ("best trials", -0.14, "diamond-open", GRAY, [pair.best for pair in pairs]),
    ):
        if all(np.isnan(each.value) for each in own):
            continue
        figure.add_scatter(
            x=[each.value for each in own],
            y=places + shift,
            error_x=_bars(own, ink),
            mode="markers",
            marker={"symbol": symbol, "color": ink, "size": 9},
            name=name,
            hovertext=[f"{_pair(pair)}, {name}<br>{signed(each)}" for pair, each in zip(pairs, own, strict=True)],
            hoverinfo="text",
        )
    figure.add_vline(x=0, line={"color": BLACK, "width": 1})
    labels = [_label(pair) for pair in pairs]
    figure.update_yaxes(tickvals=places, ticktext=labels, showgrid=False, range=[-0.6, len(pairs) - 0.4], title="")
    return Plot(figure, rivals_in_words(pairs), f"Differences between values of {knob}", 160 + 40 * len(pairs))


def rivals_in_words(pairs: Sequence[Rivalry]) -> str:
    """Which values of a knob differ, which are tied, and which too few trials finished with: a sentence."""
    told = [_better(pair) for pair in pairs if pair.verdict == "different"]
    for verdict, of_all, of_some in (
        ("tied", "the data tell no two values apart", "are not told apart"),
        ("untested", "too few trials finished to compare averages", "have too few finished trials to compare averages"),
    ):
        own = [f"{pair.first} and {pair.second}" for pair in pairs if pair.verdict == verdict]
        if len(own) == len(pairs):
            told.append(of_all)
        elif own:
            told.append(f"{', '.join(own) if len(own) < FEW / 2 else f'{len(own)} other pairs'} {of_some}")
    return f"{'; '.join(told)}."


def _better(pair: Rivalry) -> str:
    first, second, gain = pair.first, pair.second, pair.average
    if gain.value < 0:
        first, second, gain = second, first, Estimate(-gain.value, -gain.high, -gain.low)
    on = "" if pair.outcome == "mean" else f" on {pair.outcome}"
    return f"{first} is better than {second}{on} by {interval(gain)}"


def parallel(drawn: Drawn) -> Plot:
    """A line a trial over all knobs to its AUROC; it passes below the axis of a knob that the trial does not have."""
    paths = [path for path, knob in drawn.space.items() if _varies(knob) and any(path in r.knobs for r in drawn.rows)]
    scales = {path: _scale(drawn.space[path]) for path in paths}
    values = [row.value for row in drawn.rows if row.value == row.value]
    low, high = min(values), max(values)
    figure = _figure()
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
                hovertext=[_hover(row, ()) for row in own for _ in range(len(paths) + 2)],
                hoverinfo="text",
            )
    marks = [(place, height, text) for place, path in enumerate(paths) for height, text in scales[path].marks]
    marks += [(len(paths), 0.0, decimal(low)), (len(paths), 1.0, decimal(high))]
    lacked = [place for place, path in enumerate(paths) if any(path not in row.knobs for row in drawn.rows)]
    marks += [(place, LACKING, "(none)") for place in lacked]
    style = {"showarrow": False, "xanchor": "left", "xshift": 4, "font": {"size": 11}, "borderpad": 1}
    figure.update_layout(
        annotations=[
            {"x": place, "y": height, "text": _safe(text), "bgcolor": "rgba(255,255,255,.75)", **style}
            for place, height, text in marks
        ]
    )
    figure.update_xaxes(
        tickvals=list(range(len(paths) + 1)),
        ticktext=[*(_safe(_broken(path)) for path in paths), "<b>AUROC</b>"],
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
    return f"among the {len(own)} trials that are not told from the best, {_listed(told) or 'no knob is common'}."


def slices(drawn: Drawn) -> list[Plot]:
    """A picture a knob: AUROC over its values, a mark a trial."""
    return [_slice(drawn, path) for path, knob in drawn.space.items() if _varies(knob)]


def _slice(drawn: Drawn, path: str) -> Plot:
    scale = _scale(drawn.space[path])
    figure = _figure(title=_title(path), yaxis_title="AUROC", showlegend=False)
    there = [row for row in drawn.rows if path in row.knobs and row.value == row.value]
    for state in MARKS:
        own = [row for row in there if row.state == state and row.number != drawn.winner]
        where = [scale.place(row.knobs[path], row.number) for row in own]
        _points(figure, own, where, [row.value for row in own], state, paths=[path])
    if path in drawn.won.knobs:
        where = [scale.place(drawn.won.knobs[path], drawn.winner)]
        _points(figure, [drawn.won], where, [drawn.won.value], "winner", size=14, paths=[path])
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


def importances_plot(found: Importances) -> Plot:
    """How much each knob matters, by two measures."""
    paths = list(dict.fromkeys([*found.fanova, *found.ped_anova]))
    figure = _figure(xaxis_title="share")
    for name, symbol, ink, own in (
        ("of the variance over the space (fANOVA)", "circle", INKS[0], found.fanova),
        ("of what leads to the best tenth (PED-ANOVA)", "diamond-open", "#b05f00", found.ped_anova),
    ):
        there = [path for path in paths if path in own]
        figure.add_scatter(
            x=[own[path] for path in there],
            y=[_safe(path) for path in there],
            mode="markers",
            marker={"symbol": symbol, "color": ink, "size": 11},
            name=name,
            hovertext=[f"{_safe(path)}: {percent(own[path])} {name}" for path in there],
            hoverinfo="text",
        )
    figure.update_xaxes(tickformat=".0%", rangemode="tozero")
    figure.update_yaxes(autorange="reversed")
    top = max(found.fanova, key=lambda path: found.fanova[path])
    ped = max(found.ped_anova, key=lambda path: found.ped_anova[path], default=top)
    reading = f"{top} explains most of the differences between trials, {percent(found.fanova[top])}"
    more = f"{'it also' if ped == top else ped} matters most for being among the best tenth"
    return Plot(figure, f"{reading}; {more}.", "Importance of knobs", 130 + 30 * len(paths))


def curves_plot(drawn: Drawn, stopping: Stopping | None) -> Plot:
    """AUROC at each report, a line a trial; where a stopped one ends is marked."""
    by_images = stopping is not None and stopping.unit == "images"
    field, head = (
        ("images_seen", "training images of the trial") if by_images else ("percent", "% of the trial's schedule")
    )
    figure = _figure(xaxis_title=head, yaxis_title="validation AUROC")
    groups: list[tuple[str, dict[str, Any], State | None]] = [
        ("stopped", {"color": "#b05f00", "width": 1.2, "dash": "dot"}, "stopped"),
        ("failed", {"color": INKS[1], "width": 1, "dash": "dot"}, "failed"),
        ("unfinished", {"color": GRAY, "width": 1, "dash": "dash"}, "waiting"),
        ("finished", {"color": INKS[0], "width": 1.2}, "finished"),
        ("winner", {"color": BLACK, "width": 3.5}, None),
    ]
    for name, line, state in groups:
        own = (
            [drawn.won]
            if state is None
            else [row for row in drawn.rows if row.state == state and row.number != drawn.winner and row.reports]
        )
        if own:
            _curves(figure, own, field, name, line, WINNER[0] if state is None else MARKS[state][0])
    return Plot(figure, _curves_in_words(drawn), "Learning curves of the trials", 400)


def _curves(
    figure: go.Figure, rows: Sequence[TrialRow], field: str, name: str, line: dict[str, Any], symbol: str
) -> None:
    reports = [(row, place, each) for row in rows for place, each in enumerate([*row.reports, None])]
    ends = [len(row.reports) - 1 == place for row, place, _ in reports]
    figure.add_scatter(
        x=[each and each[field] for _, _, each in reports],
        y=[each and each["auroc"] for _, _, each in reports],
        mode="lines+markers",
        line=line,
        opacity=1 if len(rows) < MANY else 0.4,
        marker={"symbol": symbol, "size": [9 if end else 0.1 for end in ends], "color": line["color"]},
        name=f"{name} ({len(rows)})",
        hovertext=[f"trial {row.number}, {decimal(each['auroc'])}" if each else "" for row, _, each in reports],
        hoverinfo="text",
    )


def _curves_in_words(drawn: Drawn) -> str:
    stopped = [row for row in drawn.rows if row.state == "stopped"]
    if not stopped:
        return "no trial was stopped early."
    at = sorted({row.percent for row in stopped})
    where = f"at {at[0]} %" if len(at) == 1 else f"between {at[0]} and {at[-1]} %"
    best = max(stopped, key=lambda row: row.value)
    return (
        f"{len(stopped)} of {len(drawn.rows)} trials were stopped, {where} of their schedules; the best of them, trial "
        f"{best.number}, had reached {decimal(best.value)}."
    )


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
            labels, many = [_safe(_broken(word)) for word in self.words], len(self.words)
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


def interval(estimate: Estimate) -> str:
    """A figure with its 95 % interval; `-` where undefined."""
    if np.isnan(estimate.value):
        return "-"
    return f"{decimal(estimate.value)} ({bound(estimate.low)} to {bound(estimate.high)})"


def bound(value: float) -> str:
    """As `decimal`, of what may be negative."""
    return f"{MINUS}{decimal(-value)}" if value < 0 else decimal(value)


def signed(estimate: Estimate) -> str:
    """A difference with its interval; `-` where undefined."""
    if np.isnan(estimate.value):
        return "-"
    plus = "+" if estimate.value > 0 else ""
    return f"{plus}{bound(estimate.value)} ({bound(estimate.low)} to {bound(estimate.high)})"


def _points(
    figure: go.Figure,
    rows: Sequence[TrialRow],
    x: Sequence[float],
    y: Sequence[float],
    name: State | Literal["winner"],
    size: int = 10,
    paths: Sequence[str] | None = None,
) -> None:
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
        hovertext=[_hover(row, paths) for row in rows],
        hoverinfo="text",
    )


def _hover(row: TrialRow, paths: Sequence[str] | None) -> str:
    """What is told of a trial, with these of its knobs; None: with all."""
    how = f"stopped at {row.percent} %" if row.state == "stopped" else row.state
    lines = [f"trial {row.number}, {how}", f"AUROC {decimal(row.value)}, {row.images:,} images"]
    lines += [f"{path} {shown(value)}" for path, value in row.knobs.items() if paths is None or path in paths]
    return "<br>".join(map(_safe, [*lines, *([row.error[:80]] if row.error else [])]))


def _height(row: TrialRow, floor: float) -> float:
    return floor if np.isnan(row.value) else row.value


def _bars(own: Sequence[Estimate], ink: str = BLACK) -> dict[str, Any]:
    return {
        "type": "data",
        "symmetric": False,
        "array": [each.high - each.value for each in own],
        "arrayminus": [each.value - each.low for each in own],
        "color": ink,
        "thickness": 1.6,
    }


def _label(pair: Rivalry) -> str:
    told = f"{_pair(pair)}<br>{pair.trials[0]} and {pair.trials[1]} finished"
    return f"<b>{told}</b>" if pair.verdict == "different" else told


def _pair(pair: Rivalry) -> str:
    return _safe(f"{pair.first} {MINUS} {pair.second}")


def _listed(words: Sequence[str]) -> str:
    return ", ".join(words)


def _broken(path: str) -> str:
    """A path in two lines."""
    return path.replace(".", ".\n", 1)


def _safe(text: str) -> str:
    """What plotly, which takes texts for HTML, shows as `text`."""
    return html.escape(text, quote=False).replace("\n", "<br>")


def _title(text: str) -> dict[str, Any]:
    return {
        "text": f"<b>{_safe(text)}</b>",
        "font": {"size": 14},
        "x": 0,
        "xanchor": "left",
        "y": 0.98,
        "yanchor": "top",
    }


def _figure(**layout: Any) -> go.Figure:
    """An empty figure in the page's style."""
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
