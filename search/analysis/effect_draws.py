"""Draws the effects of parameters' values from their posterior: most are small, and a few may be large."""

from dataclasses import dataclass

import numpy as np

from search.analysis.trial_terms import Term, TermLikelihood

DRAWS, BURN_IN = 2000, 200
FREEDOM = 1.0
"""Degrees of freedom of the prior of effects, a t distribution with mean 0."""
SCALES = np.geomspace(0.0003, 0.06, 40)
"""The scales that this t distribution may have, in AUROC."""
SCALE_MEDIAN, SCALE_WIDTH = 0.01, 1.0
"""The scale's prior is lognormal."""


@dataclass(frozen=True)
class TermDraws:
    """Draws of terms' effects on AUROC from their posterior."""

    terms: tuple[Term, ...]
    """(E,)."""
    values: np.ndarray
    """float (D, E)."""
    means: np.ndarray
    """float (D, K): the AUROC of each observation at the end of a trial whose terms are all 0."""


def draw_terms(
    likelihood: TermLikelihood, patients: np.ndarray, rng: np.random.Generator, draws: int = DRAWS
) -> TermDraws:
    """Returns draws of the terms of `likelihood`.

    `patients` is float (K + E, K + E): the covariance of means and terms that the sample of patients adds, which is the
    same for all trials, so that the trials do not show it. The prior of effects is a t distribution whose scale is
    drawn too; that of slopes is in the likelihood. The draws are a Gibbs sampler's.
    """
    identity = np.eye(len(patients))
    information = likelihood.information @ np.linalg.inv(identity + patients @ likelihood.information)
    score = np.linalg.solve(identity + likelihood.information @ patients, likelihood.score)
    information = (information + information.T) / 2
    means = len(score) - len(likelihood.terms)
    effects = np.array([False] * means + [term.is_effect for term in likelihood.terms])
    mixing, scale = np.ones(effects.sum()), SCALE_MEDIAN
    found = np.empty((draws, len(score)))
    for step in range(-BURN_IN, draws):
        precision = np.full(len(score), 1e-6)
        precision[effects] = 1 / (scale**2 * mixing)
        lower = np.linalg.cholesky(information + np.diag(precision))
        x = np.linalg.solve(lower.T, np.linalg.solve(lower, score) + rng.standard_normal(len(score)))
        scale = _scale(x[effects], rng)
        mixing = (FREEDOM + (x[effects] / scale) ** 2) / 2 / rng.gamma((FREEDOM + 1) / 2, size=len(mixing))
        if step >= 0:
            found[step] = x
    return TermDraws(likelihood.terms, found[:, means:], found[:, :means])


def _scale(effects: np.ndarray, rng: np.random.Generator) -> float:
    """Draws the scale of the t distribution that `effects` come from."""
    densities = np.log1p((effects[:, None] / SCALES) ** 2 / FREEDOM).sum(axis=0)
    logarithms = -len(effects) * np.log(SCALES) - (FREEDOM + 1) / 2 * densities
    logarithms -= (np.log(SCALES / SCALE_MEDIAN) / SCALE_WIDTH) ** 2 / 2
    shares = np.exp(logarithms - logarithms.max())
    return float(rng.choice(SCALES, p=shares / shares.sum()))
