"""What `--json` prints: how a search stands, what it proves and which searches there are, for programs.

Names are those of trials.csv where it has the figure: `trial`, `state`, `images_seen`, `error`, the last report's
figures, and knobs under their dotted paths. AUROCs are in [0, 1]; `_low` and `_high` are the ends of 95 % intervals
unless `confidence` says otherwise; times are in seconds or ISO 8601; what is undefined or unknown is null. `format`
grows by 1 when a name changes its meaning or goes.
"""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from chex.intervals import Estimate
from search.ledger import TrialRow, ended, table, winner
from search.rivals import Rivalry
from search.status import Stands
from search.verdict import Verdict
from search.verdict_text import caveats, spoken

FORMAT = 1


def text(content: Mapping[str, Any] | Sequence[Any]) -> str:
    """Returns `content` as JSON that every reader takes: NaN and infinities become null."""
    return json.dumps(_plain(content), indent=2, ensure_ascii=False, allow_nan=False)


def standing_record(name: str, found: Stands) -> dict[str, Any]:
    """Returns how the search `name` stands.

    `state` is one of `search.status.Standing`, `told` the same in words; `trials` has a row a trial that has begun,
    with the columns of trials.csv.
    """
    leader = winner(found.rows)
    return {
        "format": FORMAT,
        "search": name,
        "state": found.state,
        "told": found.told,
        "seconds": found.seconds,
        "budget": found.search.budget.model_dump(mode="json"),
        "ended": len(ended(found.rows)),
        "images_seen": sum(row.images for row in found.rows),
        "best": None if leader is None else {"trial": leader.number, "best_auroc": leader.value},
        "trials": _trials(found.rows),
    }


def verdict_record(name: str, verdict: Verdict, unit: str) -> dict[str, Any]:
    """Returns what the search `name` proves; `unit` is what was scored, in words.

    `winner.auroc` is what the winner reached where it was chosen, `winner.expected` what to expect of it on other
    patients like these. `may_be_best` are the trials that the data do not tell from the best, `pairs` value against
    value of each knob: `difference` is the AUROC of `first` minus that of `second`, averaged over trials alike in all
    other knobs, with an interval of `confidence`; `best_difference` that of their best trials, which is no test.
    """
    winner = next(trial for trial in verdict.trials if trial.trial == verdict.winner)
    by_name = zip(verdict.observations, verdict.positives, winner.observations, strict=True)
    mixed, shares = verdict.ensemble, verdict.importances
    return {
        "format": FORMAT,
        "search": name,
        "scored": {"what": unit, "units": verdict.units, "patients": verdict.patients},
        "counts": {state: getattr(verdict, state) for state in ("finished", "stopped", "failed", "unfinished")},
        "reports": verdict.reports,
        "winner": {
            "trial": verdict.winner,
            **_figure("auroc", verdict.naive),
            **_figure("expected", verdict.corrected),
            "observations": [
                {"observation": each, "positives": positives, **_figure("auroc", auroc)}
                for each, positives, auroc in by_name
            ],
        },
        "may_be_best": list(verdict.ties.trials),
        "cheapest": {"trial": verdict.ties.cheapest, "images_seen": verdict.ties.images},
        "trials": [
            {"trial": one.trial, "images_seen": one.images, **_figure("auroc", one.auroc)} for one in verdict.trials
        ],
        "pairs": [_pair(pair) for pair in verdict.rivals],
        "importances": None
        if shares is None or shares.why
        else {"fanova": dict(shares.fanova), "ped_anova": dict(shares.ped_anova)},
        "ensemble": None
        if mixed is None
        else {
            "members": [
                {"trial": member.trial, "images_seen": member.images, "weight": member.weight}
                for member in mixed.members
            ],
            "auroc": mixed.auroc,
            **_figure("gain", mixed.gain),
        },
        "sentences": list(spoken(verdict, unit)),
        "not_proven": caveats(verdict, unit),
    }


def _pair(pair: Rivalry) -> dict[str, Any]:
    return {
        "knob": pair.knob,
        "first": pair.first,
        "second": pair.second,
        "first_trials": pair.trials[0],
        "second_trials": pair.trials[1],
        "outcome": pair.outcome,
        **_figure("difference", pair.average),
        "confidence": pair.confidence,
        "best_difference": pair.best.value,
        "verdict": pair.verdict,
    }


def _figure(name: str, estimate: Estimate) -> dict[str, float]:
    return {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}


def _trials(rows: Sequence[TrialRow]) -> list[dict[str, Any]]:
    return [{str(name): value for name, value in row.items()} for row in table(rows).to_dict("records")]


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(own) for key, own in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(own) for own in value]
    if hasattr(value, "item"):
        value = value.item()
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return str(value)
