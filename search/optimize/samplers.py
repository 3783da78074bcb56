"""Proposes the next trial, as a pure function of the trials so far: a sampler has no state besides the study."""

import itertools
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, GPSampler, QMCSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState, create_trial
from pydantic import Field, model_validator

from chex.errors import InputError
from chex.runtime.threads import one_thread
from chex.schema.strict_model import Strict
from chex.statistics.metrics import METRIC
from search.optimize.componentwise_sampler import ComponentwiseSampler, new_study, quiet
from search.space.space import Space
from search.trials.stored_reports import stored_reports

AUROC_OF = "auroc/"
"""What comes before the observation in a report's name of its AUROC."""
MAX_RANDOM_PROPOSALS = 1000
"""The search gives up after this many random proposals that violate a constraint."""
MAX_MODEL_PROPOSALS = 20
"""After this many proposals of a model that violate a constraint or repeat a trial, a random one is used."""

Feasible = Callable[[Mapping[str, Any]], bool]


class SamplerConfig(Strict):
    """The sampler, which proposes trials."""

    kind: Literal["auto", "by_observation", "tpe", "random", "gp", "qmc", "grid"] = "auto"
    """`auto`: `by_observation` for a space with policies of two or more observations, else `tpe`; `by_observation`:
    each policy by the AUROC of its own observation (see ComponentwiseSampler); `tpe`: multivariate tree-structured
    Parzen estimator (Bergstra et al. 2011; Falkner et al. 2018), which counts running trials as poor ones; `gp`:
    Gaussian process, which draws conditional parameters at random; `qmc`: scrambled Sobol points, which draws choices
    at random; `grid`: every combination of choices and whole numbers."""
    seed: int = Field(0, ge=0, lt=2**32)
    n_startup_trials: int = Field(6, ge=1)
    """How many trials are drawn at random before by_observation, tpe or gp propose."""

    def resolved(self, space: Space) -> "SamplerConfig":
        """Returns the config with the kind that `auto` stands for in `space`.

        Raises InputError if the kind is `by_observation` and the space has policies of fewer than two observations.
        """
        observations = set(policy_observations(space).values())
        if self.kind == "by_observation" and len(observations) < 2:
            have = f"a policy of {', '.join(observations)} alone" if observations else "no policy of an observation"
            raise InputError(
                f"sampler.kind=by_observation: needs policies of two or more observations to tell apart, and the space "
                f"has {have}; search policy.<observation> for more of data.observations, or use sampler.kind=tpe"
            )
        if self.kind != "auto":
            return self
        return self.model_copy(update={"kind": "by_observation" if len(observations) > 1 else "tpe"})

    @model_validator(mode="before")
    @classmethod
    def _kind_alone(cls, value: Any) -> Any:
        return {"kind": value} if isinstance(value, str) else value


def policy_observations(space: Space) -> dict[str, str]:
    """Returns the observation of each parameter that acts on the policy of one observation."""
    paths = ((path, path.split(".")) for path in space)
    return {path: names[1] for path, names in paths if names[0] == "policy" and names[1] != "default"}


def unjudged_policies_note(config: SamplerConfig, space: Space, scored_observations: Collection[str]) -> str | None:
    """Returns what happens to the policies of observations whose AUROC is undefined; None if it is defined for all."""
    observations = policy_observations(space).values()
    unjudged = [name for name in dict.fromkeys(observations) if name not in scored_observations]
    if not unjudged or config.resolved(space).kind != "by_observation":
        return None
    return (
        f"AUROC is undefined for {', '.join(unjudged)} (one class in the validation split): nothing tells their "
        "policies apart, so they are drawn at random"
    )


def observation_aurocs(trial: FrozenTrial) -> dict[int, dict[str, float]]:
    """Returns the AUROC of each observation after each report, by the report's number from 1.

    They are those of the weights that the trial keeps at that point: of its report with the highest mean AUROC so far.
    Trials of one search report at equal shares of their schedules, so that equal numbers can be compared. An AUROC is
    NaN if an observation has one class only.
    """
    return kept_aurocs(stored_reports(trial))


def kept_aurocs(reports: Iterable[Mapping[str, Any]]) -> dict[int, dict[str, float]]:
    """Returns what `observation_aurocs` does, from a trial's reports in order."""
    aurocs: dict[int, dict[str, float]] = {}
    kept: Mapping[str, Any] = {}
    for number, report in enumerate(reports, 1):
        if not kept or report[METRIC] > kept[METRIC]:
            kept = report
        aurocs[number] = {
            name.removeprefix(AUROC_OF): value for name, value in kept.items() if name.startswith(AUROC_OF)
        }
    return aurocs


def propose(
    config: SamplerConfig,
    space: Space,
    points: Sequence[Mapping[str, Any]],
    history: Sequence[FrozenTrial],
    feasible: Feasible = lambda params: True,
    earlier: Sequence[FrozenTrial] = (),
) -> dict[str, Any]:
    """Returns the values of the trial after those of `history`: the next of `points` if any is left, or a proposal.

    The sampler also learns from trials of an `earlier` search, and may repeat one. The same arguments give the same
    values. A trial with the values of one in `history` would only repeat its result, so such values are returned only
    if no other feasible proposal is found. Raises InputError if no proposal of MAX_RANDOM_PROPOSALS is feasible, and at
    the end of a grid.
    """
    config, number = config.resolved(space), len(history)
    if number < len(points):
        return dict(points[number])
    if config.kind == "grid":
        raise InputError(f"sampler.kind=grid: all {len(points)} points of the grid have been tried")
    if config.kind == "qmc":
        proposals = _sobol_points(config, space, MAX_RANDOM_PROPOSALS + number)
    else:
        proposals = _proposals(config, space, history, earlier)
    tried = [trial.params for trial in history]
    repeated = None
    for values in filter(feasible, proposals):
        if values not in tried:
            return values
        repeated = repeated or values
    if repeated is None:
        raise InputError(
            f"constraints: {MAX_RANDOM_PROPOSALS} proposals in a row violated them; "
            "widen the space, or drop a constraint"
        )
    return repeated


