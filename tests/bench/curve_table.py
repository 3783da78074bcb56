"""The tables of real runs, and what both models of curves take from them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from chex.errors import InputError
from tests.bench.curve_task import PERCENTS, CurveTask


@dataclass(frozen=True)
class Curves:
    """Curves of N runs at PERCENTS (S) of K observations."""

    samples: list[dict[str, Any]]
    truth: np.ndarray
    """float (N, K, S): AUROC on the images that no search sees."""
    seen: np.ndarray
    """float (N, K, S): AUROC on the images of the search."""
    images: np.ndarray
    """float (N,): training images of the whole run."""
    group: np.ndarray
    """int (N,): of each run's config; runs with the same one differ by their seed."""

    def part(self, chosen: np.ndarray) -> "Curves":
        """Returns the runs where `chosen`, bool (N,), is True."""
        samples = [sample for sample, take in zip(self.samples, chosen, strict=True) if take]
        return Curves(samples, *(each[chosen] for each in (self.truth, self.seen, self.images, self.group)))


def load_curves(task: CurveTask) -> Curves:
    """Reads the task's table; reports are interpolated to PERCENTS, and a diverged run stays at .5 from its end on."""
    table = pd.read_csv(task.table, keep_default_na=False, na_values=[""])
    runs = [rows for _, rows in table.groupby("run")]
    truth, seen = (
        np.array([[_at_percents(rows, column) for column in columns] for rows in runs])
        for columns in (task.columns["others"], task.columns["searched"])
    )
    samples = [{param: rows[param].iloc[0] for param in task.space} for rows in runs]
    images, group = np.array([[rows["images"].iloc[-1], rows["config"].iloc[0]] for rows in runs]).T
    return Curves(samples, truth, seen, images, group)


def _at_percents(rows: pd.DataFrame, column: str) -> np.ndarray:
    return np.interp(PERCENTS, rows["percent"], rows[column].fillna(0.5))


def scatter(curves: Curves, bands: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Returns how one run's reports scatter around their config's mean, from configs with several seeds.

    The standard deviation in each of `bands` of AUROC, and the deviations in its units, float (runs, K, S). Raises
    InputError if no config has several seeds.
    """
    levels, deviations = [], []
    for group in np.unique(curves.group):
        seen = curves.seen[curves.group == group]
        if len(seen) > 1:
            levels += [seen.mean(axis=0)] * len(seen)
            deviations += list((seen - seen.mean(axis=0)) * np.sqrt(len(seen) / (len(seen) - 1)))
    if not deviations:
        raise InputError(
            f"the table of {len(curves.group)} runs: no config has run with two seeds, so that nothing tells how far "
            "runs scatter; train the rest of its runs with tests/bench/collect_curves.py"
        )
    deviation, band = np.array(deviations), np.digitize(np.array(levels), bands[1:-1])
    spread = np.array([np.std(deviation[band == each]) for each in range(len(bands) - 1)])
    return spread, deviation / spread[band]


def spread_at(clean: np.ndarray, bands: Sequence[float], spread: np.ndarray) -> np.ndarray:
    """Returns the standard deviation at each AUROC of `clean`, interpolated between the middles of the bands."""
    return np.interp(clean, np.convolve(bands, [0.5, 0.5], "valid"), spread)


def root(correlation: np.ndarray) -> np.ndarray:
    """Returns the Cholesky factor of a correlation matrix, which may be singular."""
    return np.linalg.cholesky(correlation + 1e-6 * np.eye(len(correlation)))


def logit(share: np.ndarray) -> np.ndarray:
    inside = np.clip(share, 0.3, 0.99)
    return np.asarray(np.log(inside / (1 - inside)))


def r2(truth: np.ndarray, predicted: np.ndarray) -> float:
    return round(float(1 - np.var(truth - predicted) / np.var(truth)), 3)


def rank(one: np.ndarray, other: np.ndarray) -> float:
    return round(float(spearmanr(one, other)[0]), 3)
