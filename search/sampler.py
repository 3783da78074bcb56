"""What to try next: a pure function of the trials so far, so that a search needs no state beyond its book."""

import itertools
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, GPSampler, QMCSampler, RandomSampler, TPESampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial
from pydantic import Field, model_validator

from chex.errors import InputError
from chex.strict import Strict
from search.space import Space

DRAWS = 1000
"""Random proposals that break a constraint before the search gives up."""
REFUSED = 20
"""Proposals of a model that break a constraint, or were tried before, before a random one is taken."""

Feasible = Callable[[Mapping[str, Any]], bool]


class SamplerConfig(Strict):
    """How trials are proposed."""

    kind: Literal["tpe", "random", "gp", "qmc", "grid"] = "tpe"
    """`tpe`: multivariate tree-structured Parzen estimator (Bergstra et al. 2011; Falkner et al. 2018), which takes
    trials under way for poor ones; `gp`: Gaussian process, where knobs below a `when` are drawn at random; `qmc`:
    scrambled Sobol points, where choices are drawn at random; `grid`: every combination of choices and whole numbers,
    in turn."""
    seed: int = Field(0, ge=0, lt=2**32)
    startup: int = Field(6, ge=1)
    """Trials drawn at random before tpe or gp take over."""

    @model_validator(mode="before")
    @classmethod
    def _word(cls, value: Any) -> Any:
        return {"kind": value} if isinstance(value, str) else value


def propose(
    config: SamplerConfig,
    space: Space,
    points: Sequence[Mapping[str, Any]],
    history: Sequence[FrozenTrial],
    feasible: Feasible = lambda knobs: True,
) -> dict[str, Any]:
    """Values for the trial after those of `history`: the next of `points` while there are any, then the sampler's.

    The same arguments give the same values. They are none of `history`'s, as long as DRAWS proposals in turn have
    others: a trial of the same values would end as that one did. Raises InputError where DRAWS proposals in turn are
    infeasible, and for a grid of which nothing is left.
    """
    number = len(history)
    if number < len(points):
        return dict(points[number])
    if config.kind == "grid":
        raise InputError(f"sampler.kind=grid: all {len(points)} points of the grid have been tried")
    draws = _sequence(config, space, DRAWS + number) if config.kind == "qmc" else _draws(config, space, history)
    tried = [trial.params for trial in history]
    repeated = None
    for values in filter(feasible, draws):
        if values not in tried:
            return values
        repeated = repeated or values
    if repeated is None:
        raise InputError(
            f"constraints: {DRAWS} proposals in turn broke them; widen the space around what they allow, or drop one"
        )
    return repeated


def _draws(config: SamplerConfig, space: Space, history: Sequence[FrozenTrial]) -> Iterator[dict[str, Any]]:
    """Proposals for one trial.

    One that is not taken is under way for those after it, as far as the model knows: both models then look elsewhere,
    and neither is told a value that nobody has measured. Optuna's `constraints_func` would need such a value.
    """
    seed = int(np.random.SeedSequence([config.seed, len(history)]).generate_state(1)[0])
    learnt = [_learnt(config, trial) for trial in history]
    ended = sum(trial.state in (TrialState.COMPLETE, TrialState.PRUNED) for trial in learnt)
    if config.kind in ("tpe", "gp") and ended >= config.startup:
        study = _study(_model(config, space, seed))
        study.add_trials(learnt)
        for _ in range(REFUSED):
            yield _values(study.ask(), space)
    study = _study(RandomSampler(seed=seed))
    for _ in range(DRAWS):
        yield _values(study.ask(), space)


def _learnt(config: SamplerConfig, trial: FrozenTrial) -> FrozenTrial:
    """A trial as the model is to learn from it: Optuna's Gaussian process would ignore one that was stopped early.

    It is told that such a trial has ended with its last value. TPE ranks it below all that finished.
    """
    if config.kind != "gp" or trial.state != TrialState.PRUNED or not trial.intermediate_values:
        return trial
    value = trial.intermediate_values[max(trial.intermediate_values)]
    return create_trial(value=value, params=trial.params, distributions=trial.distributions)


def _sequence(config: SamplerConfig, space: Space, length: int) -> Iterator[dict[str, Any]]:
    """The first points of a scrambled Sobol sequence."""
    with _without_experimental_warnings():
        study = _study(QMCSampler(scramble=True, seed=config.seed, warn_independent_sampling=False))
    study.add_trial(_of_all_knobs(space))
    for _ in range(length):
        yield _values(study.ask(), space)


def grid(space: Space) -> list[dict[str, Any]]:
    """Every combination of the knobs' values; the first knob changes fastest.

    Raises InputError for a knob that has no list of values.
    """
    for path, knob in space.items():
        if knob.when or isinstance(knob.domain, FloatDistribution):
            raise InputError(
                f"space.{path}: sampler.kind=grid needs a choice or whole numbers, without a condition; "
                "use choice: [...], or sampler.kind=tpe"
            )
    paths = list(space)[::-1]
    every = itertools.product(*(_listed(space[path].domain) for path in paths))
    return [dict(zip(paths[::-1], values[::-1], strict=True)) for values in every]


def _study(sampler: BaseSampler) -> optuna.Study:
    return optuna.create_study(direction=StudyDirection.MAXIMIZE, sampler=sampler)


def _model(config: SamplerConfig, space: Space, seed: int) -> BaseSampler:
    if config.kind == "gp":
        with _without_experimental_warnings():
            return GPSampler(seed=seed, n_startup_trials=config.startup)
    with _without_experimental_warnings():
        return TPESampler(
            seed=seed,
            n_startup_trials=config.startup,
            multivariate=True,
            group=any(knob.when for knob in space.values()),
            constant_liar=True,
        )


@contextmanager
def _without_experimental_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        yield


def _of_all_knobs(space: Space) -> FrozenTrial:
    """A trial with every knob, conditional or not: Optuna's sequence has the dimensions of the first trial."""
    domains = {path: knob.domain for path, knob in space.items()}
    return create_trial(
        value=0.0, distributions=domains, params={path: _some(domain) for path, domain in domains.items()}
    )


def _some(domain: BaseDistribution) -> Any:
    return domain.choices[0] if isinstance(domain, CategoricalDistribution) else domain.low  # type: ignore[attr-defined]


def _values(trial: optuna.Trial, space: Space) -> dict[str, Any]:
    """The values of the knobs that exist, in the space's order."""
    values: dict[str, Any] = {}
    for path, knob in space.items():
        if knob.exists(values):
            values[path] = _suggest(trial, path, knob.domain)
    return values


def _suggest(trial: optuna.Trial, path: str, domain: BaseDistribution) -> Any:
    if isinstance(domain, CategoricalDistribution):
        return trial.suggest_categorical(path, domain.choices)
    if isinstance(domain, IntDistribution):
        return trial.suggest_int(path, domain.low, domain.high, log=domain.log, step=domain.step)
    assert isinstance(domain, FloatDistribution)
    return trial.suggest_float(path, domain.low, domain.high, log=domain.log, step=domain.step)


def _listed(domain: BaseDistribution) -> list[Any]:
    if isinstance(domain, CategoricalDistribution):
        return list(domain.choices)
    assert isinstance(domain, IntDistribution)
    return list(range(domain.low, domain.high + 1, domain.step))
