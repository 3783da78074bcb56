"""A model of the curves in curves.csv: how AUROC goes with config and progress, and how reports scatter around it.

The curve of a config is a mean curve and a few principal components of the logit of AUROC at eight percentages; each
component's score is a Gaussian process over the config. Scatter comes from configs that were trained under several
seeds: correlated along the run, larger where the mean curve is low.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel
from sklearn.model_selection import KFold

from search.space.space import Space
from tests.bench.curve_table import Curves, logit, r2, rank, root, scatter, spread_at
from tests.bench.curve_task import PERCENTS
from tests.bench.search_arena import Point

COMPONENTS = 3
BATCH = 32
BANDS = (0.0, 0.6, 0.75, 0.85, 0.9, 0.93, 1.0)
"""Of the mean curve; each has its own spread."""


@dataclass(frozen=True)
class Rows:
    """How many rows a run takes, by policy and balance, before the fraction."""

    count: Mapping[tuple[str, str], float]

    def images(self, sample: Mapping[str, Any]) -> int:
        """Training images of the whole run: full batches only, one at least."""
        rows = round(sample["sampling.fraction"] * self.count[sample["policy.default"], sample["sampling.balance"]])
        steps = max(1, rows // BATCH)
        return int(steps * min(BATCH, rows) * sample["schedule.epochs"])


def row_counts(curves: Curves) -> Rows:
    """Read off the longest run of each kind, whose rounding down to full batches matters least."""
    best: dict[tuple[str, str], tuple[float, float]] = {}
    for sample, images in zip(curves.samples, curves.images, strict=True):
        kind = sample["policy.default"], sample["sampling.balance"]
        share = sample["sampling.fraction"]
        rows = (images / sample["schedule.epochs"] + BATCH / 2) / share
        best[kind] = max(best.get(kind, (0.0, 0.0)), (share, rows))
    return Rows({kind: rows for kind, (_, rows) in best.items()})


def features(samples: list[dict[str, Any]], rows: Rows) -> np.ndarray:
    """float (N, F): the parameters and the images of the run on scales on which a curve changes about evenly."""
    table = pd.DataFrame(samples)
    policy = table["policy.default"]
    images = np.array([rows.images(sample) for sample in samples])
    return np.column_stack(
        [
            np.log10(table["optimizer.lr"]),
            np.log10(table["optimizer.weight_decay"]) / 2,
            table["model.dropout"] * 2,
            table["sampling.fraction"] * 2,
            table["sampling.balance"] == "oversample",
            table["schedule.epochs"] / 3,
            policy == "ones",
            policy == "ignore",
            np.log10(images) * 2,
        ]
    ).astype(float)


class CurveModel:
    """Noise-free curves of configs, and noisy runs of them."""

    def __init__(self, curves: Curves):
        self.rows = row_counts(curves)
        places = features(curves.samples, self.rows)
        self.scale = places.mean(axis=0), places.std(axis=0)
        self.places = (places - self.scale[0]) / self.scale[1]
        target = logit(curves.truth[:, 0])
        self.mean = target.mean(axis=0)
        self.components = np.linalg.svd(target - self.mean, full_matrices=False)[2][:COMPONENTS]
        scores = (target - self.mean) @ self.components.T
        self.parts = [self._fitted(scores[:, k]) for k in range(COMPONENTS)]
        self.spread, standard = scatter(curves, BANDS)
        self.factor = root(np.corrcoef(standard[:, 0].T))

    def _fitted(self, scores: np.ndarray) -> tuple[np.ndarray, float, np.ndarray]:
        """Length scales, signal variance and weights of one score's process."""
        width = self.places.shape[1]
        kernel = ConstantKernel(1.0) * Matern(np.ones(width), (0.7, 30), nu=2.5) + WhiteKernel(0.1)
        process = GaussianProcessRegressor(kernel, normalize_y=True, random_state=0).fit(self.places, scores)
        signal = process.kernel_.k1
        weights = process.alpha_ * process._y_train_std
        return signal.k2.length_scale, float(signal.k1.constant_value), np.append(weights, process._y_train_mean)

    def curves(self, samples: list[dict[str, Any]]) -> np.ndarray:
        """float (N, 8): AUROC without noise at PERCENTS."""
        places = (features(samples, self.rows) - self.scale[0]) / self.scale[1]
        scores = np.column_stack([self._score(places, *part) for part in self.parts])
        return 1 / (1 + np.exp(-(self.mean + scores @ self.components)))

    def _score(self, places: np.ndarray, lengths: np.ndarray, signal: float, weights: np.ndarray) -> np.ndarray:
        difference = places[:, None, :] / lengths - self.places[None, :, :] / lengths
        distance = np.sqrt(5 * np.sum(difference**2, axis=2))
        return signal * (1 + distance + distance**2 / 3) * np.exp(-distance) @ weights[:-1] + weights[-1]

    def noisy(self, clean: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """float (8,): one run's reports around its clean curve."""
        spread = spread_at(clean, BANDS, self.spread)
        return np.clip(clean + spread * (self.factor @ rng.normal(size=len(clean))), 0, 1)

    def images(self, sample: dict[str, Any]) -> int:
        return self.rows.images(sample)


class ModelTask:
    """Trials on the model."""

    def __init__(self, model: CurveModel, space: Space):
        self.model, self.space = model, space

    def run(self, sample: dict[str, Any], seed: int) -> Iterator[Point]:
        images = self.model.images(sample)
        values = self.model.noisy(self.model.curves([sample])[0], np.random.default_rng(seed))
        for percent, value in zip(PERCENTS, values, strict=True):
            yield Point(percent, max(1, images * percent // 100), float(value))


def calibration(curves: Curves) -> dict[str, Any]:
    """How well a model predicts configs that it has not seen, in five folds; how early ranks tell late ones."""
    truth, seen = curves.truth[:, 0], curves.seen[:, 0]
    predicted = np.empty_like(truth)
    groups = np.unique(curves.group)
    for train, held_out in KFold(5, shuffle=True, random_state=0).split(groups):
        chosen = np.isin(curves.group, groups[train])
        predicted[np.isin(curves.group, groups[held_out])] = CurveModel(curves.part(chosen)).curves(
            curves.part(np.isin(curves.group, groups[held_out])).samples
        )
    model = CurveModel(curves)
    good = truth[:, -1] > np.median(truth[:, -1])
    return {
        "runs": len(truth),
        "configs": len(groups),
        "r2": [r2(truth[:, k], predicted[:, k]) for k in range(len(PERCENTS))],
        "rank correlation": [rank(truth[:, k], predicted[:, k]) for k in range(len(PERCENTS))],
        "rank correlation, better half": rank(truth[good, -1], predicted[good, -1]),
        "rms error, better half": round(float(np.std(truth[good, -1] - predicted[good, -1])), 4),
        "early against final, real": [rank(seen[:, k], truth[:, -1]) for k in range(len(PERCENTS))],
        "early against final, better half": [rank(seen[good, k], truth[good, -1]) for k in range(len(PERCENTS))],
        "spread by AUROC": dict(zip(map(str, BANDS), model.spread.round(4).tolist(), strict=False)),
        "correlation of neighbouring reports": round(float(np.mean(np.diag(model.factor @ model.factor.T, 1))), 3),
    }