def _proposals(
    config: SamplerConfig, space: Space, history: Sequence[FrozenTrial], earlier: Sequence[FrozenTrial]
) -> Iterator[dict[str, Any]]:
    """Yields proposals for one trial: first those of the model, then random ones.

    A refused proposal stays in the study as a running trial, so that both models look elsewhere next. Optuna's
    `constraints_func` is not used, because it would need a value for this trial, and none was measured.
    """
    seed = int(np.random.SeedSequence([config.seed, len(history)]).generate_state(1)[0])
    trials = [_as_model_sees(config, trial) for trial in (*earlier, *history)]
    ended = sum(trial.state in (TrialState.COMPLETE, TrialState.PRUNED) for trial in trials)
    if config.kind == "by_observation" or (config.kind in ("tpe", "gp") and ended >= config.n_startup_trials):
        study = new_study(_model_sampler(config, space, seed))
        study.add_trials(trials)
        for _ in range(MAX_MODEL_PROPOSALS):
            with one_thread():
                values = _suggest_values(study.ask(), space)
            yield values
    study = new_study(RandomSampler(seed=seed))
    for _ in range(MAX_RANDOM_PROPOSALS):
        yield _suggest_values(study.ask(), space)


def _as_model_sees(config: SamplerConfig, trial: FrozenTrial) -> FrozenTrial:
    """Returns the trial in the form from which the model learns.

    The Gaussian process would ignore a pruned trial, so it gets the trial as complete, with its last value. TPE itself
    ranks pruned trials below all finished ones.
    """
    if config.kind != "gp" or trial.state != TrialState.PRUNED or not trial.intermediate_values:
        return trial
    value = trial.intermediate_values[max(trial.intermediate_values)]
    return create_trial(value=value, params=trial.params, distributions=trial.distributions)


def _sobol_points(config: SamplerConfig, space: Space, length: int) -> Iterator[dict[str, Any]]:
    """Yields the first `length` points of a scrambled Sobol sequence."""
    with quiet():
        study = new_study(QMCSampler(scramble=True, seed=config.seed, warn_independent_sampling=False))
    study.add_trial(_trial_of_all_params(space))
    for _ in range(length):
        yield _suggest_values(study.ask(), space)


def grid(space: Space) -> list[dict[str, Any]]:
    """Returns every combination of the parameters' values; the first parameter changes fastest.

    Raises InputError if a parameter is continuous or conditional.
    """
    for path, param in space.items():
        if param.condition or isinstance(param.domain, FloatDistribution):
            raise InputError(
                f"space.{path}: sampler.kind=grid needs a choice or whole numbers, without a condition; "
                "use choice: [...], or sampler.kind=tpe"
            )
    paths = list(space)[::-1]
    combinations = itertools.product(*(_list_values(space[path].domain) for path in paths))
    return [dict(zip(paths[::-1], values[::-1], strict=True)) for values in combinations]


def _model_sampler(config: SamplerConfig, space: Space, seed: int) -> BaseSampler:
    if config.kind == "by_observation":
        owners = policy_observations(space)
        return ComponentwiseSampler(owners, observation_aurocs, config.seed, config.n_startup_trials)
    if config.kind == "gp":
        with quiet():
            return GPSampler(seed=seed, n_startup_trials=config.n_startup_trials)
    with quiet():
        return TPESampler(
            seed=seed,
            n_startup_trials=config.n_startup_trials,
            multivariate=True,
            group=any(param.condition for param in space.values()),
            constant_liar=True,
        )


def _trial_of_all_params(space: Space) -> FrozenTrial:
    """Returns a trial with every parameter, since the first trial sets the dimensions of Optuna's sequence."""
    domains = {path: param.domain for path, param in space.items()}
    return create_trial(
        value=0.0, distributions=domains, params={path: _first_value(domain) for path, domain in domains.items()}
    )


def _first_value(domain: BaseDistribution) -> Any:
    return domain.choices[0] if isinstance(domain, CategoricalDistribution) else domain.low  # type: ignore[attr-defined]


def _suggest_values(trial: optuna.Trial, space: Space) -> dict[str, Any]:
    """Returns the trial's values of the parameters that exist, in the space's order."""
    values: dict[str, Any] = {}
    for path, param in space.items():
        if param.exists(values):
            values[path] = _suggest(trial, path, param.domain)
    return values


def _suggest(trial: optuna.Trial, path: str, domain: BaseDistribution) -> Any:
    if isinstance(domain, CategoricalDistribution):
        return trial.suggest_categorical(path, domain.choices)
    if isinstance(domain, IntDistribution):
        return trial.suggest_int(path, domain.low, domain.high, log=domain.log, step=domain.step)
    assert isinstance(domain, FloatDistribution)
    return trial.suggest_float(path, domain.low, domain.high, log=domain.log, step=domain.step)


def _list_values(domain: BaseDistribution) -> list[Any]:
    if isinstance(domain, CategoricalDistribution):
        return list(domain.choices)
    assert isinstance(domain, IntDistribution)
    return list(range(domain.low, domain.high + 1, domain.step))
