"""Which training rows a run sees: after the split and the policy, class balance, then a fraction of what that gives."""

from typing import Literal

import numpy as np
from imblearn.over_sampling import RandomOverSampler
from imblearn.under_sampling import RandomUnderSampler
from pydantic import BaseModel, ConfigDict, Field

from chex.errors import InputError
from chex.uncertainty import Targets

SAMPLERS = {"over": RandomOverSampler, "under": RandomUnderSampler}


class SamplingConfig(BaseModel):
    """How much of the training split a run sees and in what balance."""

    model_config = ConfigDict(frozen=True, extra="forbid")

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
    `targets`), halves rounded to even. Raises InputError where balancing has more than one observation to balance, or
    only one class, and where fewer than 2 rows would be left.
    """
    kept = rows[targets.weights[rows].any(axis=1)]
    if config.balance != "none":
        kept = _balanced(kept, targets, config.balance, rng)
    chosen = _fraction(kept, patients, config, rng)
    if len(chosen) < 2:
        raise InputError(
            f"sampling.fraction: {config.fraction} of {len(kept)} training rows leaves {len(chosen)}; "
            "a run needs at least 2: raise the fraction"
        )
    return chosen


def _fraction(rows: np.ndarray, patients: np.ndarray, config: SamplingConfig, rng: np.random.Generator) -> np.ndarray:
    if config.by == "image":
        count = round(config.fraction * len(rows))
        return rows if count == len(rows) else rng.choice(rows, size=count, replace=False)
    names, of_row = np.unique(patients[rows], return_inverse=True)
    drawn = rng.choice(len(names), size=round(config.fraction * len(names)), replace=False)
    return rows[np.isin(of_row, drawn)]


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
