"""What a search proves about each value of its parameters: the strategy table.

It is computed from draws of the model in trial_model.py, which counts pruned trials for what they reported.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from chex.runtime.rng import rng_for
from chex.runtime.threads import one_thread
from chex.statistics.intervals import Estimate, named_ends
from search.analysis.effect_draws import TermDraws, draw_terms
from search.analysis.trial_terms import Term, patient_covariance, stage_aurocs, trial_terms
from search.space.space import Space
from search.trials.trial import TrialRecord

if TYPE_CHECKING:
    import pandas as pd

LEVEL = 0.95
MIN_TRIALS = 6
"""With fewer finished and pruned trials there is no table; it would be noise."""
MEAN = "mean"
COLUMNS = (
    *("param", "value", "outcome", "trials", "finished", "reference", "effect", "effect_low", "effect_high"),
    *("over_others", "over_others_low", "over_others_high", "probability", "may_be_best", "claim"),
)
Claim = Literal["better", "worse", ""]


@dataclass(frozen=True)
class ValueEffect:
    """A value of a categorical parameter, such as the policy of an observation."""

    param: str
    value: str
    outcome: str
    """The AUROC that it is judged by: an observation's for a parameter `policy.<observation>`, else `mean`."""
    trials: int
    """How many trials have it: those that finished or were pruned."""
    finished: int
    reference: str
    """The value with which `effect` compares it: the base run's if a trial has it, else the one with most trials."""
    effect: Estimate
    """The AUROC at the end of a trial with this value minus that with `reference`, all else equal. Its interval covers
    patients and trials; that of the reference itself has no width."""
    over_others: Estimate
    """The AUROC with this value minus the mean of those with each other value that trials have."""
    probability: float
    """How probable it is that it is the best of the values that trials have."""
    may_be_best: bool
    """Whether it is in the smallest set of values that holds the best one with a probability of 95 %."""
    claim: Claim
    """Whether it is proven to be better or worse than the other values on average. All claims of a search hold together
    with a probability of 95 %; "" makes no claim."""


@dataclass(frozen=True)
class Slope:
    """A parameter that is a number."""

    param: str
    effect: Estimate
    """By how much AUROC rises from the lower to the upper end of the range (on the log scale if it has one), if it
    rises everywhere as it does at the average trial; negative if it falls."""
    claim: Claim
    """Whether AUROC is proven to rise (`better`) or to fall (`worse`) with the parameter."""


@dataclass(frozen=True)
class Strategies:
    """What a search proves about its parameters."""

    values: tuple[ValueEffect, ...] = ()
    """In the order of the space."""
    slopes: tuple[Slope, ...] = ()
    final_aurocs: dict[int, float] = field(default_factory=dict)
    """By trial: the mean AUROC at the end of its schedule, as expected from what it reported if it was pruned."""
    config_aurocs: dict[int, Estimate] = field(default_factory=dict)
    """By trial: the mean AUROC, on other patients like these, that its config is expected to reach at the end of its
    schedule when it is trained again, if all that parameters do not explain is luck."""

    def of(self, param: str) -> list[ValueEffect]:
        """Returns the values of `param`."""
        return [each for each in self.values if each.param == param]

    def table(self) -> "pd.DataFrame":
        """Returns strategies.csv: a row for each value, and for each number with a blank `value`.

        `effect` is the AUROC minus that with `reference`, or a number's slope over its range; `claim` is what is
        proven.
        """
        import pandas as pd

        values = [_row(each) for each in self.values]
        slopes = [
            {"param": each.param, **named_ends("effect", each.effect), "claim": each.claim} for each in self.slopes
        ]
        table = pd.DataFrame([*values, *slopes], columns=list(COLUMNS))
        return table.astype({"trials": "Int64", "finished": "Int64"})

    @property
    def params(self) -> list[str]:
        """The categorical parameters with two or more values in trials."""
        return list(dict.fromkeys(each.param for each in self.values))


def _row(value: ValueEffect) -> dict[str, Any]:
    return {
        "param": value.param,
        "value": value.value,
        "outcome": value.outcome,
        "trials": value.trials,
        "finished": value.finished,
        "reference": value.reference,
        **named_ends("effect", value.effect),
        **named_ends("over_others", value.over_others),
        "probability": value.probability,
        "may_be_best": value.may_be_best,
        "claim": value.claim,
    }


@dataclass(frozen=True)
class _Difference:
    """Draws of a difference that is claimed to be above or below 0."""

    param: str
    value: str
    draws: np.ndarray

    @property
    def claim(self) -> Claim:
        return "better" if np.median(self.draws) > 0 else "worse"

    @property
    def holds(self) -> np.ndarray:
        """bool (D,): in which draws the claim is true."""
        true: np.ndarray = self.draws > 0 if self.claim == "better" else self.draws < 0
        return true


