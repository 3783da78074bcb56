"""A bootstrap of patients that corrects the score of a report that was chosen for its score.

As in the bootstrap bias correction of Tsamardinos et al. (2018), each draw weights the patients twice: once for the
choice of a report and once, with uncorrelated errors, for the score of the chosen report. In that paper a patient drawn
m times has the weight m for the choice, and only patients that are not drawn count for the score. Here such a patient
has the weight 1 + t (m - 1) for the choice and 1 - (m - 1) / t for the score, with a tightness t. The two errors are
uncorrelated for every t (thinning; Oliveira, Lei & Tibshirani 2021). With t = 1 the choice is made on a plain bootstrap
draw, whose noise has twice the variance of the real choice's. Such a choice is worse than the real one, so that the
correction is too large; with t = TIGHT it is only a little too large.
"""

from dataclasses import dataclass

import numpy as np

from chex.statistics.delong import AurocInfluences
from chex.statistics.intervals import Estimate, logit_interval

N_RESAMPLES = 1000
TIGHT, PLAIN = 0.5, 1.0


@dataclass(frozen=True)
class BootstrapScores:
    """One AUROC (of an observation, or the mean) of each of R reports, and its changes in D bootstrap draws."""

    name: str
    """`mean`, or an observation."""
    areas: AurocInfluences
    deltas: np.ndarray
    """float (D, R): the change of each AUROC if each patient counts as often as it is drawn."""

    def selection(self, tightness: float) -> np.ndarray:
        """Returns float (D, R): the AUROCs by which each draw chooses a report."""
        scores: np.ndarray = self.areas.auroc + tightness * self.deltas
        return scores

    def evaluation(self, chosen: np.ndarray, tightness: float) -> np.ndarray:
        """Returns float (D, ...): the AUROCs by which each draw scores the reports `chosen`, int (D, ...)."""
        draw = np.arange(len(chosen)).reshape(-1, *[1] * (chosen.ndim - 1))
        scores: np.ndarray = self.areas.auroc[chosen] - self.deltas[draw, chosen] / tightness
        return scores


def draw_bootstrap(patients: int, rng: np.random.Generator, count: int = N_RESAMPLES) -> np.ndarray:
    """Returns float (D, P): how often each of `patients` patients is drawn in each of `count` draws."""
    return rng.multinomial(patients, np.full(patients, 1 / patients), size=count).astype(float)


def bootstrap_scores(name: str, areas: AurocInfluences, drawn: np.ndarray) -> BootstrapScores:
    """Returns the AUROCs in the draws `drawn`, float (D, P), as a first-order approximation from the influences."""
    return BootstrapScores(name, areas, (drawn - 1) @ areas.influence)


def debiased_estimate(metric: BootstrapScores, tight: np.ndarray, plain: np.ndarray, naive: Estimate) -> Estimate:
    """Returns the AUROC to expect on new patients from the report that was chosen by `metric`, with a 95 % interval.

    `tight` and `plain` are int (D,): the reports chosen in each draw with either tightness. `naive` is the AUROC of the
    report chosen on all patients, on these same patients. The value is the mean score of the reports chosen in the
    tight draws, and at most `naive`. The interval has the standard deviation of the scores in the plain draws, which
    includes the noise of patients and of the choice. Neither side is shorter than that of `naive`.
    """
    value = min(float(metric.evaluation(tight, TIGHT).mean()), naive.value)
    spread = logit_interval(value, float(metric.evaluation(plain, PLAIN).std()))
    low, high = value - (naive.value - naive.low), value + (naive.high - naive.value)
    return Estimate(value, max(0.0, min(spread.low, low)), min(1.0, max(spread.high, high)))
