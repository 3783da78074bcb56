"""Repeats the choice of a search in bootstrap draws of patients, to correct the winner's AUROC for being chosen."""

import numpy as np

from chex.statistics.bootstrap import PLAIN, TIGHT, BootstrapScores, debiased_estimate
from chex.statistics.intervals import Estimate
from search.analysis.selection import choose


def debiased_auroc(metric: BootstrapScores, trials: np.ndarray, seen: Estimate) -> Estimate:
    """Returns the expected AUROC, on new patients, of the winner by `metric` among R reports of these `trials` (R,).

    `seen` is its AUROC on the images that chose it.
    """
    tight, plain = (choose(metric.selection(tightness), trials).winner for tightness in (TIGHT, PLAIN))
    return debiased_estimate(metric, tight, plain, seen)
