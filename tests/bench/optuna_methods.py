"""Ways to search with Optuna: a sampler, a stopping rule, and what the sampler is told of a stopped trial."""

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np
import optuna
from optuna.distributions import FloatDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from chex.runtime.rng import rng_for, seed_for
from search.optimize.componentwise_sampler import ComponentwiseSampler
from search.optimize.pruning import LearningCurves, PruningConfig, RungReport, should_prune
from search.space.space import Space
from tests.bench.points import draw
from tests.bench.search_arena import Sample, Trial, highest

warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
optuna.logging.set_verbosity(optuna.logging.ERROR)
LOW, LOW_DOMAIN = "policy.Edema.low", FloatDistribution(0.5, 0.85)
Rule = Callable[[int, LearningCurves], bool]
Told = Callable[[Trial, Sequence[Trial]], tuple[TrialState, float | None] | None]
"""State and value of a stopped trial for Optuna, given all trials; None: it is left out."""


def as_pruned(trial: Trial, trials: Sequence[Trial]) -> tuple[TrialState, float | None] | None:
    """As Optuna has it: PRUNED, with what was reported."""
    return TrialState.PRUNED, None


def left_out(trial: Trial, trials: Sequence[Trial]) -> tuple[TrialState, float | None] | None:
    return None


def as_complete(trial: Trial, trials: Sequence[Trial]) -> tuple[TrialState, float | None] | None:
    """As if it had finished with its best value so far."""
    return TrialState.COMPLETE, trial.value


def extrapolated(trial: Trial, trials: Sequence[Trial]) -> tuple[TrialState, float | None] | None:
    """As if it had gained what finished trials gained in the middle from the same percentage on."""
    percent = trial.points[-1].percent
    gains = [
        other.value - value
        for other in trials
        if other.state == "finished" and (value := value_at(other.lifted, percent)) is not None
    ]
    return TrialState.COMPLETE, trial.value + (median(gains) if gains else 0.0)


def value_at(points: Sequence[RungReport], percent: int) -> float | None:
    """The value of the last report up to a percentage; None where there is none."""
    values = [point.value for point in points if point.percent <= percent]
    return values[-1] if values else None


def asha(grace: int, factor: float, unit: str = "percent") -> Rule:
    rule = PruningConfig(time_attr=unit, grace_period=grace, reduction_factor=factor)  # type: ignore[arg-type]
    return lambda trial, curves: should_prune(rule, trial, curves)


def envelope(grace: int, best: int) -> Rule:
    """Cuts a trial below what every one of the `best` finished trials had at the same percentage."""

    def rule(trial: int, curves: LearningCurves) -> bool:
        last = curves[trial][-1]
        if last.percent < grace:
            return False
        ended = [points for points in curves.values() if points[-1].percent >= 100]
        if len(ended) < best:
            return False
        top = sorted(ended, key=lambda points: -points[-1].value)[:best]
        bar = [value for points in top if (value := value_at(points, last.percent)) is not None]
        return bool(bar) and last.value < min(bar)

    return rule


def median_rule(grace: int, least: int) -> Rule:
    """Vizier's: cuts a trial below the median of `least` or more others at the same percentage."""

    def rule(trial: int, curves: LearningCurves) -> bool:
        last = curves[trial][-1]
        if last.percent < grace:
            return False
        others = [
            value
            for number, points in curves.items()
            if number != trial
            and points[-1].percent >= last.percent
            and (value := value_at(points, last.percent)) is not None
        ]
        return len(others) >= least and last.value < float(np.median(others))

    return rule


@dataclass(frozen=True)
class Method:
    """One way to search."""

    name: str
    sampler: Callable[[int], optuna.samplers.BaseSampler]
    """From a seed."""
    rule: Rule | None = None
    told: Told = as_pruned
    startup: int = 0
    """Of the first so many trials each is the cheapest of `frugal` points drawn at random."""
    frugal: int = 1
    current: bool = False
    """Compare each report's own value, not the best so far."""
    finished_only: bool = False
    """Only a finished trial can win."""
    first: Callable[[Space], list[Sample]] | None = None
    """Points to try before any proposal."""
    one_seed: bool = False
    """Whether the sampler has the same seed for all trials, because it draws from the trial's number by itself."""
    condition: bool = False
    """Whether the space also has LOW, which exists for one policy of Edema and changes nothing."""
    confirm: tuple[float, int] | None = None
    """From this share of the budget on, the best few (how many) run again under new seeds, and their means decide."""

    def __call__(self, space: Space, seed: int) -> "OptunaSearcher":
        return OptunaSearcher(self, space, seed)


