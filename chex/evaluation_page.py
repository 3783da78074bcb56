"""An evaluation in words, tables and pictures."""

import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from chex.console import decimal, percent
from chex.figures import AT, FREE, RATES, Cost, Evaluated, Evaluation, ladder, reliability
from chex.intervals import Estimate
from chex.page import Page, Picture, Points, Section, Table
from chex.pictures import INKS, panels
from chex.trained import NO_DIAGNOSIS

ACROSS = 3
"""Panels side by side."""
WIDTH = 7.4
COLUMNS = {
    "threshold": 11,
    "missed": 8,
    "of": 8,
    "called": 8,
    "false alarms": 14,
    "per find": 10,
    "recall": 8,
    "precision": 11,
    "error": 7,
    "F1": 6,
}
"""Of the printed table of thresholds, with their widths. "per find" is false alarms per positive found."""
COUNTS = ("missed", "called", "false alarms")
MARKS = ("o", "D", "^")
"""Of the three thresholds in pictures."""
CHOSEN_HERE = (
    "A threshold chosen on these films is optimistic: on new films it finds fewer or costs more than is told here. "
    "Choose it on one set of patients and read its cost on another."
)


@dataclass(frozen=True)
class Told:
    """An evaluation with all that its telling needs."""

    found: Evaluation
    truth: np.ndarray
    """float (U, K): 1, 0 or NaN (not scored)."""
    probability: np.ndarray
    """float (U, K)."""
    head: str
    """Which weights were scored on what: a sentence."""
    unit: tuple[str, str]
    """What counts once: one and many, as (film, films)."""
    recall: float
    """What the third threshold was to reach."""


def page(told: Told) -> Page:
    """The page of an evaluation; its tables and pictures carry the names of the files beside it."""
    found = told.found
    words = [sentence(each, told) for each in found.observations]
    lead = f"{told.head} {NO_DIAGNOSIS}"
    return Page(
        "What the model finds, and what it misses",
        lead,
        [
            Section("In words", [Points(words), CHOSEN_HERE]),
            Section(
                "Figures",
                [
                    f"In brackets 95 % intervals over {found.patients:,} patients: for AUROC DeLong's on the "
                    "logit scale, no shorter than Newcombe's score interval; for AUPRC and shares Wilson's, of as "
                    "many independent cases as a bootstrap of patients shows; for Brier the bootstrap's percentiles. "
                    "The mean is over the observations in which a figure is defined.",
                    Table("figures", figures_table(found), "Figures that need no threshold", shown=_shown_free(found)),
                    "AUROC: how often a positive is ranked above a negative. AUPRC: the mean precision over steps of "
                    "recall; guessing gives the share of positives. Brier: the mean squared distance of probability "
                    "and truth; lower is better.",
                ],
            ),
            Section(
                "What a threshold costs",
                [
                    Table(
                        "thresholds",
                        thresholds_table(found),
                        f"Three thresholds: what each finds, misses and calls, in {told.unit[1]}",
                        COST_FORMATS,
                        most=1000,
                        shown=_shown_costs(found),
                    ),
                    "Youden's threshold has the largest recall minus false positive rate. The third is the highest "
                    f"that finds at least {100 * told.recall:g} % of the positives. Per find: false alarms for each "
                    f"positive found. {CHOSEN_HERE}",
                    confusion(told),
                    Table(
                        "figures-at-thresholds",
                        figures_at_table(found),
                        "Recall, precision, error rate and F1 with their intervals",
                        shown=_shown_at(found),
                        folded=True,
                    ),
                    "In these intervals a threshold stays as it is: that it was chosen on these films is not in them.",
                ],
            ),
            Section("ROC curves", [roc(told)]),
            Section("Precision and recall", [precision_recall(told)]),
            Section("Calibration", [calibration(told)]),
        ],
    )


