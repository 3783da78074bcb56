"""Builds the output of `--json` for programs: the status of a search, its verdict and the list of searches.

Names are those of the columns of trials.csv: `trial`, `state`, `images_seen`, `error`, the metrics of the last report,
and parameters under their dotted paths. AUROCs are in [0, 1]; `_low` and `_high` are the ends of 95 % intervals unless
`confidence` says otherwise; times are in seconds or ISO 8601; undefined or unknown values are null. `format` increases
by 1 when a name is removed or changes its meaning.
"""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from chex.statistics.intervals import UNDEFINED, named_ends
from search.analysis.strategies import Slope, ValueEffect
from search.analysis.verdict import Verdict
from search.analysis.verdict_text import caveats, key_findings
from search.monitor.status import SearchStatus
from search.trials.trial import TrialRecord, ended, trials_table, winner

FORMAT = 3


def to_json(content: Mapping[str, Any] | Sequence[Any]) -> str:
    """Returns `content` as strict JSON: NaN and infinities become null."""
    return json.dumps(_to_json_value(content), indent=2, ensure_ascii=False, allow_nan=False)


def status_record(name: str, status: SearchStatus) -> dict[str, Any]:
    """Returns the status of the search `name`.

    `state` is one of `search.monitor.status.State`, `message` describes it in words; `trials` has one entry per started
    trial, with the columns of trials.csv.
    """
    best_trial = winner(status.rows)
    return {
        "format": FORMAT,
        "search": name,
        "state": status.state,
        "message": status.message,
        "seconds": status.seconds,
        "budget": status.search.budget.model_dump(mode="json"),
        "ended": len(ended(status.rows)),
        "images_seen": sum(row.images_seen for row in status.rows),
        "best": None if best_trial is None else {"trial": best_trial.number, "best_auroc": best_trial.value},
        "trials": _trials(status.rows),
    }


def verdict_record(name: str, verdict: Verdict, unit: str) -> dict[str, Any]:
    """Returns the verdict on the search `name`; `unit` names what was scored.

    `winner.auroc` is the winner's AUROC on the data that selected it, `winner.expected` the AUROC to expect on other
    patients like these, and `winner.retrained` the same for its config, trained again. `may_be_best` lists the trials
    that may be the best. `values` has the values of each categorical parameter: `difference` is the AUROC (`outcome`:
    an observation's, or `mean`) at the end of a trial with it minus that with `reference`, `over_others` the same minus
    the mean of the other values, and `proven` is `better` or `worse` if that is proven, all of a search together with a
    probability of 95 %, else empty. `numbers` has for each number by how much AUROC rises over its range.
    """
    winner = next(trial for trial in verdict.trials if trial.trial == verdict.winner)
    by_name = zip(verdict.observations, verdict.positives, winner.observations, strict=True)
    ensemble, importances = verdict.ensemble, verdict.importances
    return {
        "format": FORMAT,
        "search": name,
        "scored": {"what": unit, "units": verdict.units, "patients": verdict.patients},
        "counts": {state: getattr(verdict, state) for state in ("finished", "pruned", "failed", "unfinished")},
        "reports": verdict.reports,
        "winner": {
            "trial": verdict.winner,
            **named_ends("auroc", verdict.naive_auroc),
            **named_ends("expected", verdict.debiased_auroc),
            **named_ends("retrained", verdict.strategies.config_aurocs.get(verdict.winner, UNDEFINED)),
            "observations": [
                {"observation": each, "positives": positives, **named_ends("auroc", auroc)}
                for each, positives, auroc in by_name
            ],
        },
        "may_be_best": list(verdict.best_set.trials),
        "cheapest": {"trial": verdict.best_set.cheapest, "images_seen": verdict.best_set.images},
        "trials": [
            {"trial": trial.trial, "images_seen": trial.images, **named_ends("auroc", trial.auroc)}
            for trial in verdict.trials
        ],
        "values": [_value(each) for each in verdict.strategies.values],
        "numbers": [_slope(each) for each in verdict.strategies.slopes],
        "importances": None
        if importances is None or importances.why
        else {"fanova": dict(importances.fanova), "ped_anova": dict(importances.ped_anova)},
        "ensemble": None
        if ensemble is None
        else {
            "members": [
                {"trial": member.trial, "images_seen": member.images, "weight": member.weight}
                for member in ensemble.members
            ],
            "auroc": ensemble.auroc,
            **named_ends("gain", ensemble.gain),
        },
        "sentences": list(key_findings(verdict, unit)),
        "not_proven": caveats(verdict, unit),
    }


def _value(value: ValueEffect) -> dict[str, Any]:
    return {
        "parameter": value.param,
        "value": value.value,
        "outcome": value.outcome,
        "trials": value.trials,
        "finished": value.finished,
        "reference": value.reference,
        **named_ends("difference", value.effect),
        **named_ends("over_others", value.over_others),
        "probability_best": value.probability,
        "may_be_best": value.may_be_best,
        "proven": value.claim,
    }


def _slope(slope: Slope) -> dict[str, Any]:
    return {"parameter": slope.param, **named_ends("slope", slope.effect), "proven": slope.claim}


def _trials(rows: Sequence[TrialRecord]) -> list[dict[str, Any]]:
    return [{str(name): value for name, value in row.items()} for row in trials_table(rows).to_dict("records")]


def _to_json_value(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _to_json_value(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_to_json_value(item) for item in value]
    if hasattr(value, "item"):
        value = value.item()
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return str(value)
