"""A model of trials with several components: what each choice of a component's own parameters does to that component.

    value[t, c, s] = mean[c, s] + loading[c] * shared[t] + sum of own[choice] + noise

of trial t, component c and step s; `own` are the effects of the choices that trial t has for the parameters of c.
`own` and `shared` have normal priors with mean 0. Their standard deviations are those of a grid under which the values
are most likely (empirical Bayes). The loadings say how strongly each component follows what all have in common; their
mean is 1, and they are fitted in turn with the effects, under a normal prior. Without them a choice that is common in
good trials would get the credit for what a component gains more than the others.

A trial's values at different steps count together as one value per component. A trial that the model fits badly counts
less (t distribution), because choices hardly matter where nothing was learnt.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

OWN_RATIOS = (0.1, 0.3, 0.6, 1.0, 2.0)
SHARED_RATIOS = (0.3, 1.0, 3.0, 10.0)
"""Standard deviations of the effects in the grid, in units of the noise's."""
MEAN_RATIO = 100.0
"""The same of `mean`: so large that it is free."""
LOADING_DEVIATION = 0.6
"""Standard deviation of the loadings' prior."""
DEGREES_OF_FREEDOM, ROUNDS = 4, 4


@dataclass(frozen=True)
class OwnParameter:
    """The choices that trials have for a categorical parameter of one component."""

    component: int
    """0-based."""
    chosen: np.ndarray
    """int (T,): 0-based choice of each trial, -1 where the trial does not have the parameter."""
    count: int
    """How many choices there are."""


@dataclass(frozen=True)
class Effects:
    """The posterior of the effects, in the units of the values."""

    own_mean: np.ndarray
    """float (E,): the effect of each choice of each parameter, in the parameters' order."""
    own_covariance: np.ndarray
    """float (E, E)."""
    shared: np.ndarray
    """float (T,): by how much trial t is better in the mean of the components than its choices explain; 0 without a
    value."""
    residual: np.ndarray
    """float (T, C): by how much component c of trial t is better than everything else explains, as the mean over its
    steps; NaN without a value."""


def split_by_parameter(effects: np.ndarray, counts: Sequence[int]) -> list[np.ndarray]:
    """Returns the effects, float (..., E), of each parameter, float (..., its count of choices)."""
    return np.split(effects, np.cumsum(counts), axis=-1)[:-1]


def fit_effects(values: np.ndarray, parameters: Sequence[OwnParameter]) -> Effects:
    """Fits the model to `values`, float (T, C, S). NaN means not measured; at least one value is measured."""
    trials, components, _ = values.shape
    index = np.argwhere(~np.isnan(values))
    measured = values[tuple(index.T)]
    center, scale = measured.mean(), measured.std() or 1.0
    target, trial, component = (measured - center) / scale, index[:, 0], index[:, 1]
    cell = trial * components + component
    own = sum(parameter.count for parameter in parameters)
    once = 1 / np.bincount(cell)[cell]
    count = np.bincount(trial, once, minlength=trials)
    weight, loading = np.ones(trials), np.ones(components)
    for round_ in range(ROUNDS):
        design = _design(index, parameters, values.shape, loading)
        fit = _most_likely(design, target, once * weight[trial], own, trials)
        residual, shared = target - design @ fit.mean, fit.mean[own : own + trials]
        if round_ < ROUNDS - 1:
            squares = np.bincount(trial, once * residual**2, minlength=trials) / fit.noise**2
            weight = (DEGREES_OF_FREEDOM + count) / (DEGREES_OF_FREEDOM + squares)
            unexplained = residual + loading[component] * shared[trial]
            loading = _loadings(unexplained, shared[trial], component, once * weight[trial], fit.noise, components)
    means = np.bincount(cell, once * residual, minlength=trials * components)
    known = np.bincount(cell, minlength=trials * components) > 0
    return Effects(
        scale * fit.mean[:own],
        scale**2 * fit.covariance[:own, :own],
        scale * shared,
        scale * np.where(known, means, np.nan).reshape(trials, components),
    )


def _design(
    index: np.ndarray, parameters: Sequence[OwnParameter], shape: tuple[int, ...], loading: np.ndarray
) -> np.ndarray:
    """Returns float (N, E + T + C S): how strongly each effect is in each value."""
    trials, components, steps = shape
    trial, component, step = index.T
    own = [
        (parameter.chosen[trial, None] == np.arange(parameter.count)) & (component == parameter.component)[:, None]
        for parameter in parameters
    ]
    shared = (trial[:, None] == np.arange(trials)) * loading[component, None]
    mean = (component * steps + step)[:, None] == np.arange(components * steps)
    return np.concatenate([*own, shared, mean], axis=1).astype(float)


def _loadings(
    target: np.ndarray, shared: np.ndarray, component: np.ndarray, weight: np.ndarray, noise: float, components: int
) -> np.ndarray:
    """Returns float (C,), with mean 1: how strongly each component's values follow the trials' shared effects."""
    prior = (noise / LOADING_DEVIATION) ** 2
    product = np.bincount(component, weight * shared * target, minlength=components) + prior
    square = np.bincount(component, weight * shared**2, minlength=components) + prior
    loading = np.clip(product / square, 0.1, None)
    return np.asarray(loading / loading.mean())


@dataclass(frozen=True)
class _Fit:
    mean: np.ndarray
    covariance: np.ndarray
    noise: float
    """Standard deviation of a value of weight 1."""


def _most_likely(design: np.ndarray, target: np.ndarray, weight: np.ndarray, own: int, trials: int) -> _Fit:
    """Returns the fit with the likeliest of the grid's standard deviations; `own` effects come first, then trials'."""
    weighted = design * weight[:, None]
    normal, right, total = weighted.T @ design, weighted.T @ target, float(weight @ target**2)
    fits = []
    for own_ratio, shared_ratio in itertools.product(OWN_RATIOS, SHARED_RATIOS):
        ratio = np.full(len(normal), MEAN_RATIO)
        ratio[:own], ratio[own : own + trials] = own_ratio, shared_ratio
        precision = normal + np.diag(ratio**-2.0)
        mean = np.linalg.solve(precision, right)
        variance = max(total - float(right @ mean), 1e-12) / len(target)
        evidence = -len(target) / 2 * np.log(variance) - np.linalg.slogdet(precision)[1] / 2 - np.log(ratio).sum()
        fits.append((float(evidence), mean, precision, variance))
    _, mean, precision, variance = max(fits, key=lambda fit: fit[0])
    return _Fit(mean, variance * np.linalg.inv(precision), float(np.sqrt(variance)))
