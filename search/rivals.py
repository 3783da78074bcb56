"""Value against value of a categorical knob, such as policy against policy or backbone against backbone."""

import itertools
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy.stats import norm, rankdata, t

from chex.bags import PLAIN, TIGHT, Outcome, shares
from chex.delong import Areas
from chex.intervals import Estimate
from search.contest import Contest

ENOUGH = 3
"""Finished trials that a value must have for averages to be compared."""
FREEDOM = 4
"""Trials that must be left over beyond what is estimated from them."""
UNKNOWN = Estimate(np.nan, np.nan, np.nan)


@dataclass(frozen=True)
class Rivalry:
    """Two values of one knob. Differences are AUROC of `first` minus AUROC of `second`."""

    knob: str
    first: str
    second: str
    trials: tuple[int, int]
    """Finished trials of each."""
    outcome: str
    """The AUROC that is compared: `mean`, or the observation that a knob `policy.<observation>` is about."""
    best: Estimate
    """Best trial of each, chosen anew and scored apart in each bag; says what was found, not which value is better:
    more trials find more. Its interval knows of patients alone, not of what differs from trial to trial, and is
    no test. NaN where a value has no trial with a result."""
    average: Estimate
    """Average over finished trials that are alike in all other knobs; its interval knows of patients and of trials.
    NaN where too few finished."""
    confidence: float
    """Of both intervals: .95 for the tested pairs of all knobs together, so 1 - .05 / pairs for each."""
    verdict: Literal["different", "tied", "untested"]
    """`different` where the interval of `average` excludes 0; `untested` where too few trials finished."""


def pairs_tested(held: Contest, knob: str) -> int:
    """Returns how many pairs of values of `knob` have finished trials enough for their averages to be compared."""
    own = [str(knobs[knob]) for knobs, done in zip(held.knobs, held.finished, strict=True) if done and knob in knobs]
    return math.comb(sum(count >= ENOUGH for count in Counter(own).values()), 2)


def rivalries(held: Contest, knob: str, compared: Outcome, tests: int) -> list[Rivalry]:
    """Returns every pair of values of `knob` that trials have.

    `tests`: how many pairs of all knobs are tested (see `pairs_tested`); confidence is corrected for them (Bonferroni).
    """
    own = np.array([str(knobs[knob]) if knob in knobs else "" for knobs in held.knobs])
    values = sorted({str(knobs[knob]) for knobs in held.knobs if knob in knobs})
    pairs = list(itertools.combinations(values, 2))
    confidence = 1 - 0.05 / max(1, tests)
    counts = {value: int((held.finished & (own == value)).sum()) for value in values}
    averages = _averages(held, knob, compared, own, [value for value in values if counts[value] >= ENOUGH])
    found = []
    for first, second in pairs:
        best = best_against_best(held, compared, own == first, own == second, confidence)
        average = averages(first, second, confidence)
        trials = (counts[first], counts[second])
        found.append(Rivalry(knob, first, second, trials, compared.name, best, average, confidence, _told(average)))
    return found


def best_against_best(
    held: Contest, compared: Outcome, first: np.ndarray, second: np.ndarray, confidence: float
) -> Estimate:
    """The AUROC of the best of some trials, bool (T,), less that of the best of others.

    Both are chosen anew in each bag and scored apart from it, as in `corrected`.
    """
    apart = {
        tightness: compared.outside(_best(held, first, tightness), tightness)
        - compared.outside(_best(held, second, tightness), tightness)
        for tightness in (TIGHT, PLAIN)
    }
    return _around(float(apart[TIGHT].mean()), float(norm.ppf((1 + confidence) / 2) * apart[PLAIN].std()))


def _best(held: Contest, group: np.ndarray, tightness: float) -> np.ndarray:
    """int (B,): the report of the group's best trial in each bag."""
    first = np.argmax(np.where(group, held.inside[tightness], -np.inf), axis=1)
    best: np.ndarray = held.choices[tightness].kept[np.arange(len(first)), first]
    return best


def corrected_trials(held: Contest, compared: Outcome, places: np.ndarray) -> Areas:
    """The AUROC of each of some trials, corrected for the choice of its report, and influences."""
    kept = held.choices[TIGHT].kept[:, places]
    mixes = np.stack([shares(own, len(compared.areas.auroc)) for own in kept.T], axis=1)
    return Areas(compared.outside(kept, TIGHT).mean(axis=0), compared.areas.mixed(mixes).influence)


