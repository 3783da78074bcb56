"""Estimates what an ensemble, the average of several reports' probabilities, gains over the winner.

In each bootstrap bag, a sample of patients with replacement, the members are chosen anew and scored on the patients
who are not in the bag. The faster bootstrap from influences cannot be used: the averages are not known beforehand.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm

from chex.statistics.bootstrap import draw_bootstrap
from chex.statistics.intervals import Estimate
from search.analysis.selection import choose

STEPS = 15
"""The maximum number of members of a greedy ensemble; a report that is added twice counts twice."""
CANDIDATES = 50
"""Members are chosen from this many reports, those with the highest AUROCs."""
TOP = 10
MAX_SCORES = 2_000_000_000
"""The maximum number of scores to sort in all bags together, unless MIN_BAGS bags need more."""
MIN_BAGS, MAX_BAGS = 10, 60
OUT_OF_BAG = np.exp(-1)
"""The expected share of patients who are not in a bag."""


@dataclass(frozen=True)
class Member:
    """A report in an ensemble."""

    trial: int
    images: int
    """Training images at the report."""
    weight: float
    """Its weight in the average; all weights sum to 1."""


@dataclass(frozen=True)
class Ensemble:
    """A greedy ensemble, selected with replacement (Caruana et al. 2004), and the mean of the best trials' reports."""

    members: tuple[Member, ...]
    """The members, by weight, the largest first."""
    auroc: float
    """The greedy ensemble's AUROC on the images by which it was chosen; it is higher than on new images."""
    gain: Estimate
    """Its AUROC minus the winner's: both are chosen in each bag and scored on the patients who are not in it."""
    top: int
    """The number of trials in the plain mean, each with the report that it keeps: the best 10, or all if fewer."""
    top_auroc: float
    top_gain: Estimate
    """The gain of the plain mean, computed like `gain`."""


@dataclass(frozen=True)
class Reports:
    """R reports on U units (images or studies), with the K observations whose AUROC is defined."""

    truth: np.ndarray
    """float (U, K): 1, 0 or NaN (not scored)."""
    probability: np.ndarray
    """float (R, U, K), in [0, 1]."""
    trials: np.ndarray
    """int (R,): the trial of each report, ascending."""
    images: np.ndarray
    """int (R,): the training images that the trial had seen at the report."""
    patients: np.ndarray
    """str (U,): the patient of each unit."""


def ensemble(reports: Reports, rng: np.random.Generator, tell: Callable[[int, int], None]) -> Ensemble:
    """Returns the ensemble chosen on all patients, with its mean gain over as many bags as MAX_SCORES allows.

    Calls `tell` before each bag with the bag's index, from 0, and the number of bags.
    """
    names, patient_of_unit = np.unique(reports.patients, return_inverse=True)
    whole = np.ones(len(patient_of_unit))
    members, top = chosen_by(reports, whole)
    draws = draw_bootstrap(len(names), rng, _bags(reports))
    gains = np.full((len(draws), 2), np.nan)
    for place, times in enumerate(draws):
        tell(place, len(draws))
        gains[place] = gains_out_of_bag(reports, times[patient_of_unit])
    auroc, top_auroc = (mean_report_auroc(reports, chosen, whole) for chosen in (members, top))
    counted = Counter(members).most_common()
    weighted = tuple(
        Member(int(reports.trials[place]), int(reports.images[place]), times / len(members)) for place, times in counted
    )
    return Ensemble(weighted, auroc, _mean_gain(gains[:, 0]), len(top), top_auroc, _mean_gain(gains[:, 1]))


def gains_out_of_bag(reports: Reports, times: np.ndarray) -> np.ndarray:
    """Returns float (2,): what the greedy ensemble, and the mean of the best trials' reports, gain over the winner.

    `times` (U,) is how often each unit is in the bag. All three are chosen on the units in the bag and scored on the
    others. NaN if no AUROC is defined there.
    """
    out = (times == 0).astype(float)
    members, top = chosen_by(reports, times)
    winner = mean_report_auroc(reports, top[:1], out)
    return np.array([mean_report_auroc(reports, chosen, out) - winner for chosen in (members, top)])


def chosen_by(reports: Reports, times: np.ndarray) -> tuple[list[int], list[int]]:
    """Returns the indices of the ensemble's members and of the best trials' reports; unit u counts `times[u]` times."""
    alone = mean_aurocs(reports.truth, reports.probability, times)
    return _greedy(reports, times, alone), _best_trials(reports, alone)


