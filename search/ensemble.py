"""What averaging the probabilities of several reports would gain over the winner.

The choice of members is made again in plain bootstrap bags of patients and scored on the patients that are not in them:
an average of reports has no influences that could be known beforehand.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm

from chex.bags import draw
from chex.intervals import Estimate
from search.selection import choose

STEPS = 15
CANDIDATES = 50
"""The best reports by themselves, from which members are chosen."""
TOP = 10
CELLS = 2_000_000_000
"""Scores that are sorted, in all bags together, unless FEWEST bags need more."""
FEWEST, MOST = 10, 60
OUT_OF_BAG = np.exp(-1)
"""The share of patients that a bag leaves out."""


@dataclass(frozen=True)
class Member:
    """A report in an ensemble."""

    trial: int
    images: int
    """Training images at the report."""
    weight: float
    """Its share of the average; the shares sum to 1."""


@dataclass(frozen=True)
class Ensemble:
    """Greedy selection with replacement (Caruana et al. 2004), and the plain average of the best trials' reports."""

    members: tuple[Member, ...]
    """Heaviest first."""
    auroc: float
    """On the films that it was chosen by: optimistic."""
    gain: Estimate
    """Its AUROC minus the winner's, both chosen in each bag of patients and scored on the patients out of it."""
    top: int
    """How many trials' kept reports the plain average takes: the best 10, or all where there are fewer."""
    top_auroc: float
    top_gain: Estimate
    """As `gain`."""


@dataclass(frozen=True)
class Reports:
    """R reports on U units of P patients; only observations in which AUROC is defined."""

    truth: np.ndarray
    """float (U, K)."""
    probability: np.ndarray
    """float (R, U, K)."""
    trials: np.ndarray
    """int (R,), ascending."""
    images: np.ndarray
    """int (R,)."""
    patients: np.ndarray
    """str (U,)."""


def ensemble(reports: Reports, rng: np.random.Generator, tell: Callable[[int, int], None]) -> Ensemble:
    """The ensemble of all films, and what it gains, from as many bags as CELLS allow; `tell` hears of each bag."""
    names, of_unit = np.unique(reports.patients, return_inverse=True)
    whole = np.ones(len(of_unit))
    members, top = chosen_by(reports, whole)
    drawn = draw(len(names), rng, _bags(reports))
    gains = np.full((len(drawn), 2), np.nan)
    for place, times in enumerate(drawn):
        tell(place, len(drawn))
        gains[place] = gains_out_of_bag(reports, times[of_unit])
    auroc, top_auroc = (averaged(reports, chosen, whole) for chosen in (members, top))
    counted = Counter(members).most_common()
    told = tuple(
        Member(int(reports.trials[place]), int(reports.images[place]), times / len(members)) for place, times in counted
    )
    return Ensemble(told, auroc, _spread(gains[:, 0]), len(top), top_auroc, _spread(gains[:, 1]))


def gains_out_of_bag(reports: Reports, times: np.ndarray) -> np.ndarray:
    """float (2,): what the greedy ensemble and the best trials' average score above the winner where `times` is 0.

    All three are chosen by films counted as often as `times` (U,) says. NaN where no AUROC is defined out of the bag.
    """
    out = (times == 0).astype(float)
    members, top = chosen_by(reports, times)
    winner = averaged(reports, top[:1], out)
    return np.array([averaged(reports, chosen, out) - winner for chosen in (members, top)])


def chosen_by(reports: Reports, times: np.ndarray) -> tuple[list[int], list[int]]:
    """Places of the greedy ensemble's members and of the best trials' reports, by films counted `times` (U,)."""
    alone = mean_areas(reports.truth, reports.probability, times)
    return _greedy(reports, times, alone), _best_trials(reports, alone)


