"""What a search found: AUROC over images spent, value against value, importances of knobs, learning curves."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

import numpy as np
import plotly.graph_objects as go

from chex.console import decimal, percent
from chex.intervals import Estimate
from chex.page import Plot
from chex.pictures import INKS
from search.chart_style import (
    BLACK,
    BROWN,
    GRAY,
    MARKS,
    MINUS,
    WINNER,
    Drawn,
    add_trials,
    bars,
    chart,
    gap,
    interval,
    safe,
    signed,
    titled,
)
from search.importance import Importances
from search.ledger import State, TrialRow
from search.rivals import Rivalry
from search.stopping import Stopping

MANY = 30
"""Lines that stand in each other's light."""
PAIRS = 10
"""Pairs of values that a first look is given."""
NAMED = 3
"""Pairs of values that a sentence names; more are counted."""


def spent_at_end(rows: Sequence[TrialRow], order: Sequence[int]) -> dict[int, int]:
    """The training images that all trials had seen when a trial ended; `order` has the ended ones' numbers.

    Images of trials that have not ended are left out: nobody knows when they were seen.
    """
    images = {row.number: row.images for row in rows}
    return dict(zip(order, np.cumsum([images[number] for number in order], dtype=int).tolist(), strict=True))


def found_over_images(drawn: Drawn, order: Sequence[int], corrected: Estimate) -> Plot:
    """AUROC over training images spent, a mark a trial; the best so far; what to expect of it on other patients."""
    spent = spent_at_end(drawn.rows, order)
    rows = {row.number: row for row in drawn.rows}
    ended = [rows[number] for number in order]
    floor = min((row.value for row in ended if row.value == row.value), default=0.5) - 0.02
    figure = chart(xaxis_title="training images of all trials", yaxis_title="validation AUROC")
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
        add_trials(figure, own, [spent[row.number] for row in own], [_height(row, floor) for row in own], state)
    add_trials(figure, [drawn.won], [spent[drawn.winner]], [drawn.won.value], "winner", size=15)
    figure.add_scatter(
        x=[last * 1.05],
        y=[corrected.value],
        error_y=bars([corrected]),
        mode="markers",
        marker={"symbol": "square", "color": BLACK, "size": 8},
        name="winner, expected on other patients like these",
        hovertext=[f"expected on other patients like these<br>{interval(corrected)}"],
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


def rival_plots(rivals: Sequence[Rivalry], chosen: Mapping[str, Any]) -> list[tuple[Plot, Plot | None]]:
    """Two pictures a knob: the difference that each pair of its values makes, with the intervals of averages.

    The first has at most PAIRS of them where a knob has many, those that differ and those of its value in `chosen`;
    then the second has all.
    """
    found: list[tuple[Plot, Plot | None]] = []
    for knob, own in groupby(rivals, key=lambda each: each.knob):
        pairs, value = list(own), str(chosen.get(knob))
        everything = _rival_plot(knob, pairs, pairs)
        if len(pairs) <= PAIRS:
            found.append((everything, None))
            continue
        told = [
            _from(value, pair) for pair in pairs if pair.verdict == "different" or value in (pair.first, pair.second)
        ]
        found.append((_rival_plot(knob, told[:PAIRS], pairs) if told else everything, everything if told else None))
    return found


def _from(value: str, pair: Rivalry) -> Rivalry:
    """The pair with `value` first, if it is one of the two."""
    if pair.second != value:
        return pair
    best, average = (Estimate(-each.value, -each.high, -each.low) for each in (pair.best, pair.average))
    return replace(pair, first=pair.second, second=pair.first, trials=pair.trials[::-1], best=best, average=average)


def _rival_plot(knob: str, pairs: Sequence[Rivalry], of_all: Sequence[Rivalry]) -> Plot:
    of = "" if pairs[0].outcome == "mean" else f" of {pairs[0].outcome}"
    sides = f"AUROC{safe(of)}<br>better: \u2190 second \u00b7 first \u2192"
    figure = chart(title=titled(knob), xaxis_title={"text": sides, "font": {"size": 12}})
    places = np.arange(len(pairs))[::-1].astype(float)
    for name, shift, symbol, ink, own, tested in (
        ("average trials", 0.14, "circle", INKS[0], [pair.average for pair in pairs], True),
        ("best trials", -0.14, "diamond-open", GRAY, [pair.best for pair in pairs], False),
    ):
        if all(np.isnan(each.value) for each in own):
            continue
        figure.add_scatter(
            x=[each.value for each in own],
            y=places + shift,
            error_x=bars(own, ink) if tested else None,
            mode="markers",
            marker={"symbol": symbol, "color": ink, "size": 9},
            name=name,
            hovertext=[
                f"{_pair(pair)}, {name}<br>{signed(each) if tested else gap(each.value)}"
                for pair, each in zip(pairs, own, strict=True)
            ],
            hoverinfo="text",
        )
    figure.add_vline(x=0, line={"color": BLACK, "width": 1})
    labels = [_label(pair) for pair in pairs]
    figure.update_yaxes(tickvals=places, ticktext=labels, showgrid=False, range=[-0.6, len(pairs) - 0.4], title="")
    return Plot(figure, rivals_in_words(of_all), f"Differences between values of {knob}", 160 + 40 * len(pairs))


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
            told.append(f"{', '.join(own) if len(own) <= NAMED else f'{len(own)} other pairs'} {of_some}")
    return f"{'; '.join(told)}."


def _better(pair: Rivalry) -> str:
    first, second, gain = pair.first, pair.second, pair.average
    if gain.value < 0:
        first, second, gain = second, first, Estimate(-gain.value, -gain.high, -gain.low)
    on = "" if pair.outcome == "mean" else f" on {pair.outcome}"
    return f"{first} is better than {second}{on} by {interval(gain)}"


def _label(pair: Rivalry) -> str:
    told = f"{_pair(pair)}<br>{pair.trials[0]} and {pair.trials[1]} finished"
    return f"<b>{told}</b>" if pair.verdict == "different" else told


def _pair(pair: Rivalry) -> str:
    return safe(f"{pair.first} {MINUS} {pair.second}")


def importances_plot(found: Importances) -> Plot:
    """How much each knob matters, by two measures."""
    paths = list(dict.fromkeys([*found.fanova, *found.ped_anova]))
    figure = chart(xaxis_title="share")
    for name, symbol, ink, own in (
        ("of the variance over the space (fANOVA)", "circle", INKS[0], found.fanova),
        ("of what leads to the best tenth (PED-ANOVA)", "diamond-open", BROWN, found.ped_anova),
    ):
        there = [path for path in paths if path in own]
        figure.add_scatter(
            x=[own[path] for path in there],
            y=[safe(path) for path in there],
            mode="markers",
            marker={"symbol": symbol, "color": ink, "size": 11},
            name=name,
            hovertext=[f"{safe(path)}: {percent(own[path])} {name}" for path in there],
            hoverinfo="text",
        )
    figure.update_xaxes(tickformat=".0%", rangemode="tozero")
    figure.update_yaxes(autorange="reversed")
    top = max(found.fanova, key=lambda path: found.fanova[path])
    ped = max(found.ped_anova, key=lambda path: found.ped_anova[path], default=top)
    reading = f"{top} explains the largest share of the differences between trials, {percent(found.fanova[top])}"
    more = f"{'it also' if ped == top else ped} matters most for being among the best tenth"
    return Plot(figure, f"{reading}; {more}.", "Importance of knobs", 130 + 30 * len(paths))


def curves_plot(drawn: Drawn, stopping: Stopping | None) -> Plot:
    """AUROC at each report, a line a trial; where a stopped one ends is marked."""
    by_images = stopping is not None and stopping.unit == "images"
    field, head = (
        ("images_seen", "training images of the trial") if by_images else ("percent", "% of the trial's schedule")
    )
    figure = chart(xaxis_title=head, yaxis_title="validation AUROC")
    groups: list[tuple[str, dict[str, Any], State | None]] = [
        ("stopped", {"color": BROWN, "width": 1.2, "dash": "dot"}, "stopped"),
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


def _height(row: TrialRow, floor: float) -> float:
    return floor if np.isnan(row.value) else row.value
