"""Compares the values of a categorical parameter, such as policies or backbones, by the AUROCs of their trials."""

import itertools
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy.stats import norm, rankdata, t

from chex.statistics.bootstrap import PLAIN, TIGHT, BootstrapScores, selection_shares
from chex.statistics.delong import AurocInfluences
from chex.statistics.intervals import Estimate
from search.analysis.selection_bootstrap import SelectionBootstrap

MIN_TRIALS = 3
"""The average of a value is compared only if at least this many trials with the value have finished."""
MIN_FREEDOM = 4
"""A regression must leave at least this many degrees of freedom."""
UNKNOWN = Estimate(np.nan, np.nan, np.nan)


@dataclass(frozen=True)
class ValueComparison:
    """The comparison of two values of a parameter. A difference is the AUROC of `first` minus that of `second`."""

    param: str
    first: str
    second: str
    trials: tuple[int, int]
    """How many finished trials each value has."""
    outcome: str
    """The AUROC that is compared: `mean`, or the observation's name for a parameter `policy.<observation>`."""
    best: Estimate
    """The difference between the best trial of each value, corrected for their choice by the bootstrap. It does not
    show which value is better: a value with more trials has a better best one. Its interval covers patients, not
    differences between trials, and is no test."""
    average: Estimate
    """The average difference between finished trials, adjusted for all other parameters; its interval covers patients
    and trials. NaN if too few trials finished."""
    confidence: float
    """The confidence of each interval: 1 - .05 / tested pairs of all parameters, so that all hold together with .95."""
    verdict: Literal["different", "tied", "untested"]
    """`different` if the interval of `average` excludes 0, `untested` if too few trials finished, else `tied`."""


def pairs_tested(bootstrap: SelectionBootstrap, param: str) -> int:
    """Returns how many pairs of values of `param` have enough finished trials to compare their averages."""
    values = [
        str(params[param])
        for params, done in zip(bootstrap.params, bootstrap.finished, strict=True)
        if done and param in params
    ]
    return math.comb(sum(count >= MIN_TRIALS for count in Counter(values).values()), 2)


def compare_values(
    bootstrap: SelectionBootstrap, param: str, compared: BootstrapScores, tests: int
) -> list[ValueComparison]:
    """Returns the comparison of each pair of values of `param` that occur in trials, by the AUROC in `compared`.

    `tests` is the number of tested pairs of all parameters (see `pairs_tested`), for Bonferroni's correction.
    """
    value_of_trial = np.array([str(params[param]) if param in params else "" for params in bootstrap.params])
    values = sorted({str(params[param]) for params in bootstrap.params if param in params})
    pairs = list(itertools.combinations(values, 2))
    confidence = 1 - 0.05 / max(1, tests)
    counts = {value: int((bootstrap.finished & (value_of_trial == value)).sum()) for value in values}
    averages = _averages(
        bootstrap, param, compared, value_of_trial, [value for value in values if counts[value] >= MIN_TRIALS]
    )
    comparisons = []
    for first, second in pairs:
        best = compare_best_trials(bootstrap, compared, value_of_trial == first, value_of_trial == second, confidence)
        average = averages(first, second, confidence)
        trials = (counts[first], counts[second])
        comparisons.append(
            ValueComparison(param, first, second, trials, compared.name, best, average, confidence, _classify(average))
        )
    return comparisons


def compare_best_trials(
    bootstrap: SelectionBootstrap, compared: BootstrapScores, first: np.ndarray, second: np.ndarray, confidence: float
) -> Estimate:
    """Returns the AUROC of the best trial of the group `first`, bool (T,), minus that of the group `second`.

    In each bootstrap draw both are chosen, then scored with other weights of the patients (see `BootstrapScores`).
    """
    differences = {
        tightness: compared.evaluation(_best(bootstrap, first, tightness), tightness)
        - compared.evaluation(_best(bootstrap, second, tightness), tightness)
        for tightness in (TIGHT, PLAIN)
    }
    return _around(float(differences[TIGHT].mean()), float(norm.ppf((1 + confidence) / 2) * differences[PLAIN].std()))


def _best(bootstrap: SelectionBootstrap, group: np.ndarray, tightness: float) -> np.ndarray:
    """Returns int (B,): the report that the group's best trial keeps in each bootstrap draw; `group` is bool (T,)."""
    first = np.argmax(np.where(group, bootstrap.inside[tightness], -np.inf), axis=1)
    best: np.ndarray = bootstrap.choices[tightness].kept[np.arange(len(first)), first]
    return best


def corrected_trials(bootstrap: SelectionBootstrap, compared: BootstrapScores, places: np.ndarray) -> AurocInfluences:
    """Returns the AUROCs of the trials at `places`, corrected for the choice of their reports, with influences."""
    kept = bootstrap.choices[TIGHT].kept[:, places]
    mixes = np.stack([selection_shares(reports, len(compared.areas.auroc)) for reports in kept.T], axis=1)
    return AurocInfluences(compared.evaluation(kept, TIGHT).mean(axis=0), compared.areas.weighted_sums(mixes).influence)


