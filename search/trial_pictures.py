"""Pictures of what a trial's probabilities are worth: ROC curves and confusion matrices."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from chex.console import decimal
from chex.figures import counts_at, ladder, thresholds
from chex.metrics import auroc
from chex.pictures import INKS, picture

ACROSS = 2
"""Observations side by side."""
STEP_X, STEP_Y = 6.1, 3.6
"""From one observation's matrices to the next, in cells."""


def roc_picture(names: Sequence[str], truth: np.ndarray, probability: np.ndarray) -> Figure:
    """The ROC curves of all observations, (N, K) arrays, the best first in the legend; NaN in `truth`: not scored."""
    figure, axes = picture(6.4, 6.0)
    axes.plot([0, 1], [0, 1], color="#999999", linewidth=0.8, linestyle=":")
    areas = np.array([auroc(truth[:, k], probability[:, k]) for k in range(len(names))])
    for place, k in enumerate(np.argsort(-areas, kind="stable")):  # NaN comes last
        label = f"{decimal(areas[k])}  {names[k]}"
        dash = "-" if place < len(INKS) else "--"
        axes.plot(*_curve(truth[:, k], probability[:, k]), dash, color=INKS[place % len(INKS)], label=label)
    axes.set(xlim=(0, 1), ylim=(0, 1.01), aspect="equal", xlabel="false positive rate", ylabel="recall")
    axes.legend(loc="lower right", title="AUROC", alignment="left", fontsize=9, title_fontsize=9)
    return figure


def confusion_picture(names: Sequence[str], truth: np.ndarray, probability: np.ndarray) -> Figure:
    """Confusion matrices of (N, K) arrays: for each observation at .5 and at Youden's threshold."""
    down = -(-len(names) // ACROSS)
    across = min(ACROSS, len(names))
    figure, axes = picture(5.2 * across, 3.05 * down)
    for k, name in enumerate(names):
        left, top = STEP_X * (k % ACROSS), STEP_Y * (k // ACROSS)
        axes.text(left, top - 0.75, name, fontsize=11, weight="bold")
        for row, kind in enumerate(("positive", "negative")):
            axes.text(left - 0.08, top + row + 0.5, kind, rotation=90, ha="right", va="center", fontsize=9)
        half, youden, _ = thresholds(truth[:, k], probability[:, k], recall=1)
        for place, (rule, cut) in enumerate(((".5", half), (f"Youden's {_short(youden)}", youden))):
            _matrix(axes, left + 2.5 * place, top, f"at {rule}", truth[:, k], probability[:, k], cut)
    axes.set(xlim=(-0.5, STEP_X * across - 1.2), ylim=(STEP_Y * down - 1.4, -1.1), aspect="equal")
    axes.set_axis_off()
    figure.set_layout_engine("none")  # texts by the hundred, whose places are known, would be measured twice
    axes.set_position((0, 0, 1, 1))
    return figure


def _matrix(
    axes: Axes, left: float, top: float, head: str, truth: np.ndarray, probability: np.ndarray, cut: float
) -> None:
    axes.text(left + 1, top - 0.42, head, ha="center", fontsize=9)
    if np.isnan(cut):
        axes.text(left + 1, top + 1, "undefined", ha="center", va="center", fontsize=9)
        return
    counts = counts_at(truth, probability, cut, np.ones((1, len(truth)))).reshape(2, 2)  # truth down, calls across
    for column, call in enumerate(("called", "not called")):
        axes.text(left + column + 0.5, top - 0.08, call, ha="center", va="bottom", fontsize=9)
        for row in range(2):
            share = counts[row, column] / max(1.0, counts[row].sum())
            ink = INKS[0] if row == column else INKS[1]
            axes.add_patch(Rectangle((left + column, top + row), 1, 1, facecolor=ink, alpha=0.85 * share + 0.03))
            told = f"{counts[row, column]:,.0f}  ({100 * share:.0f} %)"
            where = (left + column + 0.5, top + row + 0.5)
            axes.text(*where, told, ha="center", va="center", fontsize=8, color="white" if share > 0.6 else "black")


def _curve(truth: np.ndarray, probability: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """False positive rates and recalls from (0, 0) to (1, 1); empty with one class."""
    positives, negatives = (truth == 1).sum(), (truth == 0).sum()
    if not positives or not negatives:
        return np.empty(0), np.empty(0)
    _, found, alarms = ladder(truth, probability, np.ones((1, len(truth))))
    return np.append(0, alarms[0] / negatives), np.append(0, found[0] / positives)


def _short(threshold: float) -> str:
    """Three figures, for thresholds may be very small; `-` where there is none."""
    return "-" if np.isnan(threshold) else f"{threshold:.3g}".removeprefix("0")
