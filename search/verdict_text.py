"""A verdict in words and short tables, at most 80 columns wide."""

import math
import textwrap
from collections.abc import Sequence

from chex.console import decimal
from chex.intervals import Estimate
from chex.train import with_interval
from search.ensemble import Ensemble
from search.importance import Importances
from search.rivals import Rivalry
from search.verdict import Verdict

WIDTH = 80
SHOWN = 10
"""Trials, and members of an ensemble, that tables have at most."""
HELD_OUT = "held out"
"""What the name of what was scored ends with where it was taken from train.csv."""
FEW = 10
"""Positives below which an observation's AUROC tells little."""


def told(verdict: Verdict, unit: str = "films") -> str:
    """The whole verdict, what matters most at its end, where a terminal has it; `unit` is what was scored."""
    parts = [
        *([_importances(verdict.importances)] if verdict.importances else []),
        _rivals(verdict.rivals),
        _observations(verdict),
        _trials(verdict),
        *([_ensemble(verdict.ensemble)] if verdict.ensemble else []),
        ["What this does not prove:", *unproven(verdict, unit)],
        sentences(verdict, unit),
    ]
    return "\n\n".join("\n".join(part) for part in parts if part)


def sentences(verdict: Verdict, unit: str = "films") -> list[str]:
    """What there is to know first, in lines of WIDTH: the winner, what ties with it, which values differ."""
    return [line for text in spoken(verdict, unit) for line in _wrapped(text)]


def spoken(verdict: Verdict, unit: str = "films") -> tuple[str, str, str]:
    """The same as three sentences: the winner, what ties with it, which values differ."""
    return _winner(verdict, unit), _tied(verdict), _different(verdict)


def unproven(verdict: Verdict, unit: str = "films") -> list[str]:
    """What the figures do not say, in lines of WIDTH."""
    return [line for text in caveats(verdict, unit) for line in _wrapped(text)]


def caveats(verdict: Verdict, unit: str = "films") -> list[str]:
    """The same, a sentence each."""
    told = [
        "Patients of other hospitals may be harder: the intervals know of patients like these alone.",
        "The weights were judged: the winner's config, trained again with another seed, gives others.",
    ]
    if unit.endswith(HELD_OUT):
        told.append(
            "What was held out has train.csv's labels: in CheXpert a program read these out of reports, so that AUROC "
            "tells how well that program is matched, not a radiologist."
        )
    if verdict.unfinished:
        told.append(f"Nothing was chosen from trials that have not ended: {verdict.unfinished} so far.")
    few = [
        f"{name} ({count})"
        for name, count in zip(verdict.observations, verdict.positives, strict=True)
        if 0 < count < FEW
    ]
    if few:
        told.append(f"Fewer than {FEW} positives, so that their AUROCs tell little: {', '.join(few)}.")
    return told


def _winner(verdict: Verdict, unit: str) -> str:
    return (
        f"Trial {verdict.winner} wins: AUROC {with_interval(verdict.naive)} on the {verdict.units:,} {unit} of "
        f"{verdict.patients:,} patients that it was chosen by, the best of {_count(verdict.reports, 'report')} of "
        f"{_count(len(verdict.trials), 'trial')}; expect {with_interval(verdict.corrected)} on other patients "
        "like these."
    )


def _tied(verdict: Verdict) -> str:
    ties = verdict.ties
    if len(ties.trials) == 1:
        return (
            "Every other trial is worse, by more than chance explains."
            if ties.of > 1
            else "No other trial has a result."
        )
    kind = f", {ties.backbone}" if ties.backbone else ""
    cheapest = "it is the cheapest" if ties.cheapest == verdict.winner else f"the cheapest is trial {ties.cheapest}"
    return (
        f"{len(ties.trials)} of {ties.of} trials, trial {verdict.winner} among them, may be the best: the data do not "
        f"tell them apart; {cheapest} ({ties.images:,} training images{kind})."
    )


def _different(verdict: Verdict) -> str:
    pairs = verdict.rivals
    apart = [_ranked(pair) for pair in pairs if pair.verdict == "different"]
    counts = {word: sum(pair.verdict == word for pair in pairs) for word in ("tied", "untested")}
    rest = [
        *([f"{_count(counts['tied'], 'pair')} of values not told apart"] if counts["tied"] else []),
        *([f"{_count(counts['untested'], 'pair')} with too few finished trials"] if counts["untested"] else []),
    ]
    if not pairs:
        return "No knob has values to compare."
    if not apart:
        return f"No value of a knob is proven better than another: {', '.join(rest)}."
    return f"Different beyond chance, all pairs considered: {'; '.join(apart)}{'; ' if rest else ''}{', '.join(rest)}."


