"""Formats a verdict as sentences and short tables, at most 80 columns wide."""

import math
import textwrap
from collections.abc import Sequence

from chex.reporting.console import format_decimal, with_interval
from chex.statistics.intervals import Estimate
from search.analysis.ensemble import Ensemble
from search.analysis.importance import Importances
from search.analysis.policy_odds import PolicyOdds
from search.analysis.value_comparison import ValueComparison
from search.analysis.verdict import Verdict

WIDTH = 80
MAX_ROWS = 10
"""The maximum number of trials in the table of trials, or in the sentence about the ensemble."""
HELD_OUT = "held out"
"""The name of the scored units ends with these words if the units were held out from train.csv."""
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
        _comparisons(verdict.comparisons),
        _observations(verdict),
        policies(verdict.policy_odds),
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
    """Returns three sentences: the winner, the trials that may be as good, and which values differ."""
    return _winner(verdict, unit), _tied(verdict), _different(verdict)


def policies(odds: Sequence[PolicyOdds]) -> list[str]:
    """Returns the most probable policy of each observation, and the next one; empty without odds."""
    if not odds:
        return []
    lines = []
    for each in odds:
        (first, likely), *others = each.probability.items()
        then = [f"   then {name} {_probability(share)}" for name, share in others[:1] if share > 1 - SURE]
        lines.append("".join([f"  {each.observation:<28}{first:<16}{_probability(likely):>5}", *then]))
    return [*_wrap("The policy of each observation, and how probable it is that it is the best:"), *lines]


def unproven(verdict: Verdict, unit: str = "images") -> list[str]:
    """Returns `caveats` in lines of at most WIDTH characters."""
    return [line for text in caveats(verdict, unit) for line in _wrap(text)]


def caveats(verdict: Verdict, unit: str = "images") -> list[str]:
    """Returns what the verdict does not prove, a sentence each."""
    limits = [
        "The intervals are for patients like these; patients of other hospitals may be harder.",
        "The AUROCs are of these weights; the same config, trained with another seed, gives other weights.",
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


def _different(verdict: Verdict) -> str:
    pairs = verdict.comparisons
    apart = [_ranked(pair) for pair in pairs if pair.verdict == "different"]
    counts = {word: sum(pair.verdict == word for pair in pairs) for word in ("tied", "untested")}
    rest = [
        *([f"{_count(counts['tied'], 'pair')} of values tied"] if counts["tied"] else []),
        *([f"{_count(counts['untested'], 'pair')} with too few finished trials"] if counts["untested"] else []),
    ]
    if not pairs:
        return "No parameter has values to compare."
    if not apart:
        return f"No value of a parameter is proven better than another: {', '.join(rest)}."
    findings = "; ".join([*apart, *([", ".join(rest)] if rest else [])])
    return f"These values differ by more than chance, all pairs considered: {findings}."


def _ranked(pair: ValueComparison) -> str:
    better, worse, gap = pair.first, pair.second, pair.average
    if gap.value < 0:
        better, worse, gap = worse, better, Estimate(-gap.value, -gap.high, -gap.low)
    return f"{pair.param} {better} over {worse} ({_gap(gap)})"


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


def _comparisons(pairs: Sequence[ValueComparison]) -> list[str]:
    lines: list[str] = []
    param = ""
    for pair in pairs:
        if pair.param != param:
            param = pair.param
            about = "" if pair.outcome == "mean" else f" by the AUROC of {pair.outcome}"
            level = f"{100 * pair.confidence:.3g} %"
            head = f"first minus second (finished trials); intervals of {level}, 95 % for all pairs of all parameters:"
            lines += ["", *_wrap(f"{param}{about}, {head}")]
        lines.append(f"  {pair.first} ({pair.trials[0]}) - {pair.second} ({pair.trials[1]}): {pair.verdict}")
        lines.append(f"    matched average {_gap(pair.average):<24}best of each {_point(pair.best.value)}")
    return lines[1:]


def _importances(found: Importances) -> list[str]:
    if found.why:
        return _wrap(f"Importances of parameters: none, because {found.why}.")
    lines = [
        f"  {path:<40}{_share(found.fanova.get(path)):>8}{_share(share):>12}" for path, share in found.ped_anova.items()
    ]
    return [
        "Importances of parameters (shares, from the finished trials):",
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


def _point(value: float) -> str:
    """Returns a difference as text, without an interval, because an interval would look like a test."""
    return "unknown" if math.isnan(value) else _signed(value)


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("0.", ".", 1)


def _probability(share: float) -> str:
    """Returns a probability as text; draws from a posterior never make it a certainty."""
    return f"> {SURE:.2f}".replace("0.", ".") if share > SURE else f"{share:.2f}".replace("0.", ".", 1)


def _share(share: float | None) -> str:
    return "-" if share is None else f"{share:.2f}"