def text(told: Told) -> str:
    """The evaluation as lines of at most 112 characters."""
    found = told.found
    wide = max(len(each.name) for each in found.observations)
    lines = [told.head, "", f"{'':<{wide}}  positive  " + "".join(f"{name:<20}" for name in FREE).rstrip()]
    for name, count, own in _with_mean(found):
        cells = "".join(f"{_interval(own[figure]):<20}" for figure in FREE)
        lines.append(f"{name:<{wide}}  {count:>8}  {cells}".rstrip())
    heads = "".join(f"{head:>{width}}" for head, width in COLUMNS.items())
    lines += ["", f"{'':<{wide}}  {'at':<10}{heads}"]
    for each in found.observations:
        lines += [_cost_line("" if place else each.name, each, cost, wide) for place, cost in enumerate(each.costs)]
    blank = " " * sum(list(COLUMNS.values())[: -len(AT)])
    for place, (rule, own) in enumerate(found.mean_at.items() if len(found.observations) > 1 else ()):
        lines.append(f"{'' if place else 'mean':<{wide}}  {rule:<10}{blank}{_figures(own)}")
    return "\n".join([*lines, "", *textwrap.wrap(CHOSEN_HERE, 112)])


def _calls(half: Cost, many: str) -> str:
    if not half.called:
        return f"calls none of the {many}"
    return f"calls {half.called:,}, {half.false_alarms:,} of them without it"


def sentence(one: Evaluated, told: Told) -> tuple[str, str]:
    """A mark and what the thresholds mean for one observation, in words."""
    many = told.unit[1]
    if not one.positives or not one.negatives:
        kind = "scored" if not one.positives + one.negatives else "negative" if one.positives else "positive"
        return "mind", f"{one.name}: none of the {many} is {kind}, so that AUROC and AUPRC are undefined."
    half, _, reaching = one.costs
    allowed = one.positives - int(np.ceil(told.recall * one.positives - 1e-9))
    miss = f"at most {allowed:,}" if allowed else "none"
    return (
        "mind" if half.missed > allowed else "fact",
        f"{one.name}: at .5 the model misses {half.missed:,} of {one.positives:,} {many} with it and "
        f"{_calls(half, many)}. To miss {miss} it must call {reaching.called:,}, {reaching.false_alarms:,} of them "
        f"without it: the threshold is then {_threshold(reaching.threshold)}, with {_ratio(reaching.alarms_a_find)} "
        "false alarms for each one found.",
    )


def figures_table(found: Evaluation) -> pd.DataFrame:
    """A row an observation and their mean: positives, negatives, and each of FREE with its interval, NaN undefined."""
    rows = [
        {"observation": one.name, "positives": one.positives, "negatives": one.negatives} | _flat(one.figures)
        for one in found.observations
    ]
    frame = pd.DataFrame([*rows, {"observation": "mean"} | _flat(found.mean)])
    return frame.astype({"positives": "Int64", "negatives": "Int64"})


def thresholds_table(found: Evaluation) -> pd.DataFrame:
    """A row an observation and threshold: what it misses and calls; missing where the threshold is undefined."""
    frame = pd.DataFrame(
        [
            {
                "observation": one.name,
                "chosen by": cost.rule,
                "threshold": cost.threshold,
                "positives": one.positives,
                "missed": cost.missed,
                "called": cost.called,
                "false alarms": cost.false_alarms,
                "false alarms per find": cost.alarms_a_find,
                **{name: cost.figures[name].value for name in AT},
            }
            for one in found.observations
            for cost in one.costs
        ]
    ).astype(dict.fromkeys(COUNTS, "Int64"))
    frame.loc[frame["threshold"].isna(), list(COUNTS)] = pd.NA
    return frame


def figures_at_table(found: Evaluation) -> pd.DataFrame:
    """A row an observation, or the mean, and threshold: each of AT with its interval, NaN undefined."""
    return pd.DataFrame([{"observation": name, "chosen by": rule} | _flat(own) for name, rule, own in _all_at(found)])


