"""Selects the training rows of a run: balances the classes, then takes a fraction of the rows or patients."""

import numpy as np

from chex.cohort.sampling_config import SamplingConfig
from chex.errors import InputError
from chex.uncertainty.targets import Targets

GOLDEN_RATIO = (5**0.5 - 1) / 2
"""It spreads the keys of a row's repeats: the fractional parts of its multiples are even in [0, 1)."""


def sample_rows(
    targets: Targets, rows: np.ndarray, patients: np.ndarray, config: SamplingConfig, rng: np.random.Generator
) -> np.ndarray:
    """Returns the rows to train on, int64 (M,), a subset of `rows`, with repeats where classes are oversampled.

    Rows in which every target has weight 0 are left out first. Balancing counts a target above .5 as positive. The
    fraction is of the rows that are then left, or of their `patients` (str, one per row of `targets`), with halves
    rounded to even. Each row or patient gets a random key, and those with the smallest keys are taken. So for one seed
    a larger fraction contains the rows of a smaller one, and most rows are the same under all policies. Raises
    InputError where several observations or a single class are to be balanced, and where fewer than 2 rows are left.
    """
    by_patient = config.by == "patient"
    names, unit_of_row = _unique(patients) if by_patient else (patients, np.arange(len(patients)))
    keys = rng.random(len(names))
    weighted = rows[targets.weights[rows].any(axis=1)]
    balanced = weighted if config.balance == "none" else _balance(weighted, targets, config.balance, rng)
    chosen = balanced if config.fraction == 1 else _take_fraction(balanced, unit_of_row[balanced], keys, config)
    if len(chosen) < 2:
        raise InputError(
            f"sampling.fraction: {config.fraction} of {len(balanced)} training rows leaves {len(chosen)}; "
            "a run needs at least 2: raise the fraction"
        )
    return chosen


def _unique(patients: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.unique(patients, return_inverse=True)


def _take_fraction(rows: np.ndarray, unit_of_row: np.ndarray, keys: np.ndarray, config: SamplingConfig) -> np.ndarray:
    """Returns the rows whose unit (row or patient) has one of the smallest `keys`. `unit_of_row` is int (rows,)."""
    if config.by == "patient":
        present = np.unique(unit_of_row)
        smallest = present[np.argsort(keys[present], kind="stable")[: round(config.fraction * len(present))]]
        return rows[np.isin(unit_of_row, smallest)]
    row_keys = (keys[unit_of_row] + GOLDEN_RATIO * _earlier_repeats(rows)) % 1
    return rows[np.sort(np.argsort(row_keys, kind="stable")[: round(config.fraction * len(rows))])]


def _earlier_repeats(rows: np.ndarray) -> np.ndarray:
    """Returns how often each row occurs earlier in `rows`, so that its repeats get different keys."""
    order = np.argsort(rows, kind="stable")
    first = np.flatnonzero(np.diff(rows[order], prepend=-1))
    earlier = np.empty(len(rows), dtype=np.int64)
    earlier[order] = np.arange(len(rows)) - np.repeat(first, np.diff(first, append=len(rows)))
    return earlier


def _balance(rows: np.ndarray, targets: Targets, balance: str, rng: np.random.Generator) -> np.ndarray:
    if targets.values.shape[1] > 1:
        raise InputError(
            f"sampling.balance: '{balance}' balances one observation, and data.observations names "
            f"{targets.values.shape[1]}; use sampling.balance=none or name one observation"
        )
    classes = targets.values[rows, 0] > 0.5
    if classes.all() or not classes.any():
        raise InputError(
            f"sampling.balance: '{balance}' needs both classes, and all {len(rows)} training rows are "
            f"{'positive' if classes.all() else 'negative'}; use sampling.balance=none or another observation"
        )
    from imblearn.over_sampling import RandomOverSampler
    from imblearn.under_sampling import RandomUnderSampler

    seed = int(rng.integers(2**31))
    sampler = (RandomOverSampler if balance == "oversample" else RandomUnderSampler)(random_state=seed)
    sampler.fit_resample(rows.reshape(-1, 1), classes)
    return rows[sampler.sample_indices_]
