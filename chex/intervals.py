"""95 % intervals of figures in [0, 1] that stay honest at 0 and 1, where a bootstrap or a standard error gives none."""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit, logit
from scipy.stats import norm

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % interval; NaN where undefined."""

    value: float
    low: float
    high: float


UNKNOWN = Estimate(float("nan"), float("nan"), float("nan"))


def wilson(share: float, count: float, confidence: float = CONFIDENCE) -> Estimate:
    """Returns a share of `count` independent cases with its score interval (Wilson 1927); NaN where `count` is 0.

    `count` need not be whole: an effective number of cases (see `effective_count`) is less than their number.
    """
    if not count > 0 or np.isnan(share):
        return UNKNOWN
    square = float(norm.ppf((1 + confidence) / 2)) ** 2
    middle = (share + square / (2 * count)) / (1 + square / count)
    reach = np.sqrt(square * share * (1 - share) / count + square**2 / (4 * count**2)) / (1 + square / count)
    return Estimate(float(share), max(0.0, float(middle - reach)), min(1.0, float(middle + reach)))


def effective_count(share: float, variance: float, patients: float, cases: float) -> float:
    """Returns how many independent cases tell as much of a share as `cases` of `patients` do (Rao & Scott 1992).

    `variance` is that of the share over draws of patients. At 0 and 1 it is 0 and says nothing: then cases of one
    patient are taken to be all alike, and `patients` is returned.
    """
    if not 0 < share < 1 or not variance > 0:
        return patients
    return float(np.clip(share * (1 - share) / variance, patients, max(patients, cases)))


def logit_interval(auroc: float, error: float, confidence: float = CONFIDENCE) -> Estimate:
    """Returns an AUROC with the interval that its standard error gives on the logit scale; no width at 0 and 1."""
    if not 0 < auroc < 1:
        return Estimate(float(auroc), float(auroc), float(auroc))
    reach = norm.ppf((1 + confidence) / 2) * error / (auroc * (1 - auroc))
    low, high = expit(logit(auroc) + np.array([-reach, reach]))
    return Estimate(float(auroc), float(low), float(high))


def score_interval(auroc: float, positives: float, negatives: float, confidence: float = CONFIDENCE) -> Estimate:
    """Returns an AUROC with the score interval of Newcombe (2006, method 5), from the numbers of both classes alone.

    An end is the AUROC from which the one seen is as many standard errors away as `confidence` asks for; the standard
    error is Hanley and McNeil's (1982) at that end, with the mean of both numbers in its two last terms. So an AUROC of
    1 has a lower end below 1: .90 with 20 positives and 20 negatives.
    """
    reach = float(norm.ppf((1 + confidence) / 2))
    more = (positives + negatives) / 2 - 1

    def distance(end: float) -> float:
        spread = 1 + more * (1 - end) / (2 - end) + more * end / (1 + end)
        return abs(end - auroc) - reach * np.sqrt(end * (1 - end) * spread / (positives * negatives))

    def found(edge: float) -> float:
        start = float(np.clip(auroc, 1e-12, 1 - 1e-12))  # at 0 and 1 themselves the equation holds, and says nothing
        return float(brentq(distance, edge, start)) if distance(edge) > 0 else edge

    return Estimate(float(auroc), found(0.0), found(1.0))


def wider(first: Estimate, second: Estimate) -> Estimate:
    """Returns the first's value with the lower of both lower ends and the higher of both higher ones."""
    return Estimate(first.value, min(first.low, second.low), max(first.high, second.high))


def mean_estimate(parts: list[Estimate], correlation: np.ndarray) -> Estimate:
    """Returns the mean of figures that are defined, with the interval that theirs give (MOVER; Zou & Donner 2008).

    `correlation` is float (K, K), of the K figures' errors. Each side of the interval is put together from the same
    side of the parts' intervals, so that a part at 0 or 1 brings its own uncertainty. NaN where no part is defined.
    """
    there = [place for place, part in enumerate(parts) if not np.isnan(part.value)]
    if len(there) < 2:
        return parts[there[0]] if there else UNKNOWN
    values, lows, highs = np.array([(parts[k].value, parts[k].low, parts[k].high) for k in there]).T
    own = correlation[np.ix_(there, there)]

    def reach(sides: np.ndarray) -> float:
        return float(np.sqrt(max(0.0, sides @ own @ sides))) / len(there)

    mean = float(values.mean())
    return Estimate(mean, max(0.0, mean - reach(values - lows)), min(1.0, mean + reach(highs - values)))


def correlations(errors: np.ndarray) -> np.ndarray:
    """Returns float (K, K), the correlations of K columns of `errors` (D, K) around 0; 0 with a column without any."""
    lengths = np.sqrt((errors**2).sum(axis=0))
    scaled = np.divide(errors, lengths, out=np.zeros(errors.shape), where=lengths > 0)
    found: np.ndarray = scaled.T @ scaled
    np.fill_diagonal(found, 1.0)
    return found