def roc(told: Told) -> Picture:
    """ROC curves with their bands, a panel an observation."""
    figure, panes = _panes(told)
    for axes, one in panes:
        axes.plot([0, 1], [0, 1], color="#999999", linewidth=0.8, linestyle=":")
        if not np.isnan(one.roc[0]).any():
            axes.fill_between(RATES, one.roc[1], one.roc[2], color=INKS[0], alpha=0.2, linewidth=0)
            axes.plot(RATES, one.roc[0], color=INKS[0], linewidth=1.5)
        for place, cost in enumerate(one.costs):
            _mark(axes, place, (cost.false_alarms / max(1, one.negatives), cost.figures["recall"].value))
        axes.set_title(f"{one.name}\n{_interval(one.figures['AUROC'])}", fontsize=9)
    _label(figure, panes, told, "false positive rate", "recall")
    return Picture("roc", figure, _ranked(told.found, "AUROC"), "ROC curves with 95 % bands", wide=True)


def precision_recall(told: Told) -> Picture:
    """Precision over recall, a panel an observation, with the share of positives as what guessing gives."""
    figure, panes = _panes(told)
    for column, (axes, one) in enumerate(panes):
        if one.positives and one.negatives:
            films = np.ones((1, len(told.truth)))
            _, hits, alarms = ladder(told.truth[:, column], told.probability[:, column], films)
            precision, recall = hits[0] / (hits[0] + alarms[0]), hits[0] / one.positives
            axes.step(
                np.append(0, recall), np.append(precision[0], precision), where="pre", color=INKS[0], linewidth=1.3
            )
            axes.axhline(one.positives / (one.positives + one.negatives), color="#999999", linewidth=0.8, linestyle=":")
        for place, cost in enumerate(one.costs):
            _mark(axes, place, (cost.figures["recall"].value, cost.figures["precision"].value))
        axes.set_title(f"{one.name}\n{_interval(one.figures['AUPRC'])}", fontsize=9)
    _label(figure, panes, told, "recall", "precision")
    reading = f"{_ranked(told.found, 'AUPRC')[:-1]}; the dotted line is the share of positives, which guessing gives."
    return Picture("precision-recall", figure, reading, "Precision over recall", wide=True)


def calibration(told: Told) -> Picture:
    """Share of positives over the probability given, in ten parts of equal width, with how many are in each."""
    figure, panes = _panes(told)
    worst: tuple[float, str] = (0.0, f"too few {told.unit[1]} to tell.")
    for column, (axes, one) in enumerate(panes):
        axes.plot([0, 1], [0, 1], color="#999999", linewidth=0.8, linestyle=":")
        parts = reliability(told.truth[:, column], told.probability[:, column])
        axes.plot(parts[:, 0], parts[:, 1], color=INKS[0], marker="o", markersize=4, linewidth=1.2)
        for given, share, films in parts:
            below = share > 0.85
            axes.annotate(
                f"{films:,.0f}",
                (given, share),
                (0, -5 if below else 5),
                textcoords="offset points",
                ha="center",
                va="top" if below else "bottom",
                fontsize=7,
                path_effects=[withStroke(linewidth=2, foreground="white")],
            )
            reading = (
                f"below the dotted line probabilities are too high, above it too low; most {told.unit[1]} are off for "
                f"{one.name}, where of {films:,.0f} given {decimal(given)} on average {percent(share)} are positive."
            )
            worst = max(worst, (films * abs(given - share), reading))
        axes.set_title(one.name, fontsize=9)
    _label(figure, panes, told, "probability given", "share of positives", marks=False)
    return Picture("calibration", figure, worst[1], f"Calibration, with the number of {told.unit[1]}", wide=True)


def confusion(told: Told) -> Picture:
    """What each threshold does with positives and with negatives, as shares and counts."""
    rows = [(one, cost) for one in told.found.observations for cost in one.costs]
    figure, (left, right) = panels(1, 2, WIDTH, 1.1 + 0.24 * len(rows))
    places = np.arange(len(rows)) + 0.6 * np.repeat(np.arange(len(told.found.observations)), 3)
    _bars(left, places, [(cost.found, cost.missed) for _, cost in rows], ("found", "missed"), (INKS[0], "#f2b8b5"))
    _bars(
        right,
        places,
        [(cost.false_alarms, cost.spared) for _, cost in rows],
        ("false alarm", "spared"),
        (INKS[2], "#e6e6e6"),
    )
    left.set_yticks(
        places, [f"{f'{one.name}  ' if i % 3 == 0 else ''}{cost.rule}" for i, (one, cost) in enumerate(rows)]
    )
    right.set_yticks(places, [""] * len(rows))
    left.set_xlabel("share of the positives")
    right.set_xlabel("share of the negatives")
    return Picture("confusion", figure, _most_missed(told), "What each threshold finds, misses and calls", wide=True)