def _greedy(reports: Reports, times: np.ndarray, alone: np.ndarray) -> list[int]:
    """Returns the indices of the members, repeats included, the winner first; `alone` (R,) is each report's AUROC.

    Each step adds the report, possibly again, that gives the mean the highest AUROC. Of the means after each of STEPS
    steps the one with the highest AUROC is returned; of equals, the one with the fewest members.
    """
    fit = np.sort(np.argsort(-alone, kind="stable")[:CANDIDATES])
    probability = reports.probability[fit].astype(np.float64)
    members = [int(np.argmax(alone[fit]))]
    aurocs = [float(alone[fit][members[0]])]
    total = probability[members[0]].copy()
    for _ in range(1, STEPS):
        candidates = mean_aurocs(reports.truth, total + probability, times)
        members.append(int(np.argmax(candidates)))
        aurocs.append(float(candidates[members[-1]]))
        total += probability[members[-1]]
    return [int(fit[member]) for member in members[: int(np.argmax(aurocs)) + 1]]


def _best_trials(reports: Reports, alone: np.ndarray) -> list[int]:
    """Returns the indices of the reports that the best TOP trials keep, best first."""
    kept = choose(alone[None], reports.trials).kept[0]
    return [int(place) for place in kept[np.argsort(-alone[kept], kind="stable")][:TOP]]


def mean_report_auroc(reports: Reports, places: Sequence[int], times: np.ndarray) -> float:
    """Returns the AUROC, averaged over observations, of the mean probabilities of the reports at `places`."""
    mean: np.ndarray = np.asarray(np.mean(reports.probability[list(places)], axis=0, dtype=np.float64))
    return float(mean_aurocs(reports.truth, mean[None], times)[0])


def mean_aurocs(truth: np.ndarray, scores: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Returns float (C,): the AUROC, averaged over observations, of each of C `scores` (C, U, K).

    Unit u counts `times[u]` times. Tied scores count half. Observations with a single class are left out; NaN if none
    is left.
    """
    pieces = [scores[start : start + CANDIDATES] for start in range(0, len(scores), CANDIDATES)]
    areas = [
        np.concatenate([_aurocs(truth[:, k], piece[:, :, k], times) for piece in pieces]) for k in range(truth.shape[1])
    ]
    defined = [area for area in areas if not np.isnan(area[0])]
    means: np.ndarray = np.mean(defined, axis=0) if defined else np.full(len(scores), np.nan)
    return means


def _aurocs(truth: np.ndarray, scores: np.ndarray, times: np.ndarray) -> np.ndarray:
    counted = np.flatnonzero(~np.isnan(truth) & (times > 0))
    positive, negative = times[counted] * (truth[counted] == 1), times[counted] * (truth[counted] == 0)
    pairs = positive.sum() * negative.sum()
    if pairs == 0:
        return np.full(len(scores), np.nan)
    order = np.argsort(scores[:, counted], axis=1)
    ranked = np.take_along_axis(scores[:, counted], order, axis=1)
    up_to = np.cumsum(negative[order], axis=1)
    below = up_to - negative[order]
    is_first = np.ones(ranked.shape, dtype=bool)
    is_first[:, 1:] = ranked[:, 1:] != ranked[:, :-1]
    if not is_first.all():  # tied scores have the same counts
        is_last = np.ones_like(is_first)
        is_last[:, :-1] = is_first[:, 1:]
        below = np.maximum.accumulate(np.where(is_first, below, 0), axis=1)
        up_to = np.minimum.accumulate(np.where(is_last, up_to, np.inf)[:, ::-1], axis=1)[:, ::-1]
    areas: np.ndarray = (positive[order] * (below + up_to)).sum(axis=1) / (2 * pairs)
    return areas


def _bags(reports: Reports) -> int:
    units, observations = reports.truth.shape
    scores_per_bag = units * observations * (STEPS * min(CANDIDATES, len(reports.trials)) + len(reports.trials))
    return max(MIN_BAGS, min(MAX_BAGS, MAX_SCORES // scores_per_bag))


def _mean_gain(gains: np.ndarray) -> Estimate:
    """Returns the mean of `gains` with its 95 % interval; NaN if fewer than 2 are defined.

    A bag scores only the patients who are not in it, so the spread over bags is scaled to that for all patients.
    """
    defined = gains[~np.isnan(gains)]
    if len(defined) < 2:
        return Estimate(np.nan, np.nan, np.nan)
    half_width = norm.ppf(0.975) * defined.std(ddof=1) * np.sqrt(OUT_OF_BAG / (1 - OUT_OF_BAG))
    return Estimate(float(defined.mean()), float(defined.mean() - half_width), float(defined.mean() + half_width))