def _ranked(pair: Rivalry) -> str:
    better, worse, gap = pair.first, pair.second, pair.average
    if gap.value < 0:
        better, worse, gap = worse, better, Estimate(-gap.value, -gap.high, -gap.low)
    return f"{pair.knob} {better} over {worse} ({_gap(gap)})"


def _trials(verdict: Verdict) -> list[str]:
    order = sorted(verdict.trials, key=lambda trial: -trial.auroc.value)[:SHOWN]
    lines = [
        f"{trial.trial:>5}  {decimal(trial.auroc.value)}  {_interval(trial.auroc)}"
        f"{trial.images:>12,}  {'yes' if trial.trial in verdict.ties.trials else 'no'}"
        for trial in order
    ]
    return [
        f"The best {len(order)} of {len(verdict.trials)} trials, as they scored:",
        f"trial AUROC  {'95 % interval':<14}{'images':>11}  may be best",
        *lines,
    ]


def _observations(verdict: Verdict) -> list[str]:
    winner = next(trial for trial in verdict.trials if trial.trial == verdict.winner)
    rows = zip(verdict.observations, verdict.positives, winner.observations, strict=True)
    lines = [
        f"{name:<28}{positives:>9,}  {decimal(auroc.value)}  {_interval(auroc)}".rstrip()
        for name, positives, auroc in rows
        if not math.isnan(auroc.value)
    ]
    return ["The winner by observation, as it scored:", f"{'':<28}positives  AUROC 95 % interval", *lines]


def _rivals(pairs: Sequence[Rivalry]) -> list[str]:
    lines: list[str] = []
    knob = ""
    for pair in pairs:
        if pair.knob != knob:
            knob = pair.knob
            about = "" if pair.outcome == "mean" else f" by the AUROC of {pair.outcome}"
            level = f"{100 * pair.confidence:.3g} %"
            told = f"first minus second (finished trials); intervals of {level}, 95 % for all pairs of all knobs:"
            lines += ["", *_wrapped(f"{knob}{about}, {told}")]
        lines.append(f"  {pair.first} ({pair.trials[0]}) - {pair.second} ({pair.trials[1]}): {pair.verdict}")
        lines.append(f"    matched average {_gap(pair.average):<24}best of each {_point(pair.best.value)}")
    return lines[1:]


def _importances(found: Importances) -> list[str]:
    if found.why:
        return [f"Importances of knobs: none, because {found.why}."]
    lines = [
        f"  {path:<40}{_share(found.fanova.get(path)):>8}{_share(share):>12}" for path, share in found.ped_anova.items()
    ]
    return [
        "Importances of knobs (shares of what the finished trials show):",
        f"{'fANOVA':>50}{'PED-ANOVA':>12}",
        *lines,
    ]


def _ensemble(found: Ensemble) -> list[str]:
    parts = dict.fromkeys((member.trial for member in found.members), 0.0)
    for member in found.members:
        parts[member.trial] += member.weight
    heaviest = sorted(parts, key=lambda trial: -parts[trial])[:SHOWN]
    trials = [f"{parts[trial]:.2f} of trial {trial}" for trial in heaviest]
    more = f" and {len(parts) - SHOWN} more" if len(parts) > SHOWN else ""
    return _wrapped(
        f"An ensemble of {_count(len(found.members), 'report')} ({', '.join(trials)}{more}) reaches "
        f"{decimal(found.auroc)} on the films that it was chosen by; on other patients like these expect "
        f"{_gap(found.gain)} over the winner. The average of the best {_count(found.top, 'trial')} reaches "
        f"{decimal(found.top_auroc)}; expect {_gap(found.top_gain)}."
    )


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, break_long_words=False, break_on_hyphens=False)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _interval(figure: Estimate) -> str:
    return f"{decimal(figure.low):>4} to {decimal(figure.high):<5}"


def _gap(figure: Estimate) -> str:
    if math.isnan(figure.value):
        return "unknown"
    return f"{_signed(figure.value)} ({_signed(figure.low)} to {_signed(figure.high)})"


def _point(value: float) -> str:
    """A difference without an interval, which would look like a test."""
    return "unknown" if math.isnan(value) else _signed(value)


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("0.", ".", 1)


def _share(share: float | None) -> str:
    return "-" if share is None else f"{share:.2f}"