def _bars(
    axes: Axes, places: np.ndarray, counts: Sequence[tuple[int, int]], names: tuple[str, str], inks: tuple[str, str]
) -> None:
    pairs = np.array(counts, dtype=float)
    shares = pairs / np.maximum(1, pairs.sum(axis=1, keepdims=True))
    axes.barh(places, shares[:, 0], height=0.85, color=inks[0], label=names[0])
    axes.barh(places, shares[:, 1], left=shares[:, 0], height=0.85, color=inks[1], label=names[1])
    for place, (first, second), share in zip(places, counts, shares, strict=True):
        if not first + second:
            continue
        fits = share[0] > 0.12
        ink = "white" if fits and inks[0] == INKS[0] else "black"
        axes.text(0.015 + (0 if fits else share[0]), place, f"{first:,}", va="center", fontsize=8, color=ink)
        where, side = (0.985, "right") if share[1] > 0.12 else (1.01, "left")
        axes.text(where, place, f"{second:,}", va="center", ha=side, fontsize=8)
    axes.set(xlim=(0, 1), ylim=(places[-1] + 0.6, places[0] - 0.6))
    axes.xaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
    axes.tick_params(axis="y", length=0, labelsize=9)
    axes.grid(axis="y", visible=False)
    axes.legend(ncols=2, frameon=False, loc="lower left", bbox_to_anchor=(0, 1), fontsize=9)


def _most_missed(told: Told) -> str:
    known = [one for one in told.found.observations if one.positives]
    if not known:
        return "nothing is positive."
    worst = max(known, key=lambda one: one.costs[0].missed / one.positives)
    best = min(known, key=lambda one: one.costs[0].missed / one.positives)
    told_of = f"at .5 {worst.name} is missed most often, {worst.costs[0].missed:,} of {worst.positives:,}"
    return (
        f"{told_of}, and {best.name} least, {best.costs[0].missed:,} of {best.positives:,}."
        if len(known) > 1
        else f"{told_of}."
    )


def _ranked(found: Evaluation, figure: str) -> str:
    known = [one for one in found.observations if not np.isnan(one.figures[figure].value)]
    ranked = sorted(known, key=lambda one: one.figures[figure].value)
    first = ranked[-1]
    if len(known) == 1:
        return f"{first.name} has {figure} {_interval(first.figures[figure])}."
    last = ranked[0]
    return (
        f"{figure} is highest for {first.name}, {_interval(first.figures[figure])}, and lowest for {last.name}, "
        f"{_interval(last.figures[figure])}."
    )


