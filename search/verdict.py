"""What the trials prove, and what they do not."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from chex import checkpoint
from chex.metrics import auroc_interval
from chex.seeds import stream
from search.ledger import TrialRow, best, ended


@dataclass(frozen=True)
class Verdict:
    """The winner of a search and how sure it is."""

    trial: int
    auroc: float
    low: float
    high: float
    """95 % interval of the winner's validation AUROC (bootstrap over patients)."""
    units: int
    """Films or studies that were scored."""
    patients: int
    trials: int
    stopped: int
    failed: int
    within: int
    """Other finished trials whose AUROC lies inside the interval."""


def judge(rows: Sequence[TrialRow], predictions: Path, observations: tuple[str, ...], seed: int) -> Verdict | None:
    """The verdict on ended trials; `predictions` are the winner's. None where no trial has a defined metric."""
    winner = best(ended(rows))
    if winner is None:
        return None
    patients, truth, probability = checkpoint.load_predictions(predictions, observations)
    low, high = auroc_interval(truth, probability, patients, stream(seed, "interval"))
    states = [row.state for row in rows]
    return Verdict(
        trial=winner.number,
        auroc=winner.value,
        low=low,
        high=high,
        units=len(truth),
        patients=len(np.unique(patients)),
        trials=len(rows),
        stopped=states.count("stopped"),
        failed=states.count("failed"),
        within=sum(row.state == "finished" and row is not winner and row.value >= low for row in rows),
    )


@dataclass(frozen=True)
class Among:
    """The trials that share a value of one knob."""

    best: float
    """The highest METRIC of those that finished; NaN where none did."""
    finished: int
    trials: int


def best_by(rows: Sequence[TrialRow], path: str) -> dict[str, Among]:
    """What the trials of each value of the knob `path` reached. A stopped trial counts, its early AUROC does not."""
    found: dict[str, list[TrialRow]] = {}
    for row in rows:
        if path in row.knobs:
            found.setdefault(str(row.knobs[path]), []).append(row)
    return {value: _among(those) for value, those in sorted(found.items())}


def _among(rows: Sequence[TrialRow]) -> Among:
    values = [row.value for row in rows if row.state == "finished"]
    return Among(max(values, default=math.nan), len(values), len(rows))
