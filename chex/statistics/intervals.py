"""95 % intervals of metrics in [0, 1] that also have a width at 0 and 1, unlike a bootstrap or a standard error."""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit, logit
from scipy.stats import norm

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval; NaN if undefined."""

    value: float
    low: float
    high: float


def named_ends(name: str, estimate: Estimate) -> dict[str, float]:
    """Returns an estimate for a table or JSON: its value under `name`, its ends under `name`_low and `name`_high."""
    return {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}


UNDEFINED = Estimate(float("nan"), float("nan"), float("nan"))


def wilson_interval(share: float, count: float, confidence: float = CONFIDENCE) -> Estimate:
    """Returns a share of `count` independent cases with its score interval (Wilson 1927); NaN if `count` is 0.

    `count` can be a fraction, such as an effective number of cases (see `effective_count`).
    """
    if not count > 0 or np.isnan(share):
        return UNDEFINED
    square = float(norm.ppf((1 + confidence) / 2)) ** 2
    middle = (share + square / (2 * count)) / (1 + square / count)
    margin = np.sqrt(square * share * (1 - share) / count + square**2 / (4 * count**2)) / (1 + square / count)
    return Estimate(float(share), max(0.0, float(middle - margin)), min(1.0, float(middle + margin)))


def effective_count(share: float, variance: float, patients: float, cases: float) -> float:
    """Returns the number of independent cases with as much information as `cases` of `patients` (Rao & Scott 1992).

    `variance` is the variance of the share over bootstrap draws of patients. For a share of 0 or 1 the variance is
    always 0 and says nothing: the function then returns `patients`, as if all cases of a patient were equal.
    """
    if not 0 < share < 1 or not variance > 0:
        return patients
    return float(np.clip(share * (1 - share) / variance, patients, max(patients, cases)))


def logit_interval(auroc: float, error: float, confidence: float = CONFIDENCE) -> Estimate:
    """Returns an AUROC with the interval of its standard `error` on the logit scale; at 0 and 1 it has no width."""
    if not 0 < auroc < 1:
        return Estimate(float(auroc), float(auroc), float(auroc))
    margin = norm.ppf((1 + confidence) / 2) * error / (auroc * (1 - auroc))
    low, high = expit(logit(auroc) + np.array([-margin, margin]))
    return Estimate(float(auroc), float(low), float(high))


def score_interval(auroc: float, positives: float, negatives: float, confidence: float = CONFIDENCE) -> Estimate:
    """Returns an AUROC with the score interval of Newcombe (2006, method 5), from the two class sizes alone.

    Each end is the AUROC that lies as many standard errors from `auroc` as `confidence` requires. The standard error is
    Hanley and McNeil's (1982) at that end, with the mean class size in its last two terms. So an AUROC of 1 has a lower
    end below 1: .90 with 20 positives and 20 negatives.
    """
    z = float(norm.ppf((1 + confidence) / 2))
    pairs = (positives + negatives) / 2 - 1

    def distance(end: float) -> float:
        spread = 1 + pairs * (1 - end) / (2 - end) + pairs * end / (1 + end)
        return abs(end - auroc) - z * np.sqrt(end * (1 - end) * spread / (positives * negatives))

    def solve(edge: float) -> float:
        start = float(np.clip(auroc, 1e-12, 1 - 1e-12))  # 0 and 1 solve the equation trivially
        return float(brentq(distance, edge, start)) if distance(edge) > 0 else edge

    return Estimate(float(auroc), solve(0.0), solve(1.0))


def wider_interval(first: Estimate, second: Estimate) -> Estimate:
    """Returns the value of `first` with the smaller low end and the larger high end of both."""
    return Estimate(first.value, min(first.low, second.low), max(first.high, second.high))


def mean_estimate(parts: list[Estimate], correlation: np.ndarray) -> Estimate:
    """Returns the mean of the defined parts, with an interval from those of the parts (MOVER; Zou & Donner 2008).

    `correlation` is float (K, K): of the errors of the K parts. Each side of the interval is combined from the same
    side of the parts' intervals, so that the uncertainty of a part at 0 or 1 counts. NaN if no part is defined.
    """
    defined = [k for k, part in enumerate(parts) if not np.isnan(part.value)]
    if len(defined) < 2:
        return parts[defined[0]] if defined else UNDEFINED
    values, lows, highs = np.array([(parts[k].value, parts[k].low, parts[k].high) for k in defined]).T
    block = correlation[np.ix_(defined, defined)]

    def margin(sides: np.ndarray) -> float:
        return float(np.sqrt(max(0.0, sides @ block @ sides))) / len(defined)

    mean = float(values.mean())
    return Estimate(mean, max(0.0, mean - margin(values - lows)), min(1.0, mean + margin(highs - values)))


def correlations(errors: np.ndarray) -> np.ndarray:
    """Returns float (K, K): the correlations around 0 of the columns of `errors` (D, K); 0 with a column of zeros."""
    lengths = np.sqrt((errors**2).sum(axis=0))
    scaled = np.divide(errors, lengths, out=np.zeros(errors.shape), where=lengths > 0)
    correlation: np.ndarray = scaled.T @ scaled
    np.fill_diagonal(correlation, 1.0)
    return correlation
