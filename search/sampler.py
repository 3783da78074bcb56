"""Optuna's proposals, and what it is told of a trial's end."""

import itertools
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from pydantic import BaseModel, ConfigDict, Field
from ray.tune.search.optuna import OptunaSearch

from chex.errors import InputError
from chex.metrics import METRIC, MODE
from search.space import Space

COMPLETE_PERCENT = 100


class SamplerConfig(BaseModel):
    """How trials are proposed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["tpe", "grid"] = "tpe"
    """`grid`: every combination of choices and whole numbers, in turn, for comparisons at equal numbers of trials."""
    seed: int = Field(0, ge=0, lt=2**32)
    startup: int = Field(6, ge=1)
    """Trials drawn at random before the tree-structured Parzen estimator takes over."""


class TruthfulOptunaSearch(OptunaSearch):
    """Tells Optuna a stopped trial as PRUNED and an undefined metric as FAIL.

    Ray's own class tells both otherwise: a stopped trial as COMPLETE with its early value, and NaN not at all.
    """

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        trial = self._ot_trials.get(trial_id)
        if trial is None or trial_id in self._completed_trials or error or result is None:
            super().on_trial_complete(trial_id, result, error)
            return
        state, value = told(result)
        if state == optuna.trial.TrialState.PRUNED:
            trial.report(result[METRIC], result["percent"])
        self._ot_study.tell(trial, value, state=state)
        self._completed_trials.add(trial_id)


def told(result: dict[str, Any]) -> tuple[optuna.trial.TrialState, float | None]:
    """State and value for Optuna from a trial's last report: FAIL for an undefined metric, PRUNED for a cut run."""
    value = result.get(METRIC)
    if value is None or not math.isfinite(value):
        return optuna.trial.TrialState.FAIL, None
    if result["percent"] < COMPLETE_PERCENT:
        return optuna.trial.TrialState.PRUNED, None
    return optuna.trial.TrialState.COMPLETE, value


@dataclass(frozen=True)
class Conditional:
    """Proposes the knobs that exist, in the space's order, as Optuna's define-by-run has it."""

    space: Space

    def __call__(self, trial: optuna.Trial) -> None:
        values: dict[str, Any] = {}
        for path, knob in self.space.items():
            if knob.exists(values):
                values[path] = _suggest(trial, path, knob.domain)


def _suggest(trial: optuna.Trial, path: str, domain: BaseDistribution) -> Any:
    if isinstance(domain, CategoricalDistribution):
        return trial.suggest_categorical(path, domain.choices)
    if isinstance(domain, IntDistribution):
        return trial.suggest_int(path, domain.low, domain.high, step=domain.step, log=domain.log)
    assert isinstance(domain, FloatDistribution)
    return trial.suggest_float(path, domain.low, domain.high, step=domain.step, log=domain.log)


def build_searcher(
    space: Space,
    config: SamplerConfig,
    first: Sequence[dict[str, Any]] = (),
    feasible: Callable[[Mapping[str, Any]], bool] = lambda values: True,
) -> TruthfulOptunaSearch:
    """What proposes trials of `space`, seeded, maximising METRIC.

    TPE tries the points `first` before all others; a grid has its own order, of `feasible` points. Raises InputError
    for a space without one.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    conditional = any(knob.when for knob in space.values())
    points = [point for point in grid(space) if feasible(point)] if config.kind == "grid" else list(first)
    return TruthfulOptunaSearch(
        space=Conditional(space) if conditional else {path: knob.domain for path, knob in space.items()},
        points_to_evaluate=points or None,
        metric=METRIC,
        mode=MODE,
        sampler=_tpe(config, conditional),
    )


def _tpe(config: SamplerConfig, conditional: bool) -> optuna.samplers.BaseSampler:
    """Knobs that exist in the same trials are modelled together (`group`)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.samplers.TPESampler(
            seed=config.seed,
            n_startup_trials=config.startup,
            multivariate=True,
            group=conditional,
            constant_liar=True,
        )


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


def _listed(domain: BaseDistribution) -> list[Any]:
    if isinstance(domain, CategoricalDistribution):
        return list(domain.choices)
    assert isinstance(domain, IntDistribution)
    return list(range(domain.low, domain.high + 1, domain.step))
