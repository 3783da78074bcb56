"""An Optuna sampler for objectives that are the mean of components, such as the AUROCs of several classes."""

import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler, GPSampler, RandomSampler, TPESampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from search.optimize.component_effects import Effects, OwnParameter, fit_effects, split_by_parameter

ComponentValues = Mapping[int, Mapping[str, float]]
"""The components' values by step; NaN is undefined. Only values of the same step are compared with each other."""

FIRST, BEST = 50, 100
"""How many trials the Gaussian process sees: of the first ones, and of the best ones among the others."""
ATTRIBUTE = re.compile(r"components:(\d+)")


def report_components(trial: optuna.Trial, values: Mapping[str, float], step: int) -> None:
    """Stores the components' values of a running trial at a step where a ComponentwiseSampler finds them."""
    trial.set_user_attr(f"components:{step}", dict(values))


def reported_components(trial: FrozenTrial) -> ComponentValues:
    """Returns what `report_components` has stored."""
    found = ((ATTRIBUTE.fullmatch(name), values) for name, values in trial.user_attrs.items())
    return {int(match[1]): values for match, values in found if match}


class ComponentwiseSampler(BaseSampler):
    """Learns a parameter that acts on one component from the values of that component alone.

    The objective, which is maximized, is the mean of several components. `component_of` names the component on which a
    parameter acts most; all other parameters are shared. The trials are modelled by `fit_effects`:

    - a categorical parameter of a component gets the choice that is best in a draw from the posterior of its effects
      (Thompson sampling; Thompson 1933);
    - shared parameters are proposed by a Gaussian process (Optuna's GPSampler) to which the value of a trial is its
      shared effect, so that it does not see what the choices of the components did; those that some trial lacks, such
      as a number that only exists for one choice, are proposed by a multivariate TPE (Bergstra et al. 2011);
    - other parameters of a component are proposed by a TPE of their own, to which the value of a trial is what no other
      effect explains of the component.

    Every `greedy_every`-th trial has the choices whose effects have the highest means, in place of a draw, except for a
    component without values. The first `n_startup_trials` trials are random, but try each choice of a categorical
    parameter equally often. A running or pruned trial counts with the values that it has; one without values is to TPE
    a poor one (`constant_liar`), and to the Gaussian process one with the expected value. Failed trials do not count.
    The Gaussian process sees `FIRST` and `BEST` trials at most.

    A proposal depends on the study's trials, the seed and the number of the trial alone.
    """

    def __init__(
        self,
        component_of: Mapping[str, str],
        component_values: Callable[[FrozenTrial], ComponentValues] = reported_components,
        seed: int | None = None,
        n_startup_trials: int = 6,
        greedy_every: int = 3,
    ):
        self.component_of, self.component_values = dict(component_of), component_values
        self.components = tuple(dict.fromkeys(component_of.values()))
        self.n_startup_trials, self.greedy_every = n_startup_trials, greedy_every
        self.seed = int(np.random.SeedSequence(seed).generate_state(1)[0])

    def reseed_rng(self) -> None:
        """Takes another seed; Optuna calls it in each process of a parallel study."""
        self.seed = int(np.random.SeedSequence().generate_state(1)[0])

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Raises ValueError if the study does not maximize one value."""
        if study.directions != [StudyDirection.MAXIMIZE]:
            raise ValueError("ComponentwiseSampler needs a study with the one direction maximize")

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Returns all parameters that any trial has had; `trial` takes the values of those that it has."""
        return {name: domain for each in _others(study, trial) for name, domain in each.distributions.items()}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Returns a value of each parameter in `search_space`."""
        others = _others(study, trial)
        ended = sum(each.state in (TrialState.COMPLETE, TrialState.PRUNED) for each in others)
        measured = [self.component_values(each) for each in others]
        if ended < self.n_startup_trials or not any(measured):
            return self._startup(trial, search_space)
        categorical = {
            name: domain
            for name, domain in search_space.items()
            if name in self.component_of and isinstance(domain, CategoricalDistribution)
        }
        owned = {name: (self.component_of[name], domain.choices) for name, domain in categorical.items()}
        effects = fit_choices([each.params for each in others], measured, owned, self.components)
        params = self._best_choices(effects, categorical, trial.number)
        shared = {name: domain for name, domain in search_space.items() if name not in self.component_of}
        known = np.array([bool(values) for values in measured])
        params |= self._shared(shared, others, np.where(known, effects.shared, np.nan), trial.number)
        for name in search_space.keys() - shared.keys() - categorical.keys():
            value = effects.residual[:, self.components.index(self.component_of[name])]
            params |= _ask(self._tpe(trial.number), {name: search_space[name]}, others, value)
        return params

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Returns a random value of a parameter that no trial has had before."""
        return self._startup(trial, {param_name: param_distribution})[param_name]

    def _startup(self, trial: FrozenTrial, space: Mapping[str, BaseDistribution]) -> dict[str, Any]:
        study, params = new_study(RandomSampler(seed=self._seed(trial.number))), {}
        for name, domain in sorted(space.items()):
            if name in self.component_of and isinstance(domain, CategoricalDistribution):
                block, place = divmod(trial.number, len(domain.choices))
                order = np.random.default_rng([self.seed, block, *name.encode()]).permutation(len(domain.choices))
                params[name] = domain.choices[order[place]]
            else:
                params |= study.ask({name: domain}).params
        return params

    def _best_choices(
        self, effects: Effects, space: Mapping[str, CategoricalDistribution], number: int
    ) -> dict[str, Any]:
        rng = np.random.default_rng(self._seed(number))
        drawn = rng.multivariate_normal(effects.own_mean, effects.own_covariance, method="cholesky")
        counts = [len(domain.choices) for domain in space.values()]
        parts = zip(split_by_parameter(effects.own_mean, counts), split_by_parameter(drawn, counts), strict=True)
        choices = {}
        for (name, domain), (mean, draw) in zip(space.items(), parts, strict=True):
            greedy = number % self.greedy_every == 0 and mean.any()
            choices[name] = domain.choices[int((mean if greedy else draw).argmax())]
        return choices

    def _shared(
        self, space: Mapping[str, BaseDistribution], trials: Sequence[FrozenTrial], values: np.ndarray, number: int
    ) -> dict[str, Any]:
        everywhere = {name: domain for name, domain in space.items() if all(name in each.params for each in trials)}
        seen = _most_informative(values)
        with quiet():
            process = GPSampler(seed=self._seed(number), n_startup_trials=0, warn_independent_sampling=False)
        proposed = _ask(process, everywhere, [trials[place] for place in seen], values[seen])
        elsewhere = {name: domain for name, domain in space.items() if name not in everywhere}
        return proposed | _ask(self._tpe(number), elsewhere, trials, values)

    def _tpe(self, number: int) -> BaseSampler:
        with quiet():
            return TPESampler(seed=self._seed(number), n_startup_trials=0, multivariate=True, constant_liar=True)

    def _seed(self, number: int) -> int:
        return int(np.random.SeedSequence([self.seed, number]).generate_state(1)[0])