def _greedy(reports: Reports, times: np.ndarray, alone: np.ndarray) -> list[int]:
    """Places of the members, the winner first; those that are taken more than once are there as often.

    In each step the report joins, again or for the first time, with which the average has the highest AUROC. The best
    of the STEPS averages is taken, the smallest of equals.
    """
    fit = np.sort(np.argsort(-alone, kind="stable")[:CANDIDATES])
    given = reports.probability[fit].astype(np.float64)
    members = [int(np.argmax(alone[fit]))]
    reached = [float(alone[fit][members[0]])]
    total = given[members[0]].copy()
    for _ in range(1, STEPS):
        joined = mean_areas(reports.truth, total + given, times)
        members.append(int(np.argmax(joined)))
        reached.append(float(joined[members[-1]]))
        total += given[members[-1]]
    return [int(fit[member]) for member in members[: int(np.argmax(reached)) + 1]]


def _best_trials(reports: Reports, alone: np.ndarray) -> list[int]:
    """Places of what the best TOP trials keep, best first."""
    kept = choose(alone[None], reports.trials).kept[0]
    return [int(place) for place in kept[np.argsort(-alone[kept], kind="stable")][:TOP]]


def averaged(reports: Reports, places: Sequence[int], times: np.ndarray) -> float:
    """The mean AUROC of the average of some reports."""
    mean: np.ndarray = np.asarray(np.mean(reports.probability[list(places)], axis=0, dtype=np.float64))
    return float(mean_areas(reports.truth, mean[None], times)[0])


def mean_areas(truth: np.ndarray, scores: np.ndarray, times: np.ndarray) -> np.ndarray:
    """float (C,): the AUROC of `scores` (C, U, K), each film counted `times` (U,), in the mean over observations.

    Ties count half. An observation of which one class alone is counted is left out; NaN where none is left.
    """
    pieces = [scores[start : start + CANDIDATES] for start in range(0, len(scores), CANDIDATES)]
    areas = [
        np.concatenate([_areas(truth[:, k], piece[:, :, k], times) for piece in pieces]) for k in range(truth.shape[1])
    ]
    there = [area for area in areas if not np.isnan(area[0])]
    means: np.ndarray = np.mean(there, axis=0) if there else np.full(len(scores), np.nan)
    return means


def _areas(truth: np.ndarray, scores: np.ndarray, times: np.ndarray) -> np.ndarray:
    counted = np.flatnonzero(~np.isnan(truth) & (times > 0))
    positive, negative = times[counted] * (truth[counted] == 1), times[counted] * (truth[counted] == 0)
    pairs = positive.sum() * negative.sum()
    if pairs == 0:
        return np.full(len(scores), np.nan)
    order = np.argsort(scores[:, counted], axis=1)
    ranked = np.take_along_axis(scores[:, counted], order, axis=1)
    with_it = np.cumsum(negative[order], axis=1)
    below = with_it - negative[order]
    new = np.ones(ranked.shape, dtype=bool)
    new[:, 1:] = ranked[:, 1:] != ranked[:, :-1]
    if not new.all():  # all of a tie have the same below them, and with them
        last = np.ones_like(new)
        last[:, :-1] = new[:, 1:]
        below = np.maximum.accumulate(np.where(new, below, 0), axis=1)
        with_it = np.minimum.accumulate(np.where(last, with_it, np.inf)[:, ::-1], axis=1)[:, ::-1]
    areas: np.ndarray = (positive[order] * (below + with_it)).sum(axis=1) / (2 * pairs)
    return areas


def _bags(reports: Reports) -> int:
    films, observations = reports.truth.shape
    a_bag = films * observations * (STEPS * min(CANDIDATES, len(reports.trials)) + len(reports.trials))
    return max(FEWEST, min(MOST, CELLS // a_bag))


def _spread(gains: np.ndarray) -> Estimate:
    """Their mean; the interval of what all patients tell, of whom each bag scores a part."""
    known = gains[~np.isnan(gains)]
    if len(known) < 2:
        return Estimate(np.nan, np.nan, np.nan)
    reach = norm.ppf(0.975) * known.std(ddof=1) * np.sqrt(OUT_OF_BAG / (1 - OUT_OF_BAG))
    return Estimate(float(known.mean()), float(known.mean() - reach), float(known.mean() + reach))