def search_strategies(
    trials: Sequence[TrialRecord],
    space: Space,
    observations: Sequence[str],
    base: Mapping[str, Any],
    influences: Sequence[np.ndarray],
    seed: int,
) -> Strategies:
    """Returns the table of a search; without entries for fewer than MIN_TRIALS trials, or if no parameter varies.

    `trials` finished or were pruned and have a result. `observations` are those whose AUROC is defined; `influences`
    has for each of them float (P, T): the influence of each patient on the AUROC of the weights that a trial keeps.
    """
    terms = trial_terms([trial.params for trial in trials], space, observations)
    if len(trials) < MIN_TRIALS or not terms:
        return Strategies(final_aurocs={trial.number: trial.value for trial in trials})
    from search.analysis.trial_model import fit_trial_model  # imports torch, which is slow

    with one_thread():
        likelihood = fit_trial_model(stage_aurocs(trials, observations), terms)
        patients = patient_covariance(terms, likelihood.loadings, influences)
        draws = draw_terms(likelihood, patients, rng_for(seed, "effects"))
    numbers = [trial.number for trial in trials]
    configs = (_estimate(each) for each in config_draws(draws).T)
    return replace(
        strategies(draws, trials, observations, base),
        final_aurocs=dict(zip(numbers, likelihood.final_aurocs.tolist(), strict=True)),
        config_aurocs=dict(zip(numbers, configs, strict=True)),
    )


def config_draws(draws: TermDraws) -> np.ndarray:
    """Returns float (D, T): the mean AUROC at the end of each trial's config, without what is luck."""
    shares = np.array([1.0 if term.observation is None else 1 / draws.means.shape[1] for term in draws.terms])
    columns = np.stack([term.column for term in draws.terms], axis=1)
    config: np.ndarray = draws.means.mean(axis=1)[:, None] + (draws.values * shares) @ columns.T
    return config


def strategies(
    draws: TermDraws, trials: Sequence[TrialRecord], observations: Sequence[str], base: Mapping[str, Any]
) -> Strategies:
    """Returns the table of the parameters of `trials`; `base` has the base run's value of each parameter."""
    groups = _groups(draws.terms)
    over_others = {
        (param, draws.terms[place].value): draws.values[:, place]
        - draws.values[:, [*({*places} - {place})]].mean(axis=1)
        for param, places in groups.items()
        for place in places
    }
    numbers = {term.param: draws.values[:, place] for place, term in enumerate(draws.terms) if term.value == ""}
    differences = [_Difference(*key, each) for key, each in over_others.items()]
    differences += [_Difference(param, "", each) for param, each in numbers.items()]
    claims = {(each.param, each.value): each.claim for each in _claimed(differences)}
    values: list[ValueEffect] = []
    for param, places in groups.items():
        names = [draws.terms[place].value for place in places]
        counts = [_count(trials, param, name) for name in names]
        reference = _reference(names, [trials for trials, _ in counts], str(base.get(param)))
        drawn = draws.values[:, places]
        probability = np.bincount(drawn.argmax(axis=1), minlength=len(names)) / len(drawn)
        may_be_best = credible_set(probability)
        observation = draws.terms[places[0]].observation
        for place, (name, (with_value, finished)) in enumerate(zip(names, counts, strict=True)):
            values.append(
                ValueEffect(
                    param,
                    name,
                    MEAN if observation is None else observations[observation],
                    with_value,
                    finished,
                    reference,
                    _estimate(drawn[:, place] - drawn[:, names.index(reference)]),
                    _estimate(over_others[param, name]),
                    float(probability[place]),
                    bool(may_be_best[place]),
                    claims.get((param, name), ""),
                )
            )
    slopes = [Slope(param, _estimate(each), claims.get((param, ""), "")) for param, each in numbers.items()]
    return Strategies(tuple(values), tuple(slopes))


def credible_set(probability: np.ndarray) -> np.ndarray:
    """Returns bool (V,): the fewest values whose probabilities of being the best, float (V,), sum to LEVEL."""
    order = np.argsort(-probability, kind="stable")
    count = int(np.searchsorted(np.cumsum(probability[order]), LEVEL)) + 1
    return np.isin(np.arange(len(probability)), order[:count])


def _groups(terms: Sequence[Term]) -> dict[str, list[int]]:
    """Returns the places of the terms of each categorical parameter."""
    groups: dict[str, list[int]] = {}
    for place, term in enumerate(terms):
        if term.is_effect:
            groups.setdefault(term.param, []).append(place)
    return groups


def _claimed(differences: Sequence[_Difference]) -> list[_Difference]:
    """Returns those whose claims all hold together with a probability of LEVEL, the most probable first.

    Of two values of a parameter one is better exactly if the other is worse, so that both are claimed at once.
    """
    holds = np.ones(len(differences[0].draws), dtype=bool) if differences else np.ones(0, dtype=bool)
    claimed = []
    for each in sorted(differences, key=lambda each: -each.holds.mean()):
        if (holds & each.holds).mean() < LEVEL:
            break
        holds &= each.holds
        claimed.append(each)
    return claimed


def _reference(names: Sequence[str], counts: Sequence[int], base: str) -> str:
    return base if base in names else names[int(np.argmax(counts))]


def _count(trials: Sequence[TrialRecord], param: str, value: str) -> tuple[int, int]:
    """Returns how many trials have the value, and how many of these finished."""
    having = [trial for trial in trials if param in trial.params and str(trial.params[param]) == value]
    return len(having), sum(trial.state == "finished" for trial in having)


def _estimate(draws: np.ndarray) -> Estimate:
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(float(draws.mean()), float(low), float(high))
