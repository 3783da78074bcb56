"""What the model of trials is fitted to: the AUROCs at the stages where trials ended, and the trials' parameters."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution

from search.optimize.samplers import kept_aurocs, policy_observations
from search.space.space import Space
from search.trials.trial import TrialRecord


@dataclass(frozen=True)
class Term:
    """A column of the model: a value of a categorical parameter, or a number."""

    param: str
    value: str
    """The value of a categorical parameter; "" for a number, "squared" for its square."""
    observation: int | None
    """The observation on which it acts, 0-based; None for all of them."""
    column: np.ndarray
    """float (T,): 1 for the trials with the value and 0 for the others; or the number, with mean 0."""

    @property
    def is_effect(self) -> bool:
        """Whether it is a value of a categorical parameter."""
        return self.value not in ("", "squared")


@dataclass(frozen=True)
class TermLikelihood:
    """The likelihood of x = (K means at the last stage, E terms): exp(score @ x - x @ information @ x / 2)."""

    terms: tuple[Term, ...]
    """(E,)."""
    information: np.ndarray
    """float (K + E, K + E), for x in AUROC. It is singular: effects are known up to a constant per parameter."""
    score: np.ndarray
    """float (K + E,)."""
    deviations: dict[str, float]
    """The standard deviations of the random terms, in AUROC."""
    loadings: np.ndarray
    """float (K,): how strongly each observation follows what all have in common; with mean 1."""
    shares: np.ndarray
    """float (S,): the share of an effect that is there at each stage; the last is 1."""
    final_aurocs: np.ndarray
    """float (T,): the mean AUROC at the last stage that the model expects of each trial, given what it reported; what a
    trial reported if it reached that stage."""


def stage_aurocs(trials: Sequence[TrialRecord], observations: Sequence[str]) -> np.ndarray:
    """Returns float (T, S, K): the AUROC of each of `observations` by the weights that a trial keeps at each stage.

    The stages are the numbers of reports after which any of the T trials ended. NaN where a trial ended before.
    """
    stages = sorted({len(trial.reports) for trial in trials})
    found = np.full((len(trials), len(stages), len(observations)), np.nan)
    for place, trial in enumerate(trials):
        aurocs = kept_aurocs(trial.reports)
        for stage, number in enumerate(stages):
            if number in aurocs:
                found[place, stage] = [aurocs[number][name] for name in observations]
    return found


def trial_terms(params: Sequence[Mapping[str, Any]], space: Space, observations: Sequence[str]) -> tuple[Term, ...]:
    """Returns the terms of trials with these parameters.

    A categorical parameter has a term for each value that occurs, unless only one does. A number has a term of its
    place in its range, from 0 to 1 (on the log scale if it has one), minus the mean, and one of the square of that if
    it has more than two values. A trial without the parameter has 0.
    """
    owner = {
        path: observations.index(name) for path, name in policy_observations(space).items() if name in observations
    }
    terms: list[Term] = []
    for path, param in space.items():
        values = [each.get(path) for each in params]
        if isinstance(param.domain, CategoricalDistribution):
            present = [choice for choice in param.domain.choices if choice in values]
            columns = [(str(choice), np.array([value == choice for value in values], float)) for choice in present]
            terms += [Term(path, value, owner.get(path), column) for value, column in columns if len(present) > 1]
        else:
            place = _centered([_place(param.domain, value) for value in values])
            square = _centered((place**2).tolist())
            distinct = len(set(values) - {None})
            terms += [Term(path, "", owner.get(path), place)] if distinct > 1 else []
            terms += [Term(path, "squared", owner.get(path), square)] if distinct > 2 else []
    return tuple(terms)


def _place(domain: BaseDistribution, value: float | None) -> float | None:
    """Returns where `value` lies in its range, from 0 to 1; None for None."""
    if value is None:
        return None
    low, high = domain.low, domain.high  # type: ignore[attr-defined]
    if domain.log:  # type: ignore[attr-defined]
        low, high, value = math.log(low), math.log(high), math.log(value)
    return (value - low) / (high - low)


def _centered(places: Sequence[float | None]) -> np.ndarray:
    known = np.array([place is not None for place in places])
    values = np.array([place or 0.0 for place in places])
    return np.where(known, values - values[known].mean(), 0.0) if known.any() else values


def patient_covariance(terms: Sequence[Term], loadings: np.ndarray, influences: Sequence[np.ndarray]) -> np.ndarray:
    """Returns float (K + E, K + E): the covariance that the sample of patients adds to K means and E terms.

    `influences` has for each observation float (P, T): the influence of each patient on the AUROC of each trial. What
    differs from trial to trial without system is left out, because it is a part of the trials' scatter.
    """
    observations, (patients, trials) = len(influences), influences[0].shape
    design = np.zeros((observations, trials, observations + len(terms)))
    for k in range(observations):
        design[k, :, k] = 1
        for place, term in enumerate(terms, observations):
            if term.observation in (None, k):
                design[k, :, place] = term.column * (loadings[k] if term.observation is None else 1)
    flat = design.reshape(-1, design.shape[2])
    weights = (np.linalg.inv(flat.T @ flat + 1e-6 * np.eye(flat.shape[1])) @ flat.T).reshape(-1, observations, trials)
    projected = np.zeros((patients, len(weights)))
    alone = np.zeros((len(weights), len(weights)))
    for k, influence in enumerate(influences):
        projected += influence @ weights[:, k].T
        squares, together = (influence**2).sum(), (influence.sum(axis=1) ** 2).sum()
        scatter = (squares - together / trials) / max(1, trials - 1)
        alone += scatter * weights[:, k] @ weights[:, k].T
    values, vectors = np.linalg.eigh(projected.T @ projected - alone)
    covariance: np.ndarray = (vectors * np.maximum(values, 0)) @ vectors.T
    return covariance