def fit_choices(
    params: Sequence[Mapping[str, Any]],
    measured: Sequence[ComponentValues],
    owned: Mapping[str, tuple[str, Sequence[Any]]],
    components: Sequence[str],
) -> Effects:
    """Returns the effects of choices in trials with these parameters and values; at least one trial has values.

    `owned` gives for each categorical parameter the component on which it acts, and its choices.
    """
    own = [
        OwnParameter(
            components.index(component),
            np.array([choices.index(each[name]) if name in each else -1 for each in params]),
            len(choices),
        )
        for name, (component, choices) in owned.items()
    ]
    return fit_effects(_array(measured, components), own)


def _most_informative(values: np.ndarray) -> np.ndarray:
    """Returns int (N,): which of the trials the Gaussian process sees, whose cost grows with the cube of their number.

    They are those without a value (NaN), the FIRST ones, which lie everywhere, and the BEST of the others.
    """
    known = np.flatnonzero(~np.isnan(values))
    later = known[FIRST:]
    best = later[np.argsort(-values[later], kind="stable")[:BEST]]
    return np.sort(np.concatenate([np.flatnonzero(np.isnan(values)), known[:FIRST], best]))


def _ask(
    sampler: BaseSampler,
    space: Mapping[str, BaseDistribution],
    trials: Iterable[FrozenTrial],
    values: np.ndarray,
) -> dict[str, Any]:
    """Returns the sampler's proposal in `space` for trials with these values; a NaN is that of a running trial."""
    if not space:
        return {}
    study = new_study(sampler)
    for trial, value in zip(trials, values, strict=True):
        params = {name: trial.params[name] for name in space if name in trial.params}
        running = bool(np.isnan(value))
        if params and not (running and trial.state.is_finished()):
            domains = {name: space[name] for name in params}
            state = TrialState.RUNNING if running else TrialState.COMPLETE
            told = None if running else float(value)
            study.add_trial(create_trial(state=state, value=told, params=params, distributions=domains))
    return dict(study.ask(dict(space)).params)


def _others(study: optuna.Study, trial: FrozenTrial) -> list[FrozenTrial]:
    """Returns the other trials of the study but failed ones, whose values are those from before they failed."""
    trials = study.get_trials(deepcopy=False)
    return [each for each in trials if each.number != trial.number and each.state != TrialState.FAIL]


def new_study(sampler: BaseSampler) -> optuna.Study:
    """Returns a study in memory that maximizes."""
    with quiet():
        return optuna.create_study(direction=StudyDirection.MAXIMIZE, sampler=sampler)


@contextmanager
def quiet() -> Iterator[None]:
    """Hides what Optuna logs, and its warnings of experimental features, where a study serves only one proposal."""
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(max(verbosity, optuna.logging.WARNING))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(verbosity)


def _array(measured: Sequence[ComponentValues], components: Sequence[str]) -> np.ndarray:
    """Returns float (T, C, S): each trial's values at the steps at which some trial has its last ones."""
    steps = sorted({max(values) for values in measured if values})
    return np.array(
        [
            [[values.get(step, {}).get(component, np.nan) for step in steps] for component in components]
            for values in measured
        ]
    )