def difference(reached: Areas, design: np.ndarray, contrast: np.ndarray, confidence: float) -> Estimate:
    """A contrast of the coefficients of a regression of AUROCs on a `design` (T, C), with its interval.

    The error has two parts: patients, the same for all trials, from the influences; and what differs from trial to
    trial beyond that, estimated from the residuals less what patients account for of them. Where the trials of one
    value scatter more than those of another, each trial's own residual counts (HC2; MacKinnon & White 1985), if that
    gives the larger error.
    """
    inverse = np.linalg.pinv(design)
    by_trial = contrast @ inverse
    rest = np.eye(len(design)) - design @ inverse
    freedom = round(float(np.trace(rest)))
    squares, left = (rest @ reached.auroc) ** 2, np.diag(rest)
    by_patients = float(((reached.influence @ rest) ** 2).sum())
    spread = max(0.0, float(squares.sum()) - by_patients) / freedom
    pooled = float(((reached.influence @ by_trial) ** 2).sum()) + spread * float((by_trial**2).sum())
    own = by_trial**2 * np.divide(squares, left, out=np.zeros(len(left)), where=left > 1e-9)
    reach = float(t.ppf((1 + confidence) / 2, freedom)) * max(pooled, float(own.sum())) ** 0.5
    return _around(float(by_trial @ reached.auroc), reach)


def alike(knobs: Sequence[Mapping[str, Any]], but: str) -> np.ndarray:
    """float (T, C): all knobs `but` one and its settings, as columns of mean 0 to adjust for.

    A number counts by its rank among the trials, an absent one as the middle; a word has a column for each value but
    the most frequent.
    """
    paths = dict.fromkeys(path for own in knobs for path in own if path != but and not path.startswith(f"{but}."))
    columns = [column for path in paths for column in _columns([own.get(path) for own in knobs])]
    return np.stack(columns, axis=1) if columns else np.empty((len(knobs), 0))


def _columns(values: Sequence[Any]) -> list[np.ndarray]:
    known = np.array([value is not None for value in values])
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values if value is not None):
        ranks = np.zeros(len(values))
        ranks[known] = rankdata([value for value in values if value is not None]) / known.sum()
        ranks[known] -= ranks[known].mean()
        return [ranks] if ranks.any() else []
    words, counts = np.unique([str(value) for value in values], return_counts=True)
    rarer = [word for place, word in enumerate(words) if place != np.argmax(counts)]
    columns = np.array([[str(value) == word for value in values] for word in rarer], dtype=float)
    return [column - column.mean() for column in columns]


def _averages(
    held: Contest, knob: str, compared: Outcome, own: np.ndarray, values: Sequence[str]
) -> Callable[[str, str, float], Estimate]:
    """What compares the averages of two of the values, over the finished trials that have one of `values`."""
    places = np.flatnonzero(held.finished & np.isin(own, values))
    groups = np.stack([own[places] == value for value in values], axis=1) if values else np.empty((0, 0))
    if len(places) - len(values) < FREEDOM or len(values) < 2:
        return lambda first, second, confidence: UNKNOWN
    reached = corrected_trials(held, compared, places)
    design = adjusted(groups.astype(float), alike([held.knobs[place] for place in places], knob))

    def compare(first: str, second: str, confidence: float) -> Estimate:
        if first not in values or second not in values:
            return UNKNOWN
        contrast = np.zeros(design.shape[1])
        contrast[values.index(first)], contrast[values.index(second)] = 1, -1
        return difference(reached, design, contrast, confidence)

    return compare


def adjusted(groups: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """The design: `groups` (T, V), with what there are trials enough to adjust for.

    That is `columns` (T, C) and the squares of those that are numbers, or `columns`, or nothing: at least half of the
    trials, or a third, have to be left over, and the groups must not be told by the columns alone.
    """
    numbers = columns[:, [len(np.unique(column)) > 2 for column in columns.T]]
    squares = numbers**2 - (numbers**2).mean(axis=0)
    for more, left in ((np.hstack([columns, squares]), 1 / 2), (columns, 1 / 3)):
        design = np.hstack([groups, more])
        rank = np.linalg.matrix_rank(design)
        apart = rank == groups.shape[1] + np.linalg.matrix_rank(more)
        if apart and len(design) - rank >= max(FREEDOM, left * len(design)):
            return design
    return groups


def _told(average: Estimate) -> Literal["different", "tied", "untested"]:
    if np.isnan(average.value):
        return "untested"
    return "different" if average.low > 0 or average.high < 0 else "tied"


def _around(value: float, reach: float) -> Estimate:
    return Estimate(value, value - reach, value + reach)
