"""Bags of patients: each weighs patients to choose by and, apart from that, patients to score by.

As in the bootstrap bias correction of Tsamardinos et al. (2018) a choice is scored on what it was not made by. There a
bag holds each patient as often as he is drawn; those who are not drawn score. Here a patient drawn m times counts
1 + t (m - 1) times to choose by and 1 - (m - 1) / t times to score by: the errors of the two are uncorrelated, as they
are between patients in and out of a bag, for every tightness t (thinning; Oliveira, Lei & Tibshirani 2021). With t = 1
the choice is made from a plain bootstrap's bag, with twice the noise of the real one, so that it is worse than that and
the correction goes too far; t = TIGHT leaves little of this.
"""

from dataclasses import dataclass

import numpy as np

from chex.delong import Areas
from chex.intervals import Estimate, logit_interval

BAGS = 1000
TIGHT, PLAIN = 0.5, 1.0


@dataclass(frozen=True)
class Outcome:
    """An AUROC of R reports, in B bags too."""

    name: str
    """`mean`, or an observation."""
    areas: Areas
    moves: np.ndarray
    """float (B, R): by how much each AUROC changes where patients count as often as they are drawn."""

    def inside(self, tightness: float) -> np.ndarray:
        """float (B, R): what is chosen by."""
        weighed: np.ndarray = self.areas.auroc + tightness * self.moves
        return weighed

    def outside(self, chosen: np.ndarray, tightness: float) -> np.ndarray:
        """float (B, ...): what the reports score that are chosen in each bag; `chosen` is int (B, ...) among the R."""
        bag = np.arange(len(chosen)).reshape(-1, *[1] * (chosen.ndim - 1))
        apart: np.ndarray = self.areas.auroc[chosen] - self.moves[bag, chosen] / tightness
        return apart


def draw(patients: int, rng: np.random.Generator, count: int = BAGS) -> np.ndarray:
    """float (B, P): how often each patient is drawn in each bag."""
    return rng.multinomial(patients, np.full(patients, 1 / patients), size=count).astype(float)


def outcome(name: str, areas: Areas, drawn: np.ndarray) -> Outcome:
    """These AUROCs in the bags `drawn` (B, P)."""
    return Outcome(name, areas, (drawn - 1) @ areas.influence)


def shares(chosen: np.ndarray, reports: int) -> np.ndarray:
    """float (R,): in which share of the bags each report is chosen; `chosen` is int (B,)."""
    counted: np.ndarray = np.bincount(chosen, minlength=reports) / len(chosen)
    return counted


def expected(metric: Outcome, tight: np.ndarray, plain: np.ndarray, seen: Estimate) -> Estimate:
    """Returns the AUROC to expect on new patients of what was chosen by `metric`, with its 95 % interval.

    `tight` and `plain` are int (B,), the reports chosen in each bag of either tightness; `seen` is the AUROC of the
    report that was chosen on all patients, as it scored there. The value is the mean of what is chosen in tight bags
    and scored apart, and never above the one seen. The interval is as wide as what is chosen in plain bags and scored
    apart spreads, which holds the noise of patients and that of a choice which might have been another, and on neither
    side shorter than that of the AUROC seen.
    """
    value = min(float(metric.outside(tight, TIGHT).mean()), seen.value)
    spread = logit_interval(value, float(metric.outside(plain, PLAIN).std()))
    low, high = value - (seen.value - seen.low), value + (seen.high - seen.value)
    return Estimate(value, max(0.0, min(spread.low, low)), min(1.0, max(spread.high, high)))
