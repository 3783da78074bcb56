"""Which training rows a run sees: after the split and the policy, class balance, then a fraction of what that gives."""

from typing import Literal

import numpy as np
from imblearn.over_sampling import RandomOverSampler
from imblearn.under_sampling import RandomUnderSampler
from pydantic import Field

from chex.errors import InputError
from chex.strict import Strict
from chex.uncertainty import Targets

GOLDEN = (5**0.5 - 1) / 2
"""Of its multiples the fractional parts lie evenly in [0, 1)."""
SAMPLERS = {"over": RandomOverSampler, "under": RandomUnderSampler}


class SamplingConfig(Strict):
    """How much of the training split a run sees and in what balance."""

    fraction: float = Field(1.0, gt=0, le=1)
    """Share of the rows, after balancing."""
    by: Literal["image", "patient"] = "image"
    """What the fraction counts: rows, or patients with all of their rows."""
    balance: Literal["none", "over", "under"] = "none"
    """`over` repeats rows of the smaller class, `under` drops rows of the larger one, until both are equal."""


def sample_rows(
    targets: Targets, rows: np.ndarray, patients: np.ndarray, config: SamplingConfig, rng: np.random.Generator
) -> np.ndarray:
    """int64 (M,): those of `rows` to train on, repeats included.

    Rows of `targets` in which every cell has weight 0 train nothing and are left out first. A target above .5 counts as
    positive when balancing. The fraction is of the rows then left, or of their `patients` (str, one per row of
    `targets`), halves rounded to even. Runs of one seed share as many rows as they can, whatever their policy and
    fraction: each row or patient draws a lot, and the lowest are taken. Raises InputError where balancing has more than
    one observation to balance, or only one class, and where fewer than 2 rows would be left.
    """
    names, of_row = (patients, np.arange(len(patients))) if config.by == "image" else _grouped(patients)
    lots = rng.random(len(names))
    kept = rows[targets.weights[rows].any(axis=1)]
    if config.balance != "none":
        kept = _balanced(kept, targets, config.balance, rng)
    chosen = kept if config.fraction == 1 else _fraction(kept, of_row[kept], lots, config)
    if len(chosen) < 2:
        raise InputError(
            f"sampling.fraction: {config.fraction} of {len(kept)} training rows leaves {len(chosen)}; "
            "a run needs at least 2: raise the fraction"
        )
    return chosen


def _grouped(patients: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.unique(patients, return_inverse=True)


def _fraction(rows: np.ndarray, drawn: np.ndarray, lots: np.ndarray, config: SamplingConfig) -> np.ndarray:
    """The rows with the lowest of `lots`; `drawn` (one per row) says whose lot is a row's."""
    if config.by == "patient":
        present = np.unique(drawn)
        lowest = present[np.argsort(lots[present], kind="stable")[: round(config.fraction * len(present))]]
        return rows[np.isin(drawn, lowest)]
    own = (lots[drawn] + GOLDEN * _repeat(rows)) % 1
    return rows[np.sort(np.argsort(own, kind="stable")[: round(config.fraction * len(rows))])]


def _repeat(rows: np.ndarray) -> np.ndarray:
    """How often each row has come before: its repeats draw other lots."""
    order = np.argsort(rows, kind="stable")
    first = np.flatnonzero(np.diff(rows[order], prepend=-1))
    before = np.empty(len(rows), dtype=np.int64)
    before[order] = np.arange(len(rows)) - np.repeat(first, np.diff(first, append=len(rows)))
    return before


def _balanced(rows: np.ndarray, targets: Targets, balance: str, rng: np.random.Generator) -> np.ndarray:
    if targets.values.shape[1] > 1:
        raise InputError(
            f"sampling.balance: '{balance}' balances one observation and data.observations names "
            f"{targets.values.shape[1]}; use sampling.balance=none or name one observation"
        )
    classes = targets.values[rows, 0] > 0.5
    if classes.all() or not classes.any():
        raise InputError(
            f"sampling.balance: '{balance}' needs both classes and all {len(rows)} training rows are "
            f"{'positive' if classes.all() else 'negative'}; use sampling.balance=none or another observation"
        )
    sampler = SAMPLERS[balance](random_state=int(rng.integers(2**31)))
    sampler.fit_resample(rows.reshape(-1, 1), classes)
    return rows[sampler.sample_indices_]