def difference(aurocs: AurocInfluences, design: np.ndarray, contrast: np.ndarray, confidence: float) -> Estimate:
    """Returns `contrast` (C,) @ the coefficients of a regression of T AUROCs on `design` (T, C), with its interval.

    The variance has two parts: that of the patients, who are the same for all trials, from the influences; and that
    between trials, from the residuals minus the part that patients explain. HC2 (MacKinnon & White 1985) uses each
    trial's own residual, so that the trials of one value may vary more than others; the larger variance is used.
    """
    inverse = np.linalg.pinv(design)
    by_trial = contrast @ inverse
    rest = np.eye(len(design)) - design @ inverse
    freedom = round(float(np.trace(rest)))
    squares, left = (rest @ aurocs.auroc) ** 2, np.diag(rest)
    by_patients = float(((aurocs.influence @ rest) ** 2).sum())
    spread = max(0.0, float(squares.sum()) - by_patients) / freedom
    pooled = float(((aurocs.influence @ by_trial) ** 2).sum()) + spread * float((by_trial**2).sum())
    variance_by_trial = by_trial**2 * np.divide(squares, left, out=np.zeros(len(left)), where=left > 1e-9)
    half_width = float(t.ppf((1 + confidence) / 2, freedom)) * max(pooled, float(variance_by_trial.sum())) ** 0.5
    return _around(float(by_trial @ aurocs.auroc), half_width)


def covariates(params: Sequence[Mapping[str, Any]], but: str) -> np.ndarray:
    """Returns float (T, C): all parameters except `but` and its settings, as columns of mean 0 to adjust for.

    A number is replaced by its rank among the trials, a missing number by the mean rank. A parameter whose values are
    words has a column for each value except the most frequent one.
    """
    paths = dict.fromkeys(path for each in params for path in each if path != but and not path.startswith(f"{but}."))
    columns = [column for path in paths for column in _columns([each.get(path) for each in params])]
    return np.stack(columns, axis=1) if columns else np.empty((len(params), 0))


def _columns(values: Sequence[Any]) -> list[np.ndarray]:
    known = np.array([value is not None for value in values])
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values if value is not None):
        ranks = np.zeros(len(values))
        ranks[known] = rankdata([value for value in values if value is not None]) / known.sum()
        ranks[known] -= ranks[known].mean()
        return [ranks] if ranks.any() else []
    words, counts = np.unique([str(value) for value in values], return_counts=True)
    less_frequent = [word for place, word in enumerate(words) if place != np.argmax(counts)]
    columns = np.array([[str(value) == word for value in values] for word in less_frequent], dtype=float)
    return [column - column.mean() for column in columns]


def _averages(
    bootstrap: SelectionBootstrap,
    param: str,
    compared: BootstrapScores,
    value_of_trial: np.ndarray,
    values: Sequence[str],
) -> Callable[[str, str, float], Estimate]:
    """Returns a function (first, second, confidence) for the difference of two values' averages over finished trials.

    The difference is NaN for a value that is not in `values`, or if there are too few finished trials.
    """
    places = np.flatnonzero(bootstrap.finished & np.isin(value_of_trial, values))
    groups = np.stack([value_of_trial[places] == value for value in values], axis=1) if values else np.empty((0, 0))
    if len(places) - len(values) < MIN_FREEDOM or len(values) < 2:
        return lambda first, second, confidence: UNKNOWN
    aurocs = corrected_trials(bootstrap, compared, places)
    design = adjusted(groups.astype(float), covariates([bootstrap.params[place] for place in places], param))

    def compare(first: str, second: str, confidence: float) -> Estimate:
        if first not in values or second not in values:
            return UNKNOWN
        contrast = np.zeros(design.shape[1])
        contrast[values.index(first)], contrast[values.index(second)] = 1, -1
        return difference(aurocs, design, contrast, confidence)

    return compare


def adjusted(groups: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Returns the design matrix: `groups` (T, V), then columns to adjust for if there are enough trials.

    Adds `columns` (T, C) and the squares of its numeric ones if at least half of the trials remain as degrees of
    freedom, only `columns` if at least a third remains, otherwise nothing. Adds no columns that determine the groups.
    """
    numeric = columns[:, [len(np.unique(column)) > 2 for column in columns.T]]
    squares = numeric**2 - (numeric**2).mean(axis=0)
    for more, left in ((np.hstack([columns, squares]), 1 / 2), (columns, 1 / 3)):
        design = np.hstack([groups, more])
        rank = np.linalg.matrix_rank(design)
        independent = rank == groups.shape[1] + np.linalg.matrix_rank(more)
        if independent and len(design) - rank >= max(MIN_FREEDOM, left * len(design)):
            return design
    return groups


def _classify(average: Estimate) -> Literal["different", "tied", "untested"]:
    if np.isnan(average.value):
        return "untested"
    return "different" if average.low > 0 or average.high < 0 else "tied"


def _around(value: float, half_width: float) -> Estimate:
    return Estimate(value, value - half_width, value + half_width)
