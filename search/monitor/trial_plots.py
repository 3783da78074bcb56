"""Draws a trial's ROC curves and confusion matrices."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from chex.reporting.console import format_decimal
from chex.reporting.plot_style import SERIES_COLORS, new_figure
from chex.statistics.metrics import auroc
from chex.statistics.thresholds import choose_thresholds, counts_at, cumulative_counts

COLUMNS = 2
"""Number of observations side by side."""
STEP_X, STEP_Y = 6.1, 3.6
"""Distance between the matrices of neighbouring observations, in cells."""


def roc_figure(names: Sequence[str], truth: np.ndarray, probability: np.ndarray) -> Figure:
    """Draws the ROC curves of all observations from (N, K) arrays, the best first; NaN in `truth` means not scored."""
    figure, axes = new_figure(6.4, 6.0)
    axes.plot([0, 1], [0, 1], color="#999999", linewidth=0.8, linestyle=":")
    areas = np.array([auroc(truth[:, k], probability[:, k]) for k in range(len(names))])
    for position, k in enumerate(np.argsort(-areas, kind="stable")):  # NaN comes last
        label = f"{format_decimal(areas[k])}  {names[k]}"
        dash = "-" if position < len(SERIES_COLORS) else "--"
        axes.plot(
            *_curve(truth[:, k], probability[:, k]),
            dash,
            color=SERIES_COLORS[position % len(SERIES_COLORS)],
            label=label,
        )
    axes.set(xlim=(0, 1), ylim=(0, 1.01), aspect="equal", xlabel="false positive rate", ylabel="recall")
    axes.legend(loc="lower right", title="AUROC", alignment="left", fontsize=9, title_fontsize=9)
    return figure


def confusion_figure(names: Sequence[str], truth: np.ndarray, probability: np.ndarray) -> Figure:
    """Draws confusion matrices of (N, K) arrays, for each observation at .5 and at Youden's threshold."""
    rows = -(-len(names) // COLUMNS)
    columns = min(COLUMNS, len(names))
    figure, axes = new_figure(5.2 * columns, 3.05 * rows)
    for k, name in enumerate(names):
        left, top = STEP_X * (k % COLUMNS), STEP_Y * (k // COLUMNS)
        axes.text(left, top - 0.75, name, fontsize=11, weight="bold")
        for row, kind in enumerate(("positive", "negative")):
            axes.text(left - 0.08, top + row + 0.5, kind, rotation=90, ha="right", va="center", fontsize=9)
        half, youden, _ = choose_thresholds(truth[:, k], probability[:, k], recall=1)
        for position, (rule, threshold) in enumerate(((".5", half), (f"Youden's {_format_threshold(youden)}", youden))):
            _matrix(axes, left + 2.5 * position, top, f"at {rule}", truth[:, k], probability[:, k], threshold)
    axes.set(xlim=(-0.5, STEP_X * columns - 1.2), ylim=(STEP_Y * rows - 1.4, -1.1), aspect="equal")
    axes.set_axis_off()
    figure.set_layout_engine("none")  # measuring hundreds of texts with known positions would be slow
    axes.set_position((0, 0, 1, 1))
    return figure


def _matrix(
    axes: Axes, left: float, top: float, heading: str, truth: np.ndarray, probability: np.ndarray, threshold: float
) -> None:
    axes.text(left + 1, top - 0.42, heading, ha="center", fontsize=9)
    if np.isnan(threshold):
        axes.text(left + 1, top + 1, "undefined", ha="center", va="center", fontsize=9)
        return
    counts = counts_at(truth, probability, threshold, np.ones((1, len(truth)))).reshape(
        2, 2
    )  # rows: truth, columns: prediction
    for column, prediction in enumerate(("predicted +", "predicted -")):
        axes.text(left + column + 0.5, top - 0.08, prediction, ha="center", va="bottom", fontsize=9)
        for row in range(2):
            share = counts[row, column] / max(1.0, counts[row].sum())
            color = SERIES_COLORS[0] if row == column else SERIES_COLORS[1]
            axes.add_patch(Rectangle((left + column, top + row), 1, 1, facecolor=color, alpha=0.85 * share + 0.03))
            text = f"{counts[row, column]:,.0f}  ({100 * share:.0f} %)"
            center = (left + column + 0.5, top + row + 0.5)
            axes.text(*center, text, ha="center", va="center", fontsize=8, color="white" if share > 0.6 else "black")


def _curve(truth: np.ndarray, probability: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns false positive rates and recalls from (0, 0) to (1, 1); empty arrays if only one class is present."""
    positives, negatives = (truth == 1).sum(), (truth == 0).sum()
    if not positives or not negatives:
        return np.empty(0), np.empty(0)
    _, tp, fp = cumulative_counts(truth, probability, np.ones((1, len(truth))))
    return np.append(0, fp[0] / negatives), np.append(0, tp[0] / positives)


def _format_threshold(threshold: float) -> str:
    """Formats a threshold with three significant digits, because it may be very small; `-` if undefined."""
    return "-" if np.isnan(threshold) else f"{threshold:.3g}".removeprefix("0")
