"""The tables of an evaluation: raw values for the CSVs, and formatted cells for the page."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from chex.reporting.console import format_decimal
from chex.statistics.intervals import Estimate
from chex.statistics.thresholds import AT_THRESHOLD, Evaluation

COUNTS = ("FN", "predicted positive", "FP")


@dataclass(frozen=True)
class EvaluationNotes:
    """An evaluation, and the other values that its report needs."""

    found: Evaluation
    truth: np.ndarray
    """float (U, K): 1, 0 or NaN (not scored)."""
    probability: np.ndarray
    """float (U, K), in [0, 1]: the probability of positive."""
    head: str
    """Sentences that say which weights were scored, and on which images."""
    unit: tuple[str, str]
    """The name of a scored unit in singular and plural: (image, images) or (study, studies)."""
    recall: float
    """The recall that the third threshold is to reach."""


def figures_table(found: Evaluation) -> pd.DataFrame:
    """Returns a row per observation and for the mean: class sizes and metrics with intervals, NaN if undefined."""
    rows = [
        {"observation": one.name, "positives": one.positives, "negatives": one.negatives} | _flat(one.metrics)
        for one in found.observations
    ]
    frame = pd.DataFrame([*rows, {"observation": "mean"} | _flat(found.mean)])
    return frame.astype({"positives": "Int64", "negatives": "Int64"})


def thresholds_table(found: Evaluation) -> pd.DataFrame:
    """Returns a row per observation and threshold. Where the threshold is NaN (undefined), its counts are missing."""
    frame = pd.DataFrame(
        [
            {
                "observation": one.name,
                "chosen by": cost.rule,
                "threshold": cost.threshold,
                "positives": one.positives,
                "FN": cost.fn,
                "predicted positive": cost.predicted_positive,
                "FP": cost.fp,
                "FP per TP": cost.fp_per_tp,
                **{name: cost.metrics[name].value for name in AT_THRESHOLD},
            }
            for one in found.observations
            for cost in one.at_thresholds
        ]
    ).astype(dict.fromkeys(COUNTS, "Int64"))
    frame.loc[frame["threshold"].isna(), list(COUNTS)] = pd.NA
    return frame


def figures_at_table(found: Evaluation) -> pd.DataFrame:
    """Returns a row per observation (or the mean) and threshold: metrics with intervals, NaN if undefined."""
    return pd.DataFrame(
        [{"observation": name, "chosen by": rule} | _flat(metrics) for name, rule, metrics in _all_at(found)]
    )


def with_mean(found: Evaluation) -> Iterator[tuple[str, str, Mapping[str, Estimate]]]:
    """Yields name, number of positives and THRESHOLD_FREE metrics per observation, then the mean of several."""
    for one in found.observations:
        yield one.name, f"{one.positives:,}", one.metrics
    if len(found.observations) > 1:
        yield "mean", "", found.mean


def _all_at(found: Evaluation) -> Iterator[tuple[str, str, Mapping[str, Estimate]]]:
    for one in found.observations:
        for cost in one.at_thresholds:
            yield one.name, cost.rule, cost.metrics
    for rule, metrics in found.mean_at.items():
        yield "mean", rule, metrics


def display_figures(found: Evaluation) -> pd.DataFrame:
    """Returns `figures_table` as the page displays it: a value and its interval in one cell."""
    rows = [{"observation": name, "positives": count} | _short(metrics) for name, count, metrics in with_mean(found)]
    return pd.DataFrame(rows)


def display_thresholds(found: Evaluation) -> pd.DataFrame:
    """Returns `thresholds_table` as the page displays it: with short column names, and each observation named once."""
    short = {"chosen by": "at", "positives": "of", "error rate": "error"}
    frame = thresholds_table(found).rename(columns=short)
    frame["observation"] = frame["observation"].mask(frame["observation"].duplicated(), "")
    frame = frame.astype(dict.fromkeys(COUNTS, np.float64))
    order = ["observation", "at", "threshold", "FN", "of", *frame.columns[5:]]
    return frame[order]


def display_figures_at(found: Evaluation) -> pd.DataFrame:
    """Returns `figures_at_table` as the page displays it: a value and its interval in one cell."""
    return pd.DataFrame(
        [{"observation": name, "chosen by": rule} | _short(metrics) for name, rule, metrics in _all_at(found)]
    )


def _short(estimates: Mapping[str, Estimate]) -> dict[str, str]:
    return {name: format_interval(estimate) for name, estimate in estimates.items()}


def _flat(estimates: Mapping[str, Estimate]) -> dict[str, float]:
    return {
        f"{name}{suffix}": getattr(estimate, field)
        for name, estimate in estimates.items()
        for field, suffix in (("value", ""), ("low", " low"), ("high", " high"))
    }


def format_interval(estimate: Estimate) -> str:
    """Formats a value in [0, 1] with its interval; `-` where it is NaN."""
    if np.isnan(estimate.value):
        return "-"
    return f"{format_decimal(estimate.value)} ({format_decimal(estimate.low)} to {format_decimal(estimate.high)})"


def format_threshold(value: float) -> str:
    """Formats a threshold with three digits, because it may be very small; `-` where it is undefined."""
    return "-" if value != value else f"{value:.3g}".removeprefix("0")


def format_ratio(value: float) -> str:
    """Formats a ratio with one decimal; NaN as `-`."""
    return "-" if value != value else f"{value:.1f}"


THRESHOLD_FORMATS: dict[str, Callable[[Any], str]] = {
    "threshold": format_threshold,
    "FP per TP": format_ratio,
    **dict.fromkeys(COUNTS, lambda value: f"{value:,.0f}"),
    **dict.fromkeys((*AT_THRESHOLD, "error"), format_decimal),
}
