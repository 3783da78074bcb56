"""The report of an evaluation: a page and a printed text, with tables and plots."""

import textwrap
from collections.abc import Mapping

import numpy as np

from chex.evaluation.evaluation_plots import calibration, confusion, precision_recall, roc
from chex.evaluation.evaluation_tables import (
    THRESHOLD_FORMATS,
    EvaluationNotes,
    display_figures,
    display_figures_at,
    display_thresholds,
    figures_at_table,
    figures_table,
    format_interval,
    format_ratio,
    format_threshold,
    thresholds_table,
    with_mean,
)
from chex.evaluation.load_model import NO_DIAGNOSIS
from chex.reporting.console import format_decimal
from chex.reporting.html_report import MarkedList, Page, Section, Table
from chex.statistics.intervals import Estimate
from chex.statistics.thresholds import AT_THRESHOLD, THRESHOLD_FREE, ObservationEvaluation, ThresholdMetrics

COLUMNS = {
    "threshold": 11,
    "FN": 8,
    "of": 8,
    "predicted": 11,
    "FP": 9,
    "FP per TP": 12,
    "recall": 8,
    "precision": 11,
    "error": 7,
    "F1": 6,
}
"""The columns of the printed table of thresholds, and their widths in characters. `of` is the number of positives."""
CHOSEN_HERE = (
    "A threshold chosen on these images is optimistic: on new images it finds fewer positives or has more false "
    "positives. Choose it on one set of patients and read its metrics on another."
)


def page(notes: EvaluationNotes) -> Page:
    """Returns the page of an evaluation. Its tables and plots have the names of the files beside the page."""
    found = notes.found
    words = [sentence(each, notes) for each in found.observations]
    lead = f"{notes.head} {NO_DIAGNOSIS}"
    return Page(
        "What the model finds, and what it misses",
        lead,
        [
            Section("In words", [MarkedList(words), CHOSEN_HERE]),
            Section(
                "Figures",
                [
                    f"In brackets 95 % intervals over {found.patients:,} patients: for AUROC DeLong's on the "
                    "logit scale, no shorter than Newcombe's score interval; for AUPRC and shares Wilson's, of as "
                    "many independent cases as a bootstrap of patients shows; for Brier the bootstrap's percentiles. "
                    "The mean is over the observations in which a figure is defined.",
                    Table(
                        "figures",
                        figures_table(found),
                        "Figures that need no threshold",
                        display=display_figures(found),
                    ),
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
                        "Three thresholds: false negatives (FN), false positives (FP) and true positives (TP), in "
                        f"{notes.unit[1]}",
                        THRESHOLD_FORMATS,
                        max_rows=1000,
                        display=display_thresholds(found),
                    ),
                    "Youden's threshold has the largest recall minus false positive rate. The third is the highest "
                    f"that finds at least {100 * notes.recall:g} % of the positives. {CHOSEN_HERE}",
                    confusion(notes),
                    Table(
                        "figures-at-thresholds",
                        figures_at_table(found),
                        "Recall, precision, error rate and F1 with their intervals",
                        display=display_figures_at(found),
                        collapsed=True,
                    ),
                    "In these intervals a threshold is fixed: they do not include that it was chosen on these images.",
                ],
            ),
            Section("ROC curves", [roc(notes)]),
            Section("Precision and recall", [precision_recall(notes)]),
            Section("Calibration", [calibration(notes)]),
        ],
    )


def text(notes: EvaluationNotes) -> str:
    """Returns the evaluation as text to print, in several lines."""
    found = notes.found
    wide = max(len(each.name) for each in found.observations)
    lines = [notes.head, "", f"{'':<{wide}}  positive  " + "".join(f"{name:<20}" for name in THRESHOLD_FREE).rstrip()]
    for name, count, metrics in with_mean(found):
        cells = "".join(f"{format_interval(metrics[figure]):<20}" for figure in THRESHOLD_FREE)
        lines.append(f"{name:<{wide}}  {count:>8}  {cells}".rstrip())
    heads = "".join(f"{head:>{width}}" for head, width in COLUMNS.items())
    lines += ["", f"{'':<{wide}}  {'at':<10}{heads}"]
    for each in found.observations:
        lines += [
            _cost_line("" if place else each.name, each, cost, wide) for place, cost in enumerate(each.at_thresholds)
        ]
    blank = " " * sum(list(COLUMNS.values())[: -len(AT_THRESHOLD)])
    for place, (rule, metrics) in enumerate(found.mean_at.items() if len(found.observations) > 1 else ()):
        lines.append(f"{'' if place else 'mean':<{wide}}  {rule:<10}{blank}{_figures(metrics)}")
    return "\n".join([*lines, "", *textwrap.wrap(CHOSEN_HERE, 112)])


def _calls(half: ThresholdMetrics, many: str) -> str:
    if not half.predicted_positive:
        return f"calls none of the {many} positive"
    return f"calls {half.predicted_positive:,} {many} positive, {half.fp:,} of them wrongly"


def sentence(one: ObservationEvaluation, notes: EvaluationNotes) -> tuple[str, str]:
    """Returns a mark (`warning` or `note`) and a sentence on what the thresholds mean for one observation."""
    many = notes.unit[1]
    if not one.positives or not one.negatives:
        kind = "scored" if not one.positives + one.negatives else "negative" if one.positives else "positive"
        return "warning", f"{one.name}: none of the {many} is {kind}, so that AUROC and AUPRC are undefined."
    half, _, reaching = one.at_thresholds
    allowed = one.positives - int(np.ceil(notes.recall * one.positives - 1e-9))
    miss = f"at most {allowed:,}" if allowed else "none"
    return (
        "warning" if half.fn > allowed else "note",
        f"{one.name}: at .5 the model misses {half.fn:,} of {one.positives:,} positive {many} and "
        f"{_calls(half, many)}. To miss {miss} it must call {reaching.predicted_positive:,} positive, {reaching.fp:,} "
        f"of them wrongly: the threshold is then {format_threshold(reaching.threshold)}, with "
        f"{format_ratio(reaching.fp_per_tp)} false positives per true positive.",
    )


def _cost_line(name: str, one: ObservationEvaluation, cost: ThresholdMetrics, wide: int) -> str:
    counts = [f"{count:,}" for count in (cost.fn, one.positives, cost.predicted_positive, cost.fp)]
    if cost.threshold != cost.threshold:
        counts = ["-"] * len(counts)
    cells = [format_threshold(cost.threshold), *counts, format_ratio(cost.fp_per_tp)]
    line = "".join(f"{cell:>{width}}" for cell, width in zip(cells, COLUMNS.values(), strict=False))
    return f"{name:<{wide}}  {cost.rule:<10}{line}{_figures(cost.metrics)}"


def _figures(estimates: Mapping[str, Estimate]) -> str:
    widths = list(COLUMNS.values())[-len(AT_THRESHOLD) :]
    return "".join(
        f"{format_decimal(estimates[name].value):>{width}}" for name, width in zip(AT_THRESHOLD, widths, strict=True)
    )