def _panes(told: Told) -> tuple[Figure, list[tuple[Axes, Evaluated]]]:
    count = len(told.found.observations)
    across = min(ACROSS, count)
    down = -(-count // across)
    figure, panes = panels(down, across, WIDTH if across > 1 else 4.6, 0.5 + down * (2.85 if across > 1 else 4.4))
    for axes in panes:
        axes.set(xlim=(0, 1), ylim=(0, 1.02), aspect="equal")
        axes.set_xticks([0, 0.5, 1], ["0", ".5", "1"])
        axes.set_yticks([0, 0.5, 1], ["0", ".5", "1"])
    for axes in panes[count:]:
        axes.set_visible(False)
    return figure, list(zip(panes, told.found.observations, strict=False))


def _mark(axes: Axes, place: int, where: tuple[float, float]) -> None:
    if not np.isnan(where).any():
        axes.plot(*where, marker=MARKS[place], color=INKS[1], markersize=5, linestyle="none", clip_on=False, zorder=4)


def _label(
    figure: Figure, panes: Sequence[tuple[Axes, Evaluated]], told: Told, below: str, left: str, marks: bool = True
) -> None:
    figure.supxlabel(below, fontsize=10)
    figure.supylabel(left, fontsize=10)
    if marks:
        rules = list(told.found.mean_at)
        handles = [
            panes[0][0].plot([], [], marker=MARKS[place], color=INKS[1], linestyle="none", label=f"at {rule}")[0]
            for place, rule in enumerate(rules)
        ]
        figure.legend(handles=handles, ncols=3, frameon=False, loc="outside upper left", fontsize=9)


def _with_mean(found: Evaluation) -> Iterator[tuple[str, str, Mapping[str, Estimate]]]:
    for one in found.observations:
        yield one.name, f"{one.positives:,}", one.figures
    if len(found.observations) > 1:
        yield "mean", "", found.mean


def _all_at(found: Evaluation) -> Iterator[tuple[str, str, Mapping[str, Estimate]]]:
    for one in found.observations:
        for cost in one.costs:
            yield one.name, cost.rule, cost.figures
    for rule, own in found.mean_at.items():
        yield "mean", rule, own


def _shown_free(found: Evaluation) -> pd.DataFrame:
    rows = [{"observation": name, "positives": count} | _short(own) for name, count, own in _with_mean(found)]
    return pd.DataFrame(rows)


def _shown_costs(found: Evaluation) -> pd.DataFrame:
    short = {"chosen by": "at", "positives": "of", "false alarms per find": "per find", "error rate": "error"}
    frame = thresholds_table(found).rename(columns=short)
    frame["observation"] = frame["observation"].mask(frame["observation"].duplicated(), "")
    frame = frame.astype(dict.fromkeys(COUNTS, np.float64))
    order = ["observation", "at", "threshold", "missed", "of", *frame.columns[5:]]
    return frame[order]


def _shown_at(found: Evaluation) -> pd.DataFrame:
    return pd.DataFrame([{"observation": name, "chosen by": rule} | _short(own) for name, rule, own in _all_at(found)])


def _short(estimates: Mapping[str, Estimate]) -> dict[str, str]:
    return {name: _interval(estimate) for name, estimate in estimates.items()}


def _flat(estimates: Mapping[str, Estimate]) -> dict[str, float]:
    return {
        f"{name}{suffix}": getattr(estimate, field)
        for name, estimate in estimates.items()
        for field, suffix in (("value", ""), ("low", " low"), ("high", " high"))
    }


def _interval(estimate: Estimate) -> str:
    if np.isnan(estimate.value):
        return "-"
    return f"{decimal(estimate.value)} ({decimal(estimate.low)} to {decimal(estimate.high)})"


def _cost_line(name: str, one: Evaluated, cost: Cost, wide: int) -> str:
    counts = [f"{count:,}" for count in (cost.missed, one.positives, cost.called, cost.false_alarms)]
    if cost.threshold != cost.threshold:
        counts = ["-"] * len(counts)
    cells = [_threshold(cost.threshold), *counts, _ratio(cost.alarms_a_find)]
    line = "".join(f"{cell:>{width}}" for cell, width in zip(cells, COLUMNS.values(), strict=False))
    return f"{name:<{wide}}  {cost.rule:<10}{line}{_figures(cost.figures)}"


def _figures(estimates: Mapping[str, Estimate]) -> str:
    widths = list(COLUMNS.values())[-len(AT) :]
    return "".join(f"{decimal(estimates[name].value):>{width}}" for name, width in zip(AT, widths, strict=True))


def _threshold(value: float) -> str:
    """Three figures, for thresholds may be very small; `-` where there is none."""
    return "-" if value != value else f"{value:.3g}".removeprefix("0")


def _ratio(value: float) -> str:
    return "-" if value != value else f"{value:.1f}"


COST_FORMATS: dict[str, Callable[[Any], str]] = {
    "threshold": _threshold,
    "per find": _ratio,
    **dict.fromkeys(COUNTS, lambda value: f"{value:,.0f}"),
    **dict.fromkeys((*AT, "error"), decimal),
}
