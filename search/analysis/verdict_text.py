"""Formats a verdict as sentences and short tables, at most 80 columns wide."""

import math
import textwrap

from chex.reporting.console import format_decimal, with_interval
from chex.statistics.intervals import Estimate
from search.analysis.ensemble import Ensemble
from search.analysis.importance import Importances
from search.analysis.strategies import MIN_TRIALS, Strategies, ValueEffect
from search.analysis.verdict import Verdict

WIDTH = 80
MAX_ROWS = 10
"""The maximum number of trials in the table of trials, or in the sentence about the ensemble."""
HELD_OUT = "held out"
"""The name of the scored units ends with these words if the units were held out from train.csv."""
POLICY = "policy."
SURE = 0.99
"""A probability above is not told more exactly."""
MIN_POSITIVES = 10
"""With fewer positives, the AUROC of an observation is unreliable."""


def verdict_text(verdict: Verdict, unit: str = "images") -> str:
    """Returns the whole verdict; the most important part is last, where a terminal shows it.

    `unit` is the name of the scored units, for example "images".
    """
    parts = [
        *([_importances(verdict.importances)] if verdict.importances else []),
        strategy_table(verdict.strategies),
        _observations(verdict),
        policies(verdict.strategies),
        _trials(verdict),
        *([_ensemble(verdict.ensemble)] if verdict.ensemble else []),
        ["What this does not prove:", *unproven(verdict, unit)],
        sentences(verdict, unit),
    ]
    return "\n\n".join("\n".join(part) for part in parts if part)


def sentences(verdict: Verdict, unit: str = "images") -> list[str]:
    """Returns `key_findings` in lines of at most WIDTH characters."""
    return [line for text in key_findings(verdict, unit) for line in _wrap(text)]


def key_findings(verdict: Verdict, unit: str = "images") -> tuple[str, str, str]:
    """Returns three sentences: the winner, the trials that may be as good, and what is proven about parameters."""
    return _winner(verdict, unit), _tied(verdict), _proven(verdict)


def policies(strategies: Strategies) -> list[str]:
    """Returns the most probable policy of each observation, and the next one; empty if the search compared none."""
    params = [param for param in strategies.params if param.startswith(POLICY)]
    if not params:
        return []
    lines = []
    for param in params:
        first, *others = sorted(strategies.of(param), key=lambda each: -each.probability)
        then = [
            f"   then {each.value} {_probability(each.probability)}"
            for each in others[:1]
            if each.probability > 1 - SURE
        ]
        name = param.removeprefix(POLICY)
        lines.append("".join([f"  {name:<28}{first.value:<16}{_probability(first.probability):>5}", *then]))
    return [*_wrap("The policy of each observation, and how probable it is that it is the best:"), *lines]


def strategy_table(strategies: Strategies) -> list[str]:
    """Returns a table of the values of each categorical parameter, and one of the numbers."""
    lines: list[str] = []
    for param in strategies.params:
        values = strategies.of(param)
        head = (
            f"{param} by {_outcome(values[0])}: trials (finished), difference from {values[0].reference}, and the "
            "probability to be the best (*: may be the best):"
        )
        lines += ["", *_wrap(head), *(_value_line(each) for each in values)]
    if strategies.slopes:
        head = (
            "Numbers: AUROC at the upper end of the range minus at the lower end, if it rises everywhere as it does at "
            "the average trial:"
        )
        lines += ["", *_wrap(head), *(f"  {each.param:<36}{_gap(each.effect)}" for each in strategies.slopes)]
    return lines[1:]


def _outcome(value: ValueEffect) -> str:
    return "the mean AUROC" if value.outcome == "mean" else f"the AUROC of {value.outcome}"


def _value_line(value: ValueEffect) -> str:
    counts = f"{value.trials} ({value.finished})"
    difference = "-" if value.value == value.reference else _gap(value.effect)
    star = " *" if value.may_be_best else ""
    return f"  {value.value:<20}{counts:>9}  {difference:<28}{_probability(value.probability):>6}{star}"


def unproven(verdict: Verdict, unit: str = "images") -> list[str]:
    """Returns `caveats` in lines of at most WIDTH characters."""
    return [line for text in caveats(verdict, unit) for line in _wrap(text)]


def caveats(verdict: Verdict, unit: str = "images") -> list[str]:
    """Returns what the verdict does not prove, a sentence each."""
    limits = [
        "The intervals are for patients like these; patients of other hospitals may be harder.",
        _retrained(verdict),
    ]
    if unit.endswith(HELD_OUT):
        limits.append(
            "The held-out images have the labels of train.csv. In CheXpert a program extracted these from reports, so "
            "AUROC measures agreement with that program, not with a radiologist."
        )
    if verdict.unfinished:
        limits.append(f"Trials that have not ended ({verdict.unfinished} so far) could not be chosen.")
    few = [
        f"{name} ({count})"
        for name, count in zip(verdict.observations, verdict.positives, strict=True)
        if 0 < count < MIN_POSITIVES
    ]
    if few:
        limits.append(f"With fewer than {MIN_POSITIVES} positives, an AUROC is unreliable: {', '.join(few)}.")
    return limits


def _retrained(verdict: Verdict) -> str:
    other = "The AUROCs are of these weights; the same config, trained with another seed, gives other weights"
    config = verdict.strategies.config_aurocs.get(verdict.winner)
    if config is None:
        return f"{other}."
    return (
        f"{other}: expect {with_interval(config)} if all that its parameters do not explain was luck. "
        "`chex-search confirm` measures it."
    )


