"""Optuna's proposals, and what it is told of a trial's end."""

import math
import warnings
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from pydantic import BaseModel, ConfigDict, Field
from ray.tune.search.optuna import OptunaSearch

from chex.metrics import METRIC, MODE
from search.space import Space

COMPLETE_PERCENT = 100


class SamplerConfig(BaseModel):
    """How trials are proposed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

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
        return trial.suggest_int(path, domain.low, domain.high)
    assert isinstance(domain, FloatDistribution)
    return trial.suggest_float(path, domain.low, domain.high, log=domain.log)


def build_searcher(space: Space, config: SamplerConfig, first: dict[str, Any] | None = None) -> TruthfulOptunaSearch:
    """TPE over `space`, seeded, maximising METRIC; it proposes the point `first` before all others.

    Knobs that exist in the same trials are modelled together (Optuna's `group`).
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    conditional = any(knob.when for knob in space.values())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler = optuna.samplers.TPESampler(
            seed=config.seed,
            n_startup_trials=config.startup,
            multivariate=True,
            group=conditional,
            constant_liar=True,
        )
    return TruthfulOptunaSearch(
        space=Conditional(space) if conditional else {path: knob.domain for path, knob in space.items()},
        points_to_evaluate=[first] if first else None,
        metric=METRIC,
        mode=MODE,
        sampler=sampler,
    )
