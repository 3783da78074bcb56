"""Which training rows a run sees: class balance first, then a fraction of what that gives."""

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
    balance: Literal["none", "over", "under"] = "none"
    """`over` repeats rows of the smaller class, `under` drops rows of the larger one, until both are equal."""


def sample_rows(targets: Targets, config: SamplingConfig, rng: np.random.Generator) -> np.ndarray:
    """int64 (M,): the training rows to use, repeats included; M = fraction x rows, halves rounded to even.

    Rows in which every cell has weight 0 train nothing and are left out first. Raises InputError where balancing has
    more than one observation to balance, or only one class.
    """
    rows = np.flatnonzero(targets.weights.any(axis=1))
    if config.balance != "none":
        rows = _balanced(rows, targets, config.balance, rng)
    count = round(config.fraction * len(rows))
    if count < 2:
        raise InputError(
            f"sampling.fraction: {config.fraction} of {len(rows)} training rows leaves {count}; "
            "a run needs at least 2: raise the fraction"
        )
    return rows if count == len(rows) else rng.choice(rows, size=count, replace=False)


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