def _winner(verdict: Verdict, unit: str) -> str:
    return (
        f"Trial {verdict.winner} wins: AUROC {with_interval(verdict.naive_auroc)} on the {verdict.units:,} {unit} of "
        f"{verdict.patients:,} patients by which it was chosen, the best of {_count(verdict.reports, 'report')} of "
        f"{_count(len(verdict.trials), 'trial')}. Expect {with_interval(verdict.debiased_auroc)} on other patients "
        "like these."
    )


def _tied(verdict: Verdict) -> str:
    ties = verdict.best_set
    if len(ties.trials) == 1:
        return (
            "Every other trial is worse by more than chance explains."
            if ties.of > 1
            else "No other trial has a result."
        )
    kind = f", {ties.backbone}" if ties.backbone else ""
    cheapest = "it is the cheapest" if ties.cheapest == verdict.winner else f"the cheapest is trial {ties.cheapest}"
    return (
        f"{len(ties.trials)} of {ties.of} trials may be the best, trial {verdict.winner} included: the data cannot "
        f"distinguish them; {cheapest} ({ties.images:,} training images{kind})."
    )


def _proven(verdict: Verdict) -> str:
    strategies = verdict.strategies
    if not strategies.values and not strategies.slopes:
        few = len(verdict.trials) < MIN_TRIALS
        return (
            f"Too few trials to compare values of parameters: {_count(len(verdict.trials), 'trial')} with a result, "
            f"and {MIN_TRIALS} are needed."
            if few
            else "No parameter has values to compare."
        )
    claims = [*_value_claims(strategies), *_slope_claims(strategies)]
    if not claims:
        return (
            "Nothing is proven about a parameter: no value is better or worse than the others of its parameter by more "
            "than chance explains."
        )
    return f"Proven, all of it together with a probability of 95 %: {'; '.join(claims)}."


def _value_claims(strategies: Strategies) -> list[str]:
    """Returns what is proven about values, in words; of two values only which one is better."""
    claims = []
    for param in strategies.params:
        values = strategies.of(param)
        for each in values:
            if each.claim == "better" or (each.claim and len(values) > 2):
                others = "the other" if len(values) == 2 else "the others on average"
                claims.append(f"{param} {each.value} is {each.claim} than {others} ({_gap(each.over_others)})")
    return claims


def _slope_claims(strategies: Strategies) -> list[str]:
    words = {"better": "rises", "worse": "falls"}
    return [
        f"AUROC {words[each.claim]} with {each.param} ({_gap(each.effect)} over its range)"
        for each in strategies.slopes
        if each.claim
    ]


def _trials(verdict: Verdict) -> list[str]:
    order = sorted(verdict.trials, key=lambda trial: -trial.auroc.value)[:MAX_ROWS]
    lines = [
        f"{trial.trial:>5}  {format_decimal(trial.auroc.value)}  {_interval(trial.auroc)}"
        f"{trial.images:>12,}  {'yes' if trial.trial in verdict.best_set.trials else 'no'}"
        for trial in order
    ]
    return [
        f"The best {len(order)} of {len(verdict.trials)} trials, by uncorrected AUROC:",
        f"trial AUROC  {'95 % interval':<14}{'images':>11}  may be best",
        *lines,
    ]


def _observations(verdict: Verdict) -> list[str]:
    winner = next(trial for trial in verdict.trials if trial.trial == verdict.winner)
    rows = zip(verdict.observations, verdict.positives, winner.observations, strict=True)
    lines = [
        f"{name:<28}{positives:>9,}  {format_decimal(auroc.value)}  {_interval(auroc)}".rstrip()
        for name, positives, auroc in rows
        if not math.isnan(auroc.value)
    ]
    return ["The winner by observation, uncorrected AUROC:", f"{'':<28}positives  AUROC 95 % interval", *lines]


def _importances(found: Importances) -> list[str]:
    if found.why:
        return _wrap(f"Importances of parameters: none, because {found.why}.")
    lines = [
        f"  {path:<40}{_share(found.fanova.get(path)):>8}{_share(share):>12}" for path, share in found.ped_anova.items()
    ]
    return [
        "Importances of parameters (shares):",
        f"{'fANOVA':>50}{'PED-ANOVA':>12}",
        *lines,
    ]


def _ensemble(found: Ensemble) -> list[str]:
    parts = dict.fromkeys((member.trial for member in found.members), 0.0)
    for member in found.members:
        parts[member.trial] += member.weight
    heaviest = sorted(parts, key=lambda trial: -parts[trial])[:MAX_ROWS]
    trials = [f"{parts[trial]:.2f} of trial {trial}" for trial in heaviest]
    more = f" and {len(parts) - MAX_ROWS} more" if len(parts) > MAX_ROWS else ""
    return _wrap(
        f"An ensemble of {_count(len(found.members), 'report')} ({', '.join(trials)}{more}) reaches "
        f"{format_decimal(found.auroc)} on the images by which it was chosen; on other patients like these expect "
        f"{_gap(found.gain)} over the winner. The average of the best {_count(found.top, 'trial')} reaches "
        f"{format_decimal(found.top_auroc)}; expect {_gap(found.top_gain)}."
    )


def _wrap(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, break_long_words=False, break_on_hyphens=False)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _interval(estimate: Estimate) -> str:
    return f"{format_decimal(estimate.low):>4} to {format_decimal(estimate.high):<5}"


def _gap(estimate: Estimate) -> str:
    if math.isnan(estimate.value):
        return "unknown"
    return f"{_signed(estimate.value)} ({_signed(estimate.low)} to {_signed(estimate.high)})"


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("0.", ".", 1)


def _probability(share: float) -> str:
    """Returns a probability as text; draws from a posterior never make it a certainty."""
    return f"> {SURE:.2f}".replace("0.", ".") if share > SURE else f"{share:.2f}".replace("0.", ".", 1)


def _share(share: float | None) -> str:
    return "-" if share is None else f"{share:.2f}"