class OptunaSearcher:
    """A search by a Method."""

    def __init__(self, method: Method, space: Space, seed: int):
        self.method, self.space, self.seed = method, space, seed
        self.first = method.first(space) if method.first else []
        self.finalists: list[Sample] = []

    def propose(self, trials: Sequence[Trial], spent: float) -> Sample:
        if len(trials) < len(self.first):
            return self.first[len(trials)]
        if self.method.confirm and spent >= self.method.confirm[0]:
            self.finalists = self.finalists or self._best(trials, self.method.confirm[1])
            if self.finalists:
                return min(self.finalists, key=lambda sample: len(runs_of(trials, sample)))
        if len(trials) < self.method.startup:
            rng = rng_for(self.seed, "startup", len(trials))
            return min((draw(self.space, rng) for _ in range(self.method.frugal)), key=length)
        return proposed(self.method, self.space, trials, self.seed)

    def stops(self, trial: Trial, trials: Sequence[Trial]) -> bool:
        if self.method.rule is None or trial.sample in self.finalists:
            return False
        curves = {
            other.number: other.points if self.method.current else other.lifted for other in trials if other.points
        }
        return self.method.rule(trial.number, curves)

    def ended(self, trial: Trial) -> None:
        pass

    def leader(self, trials: Sequence[Trial]) -> Trial | None:
        if self.finalists:
            runs = [[run for run in runs_of(trials, sample) if run.state == "finished"] for sample in self.finalists]
            known = [each for each in runs if len(each) > 1]
            if known:
                best = max(known, key=lambda each: sum(run.value for run in each) / len(each))
                return highest(best)
        if self.method.finished_only:
            trials = [trial for trial in trials if trial.state == "finished"] or trials
        return highest(trials)

    def _best(self, trials: Sequence[Trial], count: int) -> list[Sample]:
        valued = [trial for trial in trials if not math.isnan(trial.value)]
        return [trial.sample for trial in sorted(valued, key=lambda trial: -trial.value)[:count]]


def length(sample: Sample) -> float:
    """What a run of this point costs against one of a single epoch of all images, balance apart."""
    return float(sample.get("schedule.epochs", 1) * sample.get("sampling.fraction", 1))


def runs_of(trials: Sequence[Trial], sample: Sample) -> list[Trial]:
    return [trial for trial in trials if trial.sample == sample]


def proposed(method: Method, space: Space, trials: Sequence[Trial], seed: int) -> Sample:
    """The next point: one ask of a sampler seeded anew, in a study that holds what is known of all trials."""
    sampler = method.sampler(seed if method.one_seed else seed_for(seed, "propose", len(trials)) % 2**32)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    study.add_trials([told for trial in trials if (told := frozen(method, space, trial, trials)) is not None])
    trial = study.ask({path: param.domain for path, param in space.items()})
    if method.condition and trial.params["policy.Edema"] == "smoothed_ones":
        trial.suggest_float(LOW, LOW_DOMAIN.low, LOW_DOMAIN.high)
    return dict(trial.params)


def frozen(method: Method, space: Space, trial: Trial, trials: Sequence[Trial]) -> FrozenTrial | None:
    """What Optuna is told of a trial; None: nothing."""
    told: tuple[TrialState, float | None] | None = TrialState.RUNNING, None
    if trial.state == "finished":
        told = TrialState.COMPLETE, trial.value
    elif trial.state == "failed":
        told = TrialState.FAIL, None
    elif trial.state == "pruned":
        told = method.told(trial, trials)
    if told is None:
        return None
    reports = {p.percent: p.value for p in trial.lifted} if told[0] == TrialState.PRUNED else {}
    domains = {path: LOW_DOMAIN if path == LOW else space[path].domain for path in trial.sample}
    return create_trial(
        state=told[0],
        value=told[1],
        params=trial.sample,
        distributions=domains,
        intermediate_values=reports,
        user_attrs={f"components:{step}": values for step, values in component_values(trial).items()},
    )


def component_values(trial: Trial) -> dict[int, dict[str, float]]:
    """The AUROC of each observation at each percentage, by the weights that the trial keeps then."""
    values = {}
    for place, point in enumerate(trial.points):
        kept = max(trial.points[: place + 1], key=lambda each: each.value)
        values[point.percent] = {str(k): value for k, value in enumerate(kept.values)}
    return values


def tpe(startup: int = 10, **settings: Any) -> Callable[[int], optuna.samplers.BaseSampler]:
    chosen = {"multivariate": True, "constant_liar": True} | settings
    return lambda seed: optuna.samplers.TPESampler(seed=seed, n_startup_trials=startup, **chosen)


def optuna_default(seed: int) -> optuna.samplers.BaseSampler:
    """TPE as `optuna.create_study()` has it."""
    return optuna.samplers.TPESampler(seed=seed)


def by_observation(observations: Sequence[str], **settings: Any) -> Callable[[int], optuna.samplers.BaseSampler]:
    owners = {f"policy.{name}": str(k) for k, name in enumerate(observations)}
    owners[LOW] = owners["policy.Edema"]
    return lambda seed: ComponentwiseSampler(owners, seed=seed, **settings)


def random(seed: int) -> optuna.samplers.BaseSampler:
    return optuna.samplers.RandomSampler(seed=seed)


def gp(startup: int = 10) -> Callable[[int], optuna.samplers.BaseSampler]:
    return lambda seed: optuna.samplers.GPSampler(seed=seed, n_startup_trials=startup)
