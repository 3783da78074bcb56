"""The plots of an evaluation."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from chex.evaluation.evaluation_tables import EvaluationNotes, format_interval
from chex.reporting.console import format_decimal, format_percent
from chex.reporting.html_report import StaticPlot
from chex.reporting.plot_style import SERIES_COLORS, new_panels
from chex.statistics.thresholds import FPR_GRID, Evaluation, ObservationEvaluation, cumulative_counts, reliability_curve

ACROSS = 3
"""The number of panels in a row."""
WIDTH = 7.4
MARKS = ("o", "D", "^")
"""The markers of the three thresholds in plots."""


def roc(notes: EvaluationNotes) -> StaticPlot:
    """Draws ROC curves with their bands, a panel per observation."""
    figure, panes = _panes(notes)
    for axes, one in panes:
        axes.plot([0, 1], [0, 1], color="#999999", linewidth=0.8, linestyle=":")
        if not np.isnan(one.roc[0]).any():
            axes.fill_between(FPR_GRID, one.roc[1], one.roc[2], color=SERIES_COLORS[0], alpha=0.2, linewidth=0)
            axes.plot(FPR_GRID, one.roc[0], color=SERIES_COLORS[0], linewidth=1.5)
        for place, cost in enumerate(one.at_thresholds):
            _mark(axes, place, (cost.fp / max(1, one.negatives), cost.metrics["recall"].value))
        axes.set_title(f"{one.name}\n{format_interval(one.metrics['AUROC'])}", fontsize=9)
    _label(figure, panes, notes, "false positive rate", "recall")
    return StaticPlot("roc", figure, _ranked(notes.found, "AUROC"), "ROC curves with 95 % bands", wide=True)


def precision_recall(notes: EvaluationNotes) -> StaticPlot:
    """Draws precision over recall, a panel per observation. A dotted line shows the precision of guessing."""
    figure, panes = _panes(notes)
    for column, (axes, one) in enumerate(panes):
        if one.positives and one.negatives:
            images = np.ones((1, len(notes.truth)))
            _, tp, fp = cumulative_counts(notes.truth[:, column], notes.probability[:, column], images)
            precision, recall = tp[0] / (tp[0] + fp[0]), tp[0] / one.positives
            axes.step(
                np.append(0, recall),
                np.append(precision[0], precision),
                where="pre",
                color=SERIES_COLORS[0],
                linewidth=1.3,
            )
            axes.axhline(one.positives / (one.positives + one.negatives), color="#999999", linewidth=0.8, linestyle=":")
        for place, cost in enumerate(one.at_thresholds):
            _mark(axes, place, (cost.metrics["recall"].value, cost.metrics["precision"].value))
        axes.set_title(f"{one.name}\n{format_interval(one.metrics['AUPRC'])}", fontsize=9)
    _label(figure, panes, notes, "recall", "precision")
    reading = f"{_ranked(notes.found, 'AUPRC')[:-1]}; the dotted line is the share of positives, which guessing gives."
    return StaticPlot("precision-recall", figure, reading, "Precision over recall", wide=True)


def calibration(notes: EvaluationNotes) -> StaticPlot:
    """Draws the share of positives over the predicted probability, in ten bins, with the number of units in each."""
    figure, panes = _panes(notes)
    worst: tuple[float, str] = (0.0, f"too few {notes.unit[1]} to tell.")
    for column, (axes, one) in enumerate(panes):
        axes.plot([0, 1], [0, 1], color="#999999", linewidth=0.8, linestyle=":")
        parts = reliability_curve(notes.truth[:, column], notes.probability[:, column])
        axes.plot(parts[:, 0], parts[:, 1], color=SERIES_COLORS[0], marker="o", markersize=4, linewidth=1.2)
        for predicted, share, images in parts:
            below = share > 0.85
            axes.annotate(
                f"{images:,.0f}",
                (predicted, share),
                (0, -5 if below else 5),
                textcoords="offset points",
                ha="center",
                va="top" if below else "bottom",
                fontsize=7,
                path_effects=[withStroke(linewidth=2, foreground="white")],
            )
            reading = (
                f"below the dotted line probabilities are too high, above it too low; most {notes.unit[1]} are off for "
                f"{one.name}, where of {images:,.0f} with {format_decimal(predicted)} on average "
                f"{format_percent(share)} are positive."
            )
            worst = max(worst, (images * abs(predicted - share), reading))
        axes.set_title(one.name, fontsize=9)
    _label(figure, panes, notes, "predicted probability", "share of positives", marks=False)
    return StaticPlot("calibration", figure, worst[1], f"Calibration, with the number of {notes.unit[1]}", wide=True)


def confusion(notes: EvaluationNotes) -> StaticPlot:
    """Draws true and false positives and negatives of each threshold, as shares and counts."""
    rows = [(one, cost) for one in notes.found.observations for cost in one.at_thresholds]
    figure, (left, right) = new_panels(1, 2, WIDTH, 1.1 + 0.24 * len(rows))
    places = np.arange(len(rows)) + 0.6 * np.repeat(np.arange(len(notes.found.observations)), 3)
    _bars(
        left,
        places,
        [(cost.tp, cost.fn) for _, cost in rows],
        ("true positive", "false negative"),
        (SERIES_COLORS[0], "#f2b8b5"),
    )
    _bars(
        right,
        places,
        [(cost.fp, cost.tn) for _, cost in rows],
        ("false positive", "true negative"),
        (SERIES_COLORS[2], "#e6e6e6"),
    )
    left.set_yticks(
        places, [f"{f'{one.name}  ' if i % 3 == 0 else ''}{cost.rule}" for i, (one, cost) in enumerate(rows)]
    )
    right.set_yticks(places, [""] * len(rows))
    left.set_xlabel("share of the positives")
    right.set_xlabel("share of the negatives")
    return StaticPlot("confusion", figure, _most_missed(notes), "Confusion at each threshold", wide=True)


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
        ink = "white" if fits and inks[0] == SERIES_COLORS[0] else "black"
        axes.text(0.015 + (0 if fits else share[0]), place, f"{first:,}", va="center", fontsize=8, color=ink)
        where, side = (0.985, "right") if share[1] > 0.12 else (1.01, "left")
        axes.text(where, place, f"{second:,}", va="center", ha=side, fontsize=8)
    axes.set(xlim=(0, 1), ylim=(places[-1] + 0.6, places[0] - 0.6))
    axes.xaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
    axes.tick_params(axis="y", length=0, labelsize=9)
    axes.grid(axis="y", visible=False)
    axes.legend(ncols=2, frameon=False, loc="lower left", bbox_to_anchor=(0, 1), fontsize=9)


def _most_missed(notes: EvaluationNotes) -> str:
    known = [one for one in notes.found.observations if one.positives]
    if not known:
        return "nothing is positive."
    worst = max(known, key=lambda one: one.at_thresholds[0].fn / one.positives)
    best = min(known, key=lambda one: one.at_thresholds[0].fn / one.positives)
    told_of = f"at .5 {worst.name} is missed most often, {worst.at_thresholds[0].fn:,} of {worst.positives:,}"
    return (
        f"{told_of}, and {best.name} least, {best.at_thresholds[0].fn:,} of {best.positives:,}."
        if len(known) > 1
        else f"{told_of}."
    )


def _ranked(found: Evaluation, figure: str) -> str:
    known = [one for one in found.observations if not np.isnan(one.metrics[figure].value)]
    ranked = sorted(known, key=lambda one: one.metrics[figure].value)
    first = ranked[-1]
    if len(known) == 1:
        return f"{first.name} has {figure} {format_interval(first.metrics[figure])}."
    last = ranked[0]
    return (
        f"{figure} is highest for {first.name}, {format_interval(first.metrics[figure])}, and lowest for {last.name}, "
        f"{format_interval(last.metrics[figure])}."
    )


def _panes(notes: EvaluationNotes) -> tuple[Figure, list[tuple[Axes, ObservationEvaluation]]]:
    count = len(notes.found.observations)
    across = min(ACROSS, count)
    down = -(-count // across)
    figure, panes = new_panels(down, across, WIDTH if across > 1 else 4.6, 0.5 + down * (2.85 if across > 1 else 4.4))
    for axes in panes:
        axes.set(xlim=(0, 1), ylim=(0, 1.02), aspect="equal")
        axes.set_xticks([0, 0.5, 1], ["0", ".5", "1"])
        axes.set_yticks([0, 0.5, 1], ["0", ".5", "1"])
    for axes in panes[count:]:
        axes.set_visible(False)
    return figure, list(zip(panes, notes.found.observations, strict=False))


def _mark(axes: Axes, place: int, where: tuple[float, float]) -> None:
    if not np.isnan(where).any():
        axes.plot(
            *where, marker=MARKS[place], color=SERIES_COLORS[1], markersize=5, linestyle="none", clip_on=False, zorder=4
        )


def _label(
    figure: Figure,
    panes: Sequence[tuple[Axes, ObservationEvaluation]],
    notes: EvaluationNotes,
    below: str,
    left: str,
    marks: bool = True,
) -> None:
    figure.supxlabel(below, fontsize=10)
    figure.supylabel(left, fontsize=10)
    if marks:
        rules = list(notes.found.mean_at)
        handles = [
            panes[0][0].plot([], [], marker=MARKS[place], color=SERIES_COLORS[1], linestyle="none", label=f"at {rule}")[
                0
            ]
            for place, rule in enumerate(rules)
        ]
        figure.legend(handles=handles, ncols=3, frameon=False, loc="outside upper left", fontsize=9)
