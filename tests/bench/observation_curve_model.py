"""A model of the curves in observation_curves.csv: AUROC of each observation by config and progress, and its scatter.

The curve of an observation is a mean curve and a few principal components of the logit of its AUROC at eight
percentages. Each component's score is a Gaussian process whose covariance is the sum of what shared parameters do, what
they do together with the observation's own policy, and what the other observations' policies do (cross-talk). Scatter
comes from configs that were trained with several seeds: correlated along a run and between its observations, and larger
where the mean curve is low.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.model_selection import KFold

from tests.bench.curve_table import Curves, logit, r2, rank, root, scatter, spread_at
from tests.bench.curve_task import PERCENTS, CurveTask
from tests.bench.search_arena import Point

PRINCIPAL, STEPS = 3, 120
BANDS = (0.0, 0.6, 0.7, 0.8, 0.86, 0.92, 1.0)
"""Of AUROC; each has its own scatter."""


@dataclass(frozen=True)
class Places:
    """Where configs lie: what the covariance compares."""

    shared: torch.Tensor
    """float (N, F): shared parameters and images of the run, standardized."""
    policies: torch.Tensor
    """int (N, K)."""


class ScoreProcess:
    """A Gaussian process of one score of one observation."""

    def __init__(self, places: Places, scores: np.ndarray, observation: int):
        self.places, self.observation = places, observation
        self.center, self.scale = float(scores.mean()), float(scores.std()) or 1.0
        target = torch.from_numpy((scores - self.center) / self.scale)
        width = places.shared.shape[1]
        self.lengths = torch.full((2, width), 1.0, dtype=torch.float64, requires_grad=True)
        self.sizes = torch.tensor([0.0, -1.0, -3.0, -2.0], dtype=torch.float64, requires_grad=True)
        optimizer = torch.optim.Adam([self.lengths, self.sizes], lr=0.05)
        identity = torch.eye(len(target), dtype=torch.float64)
        for _ in range(STEPS):
            optimizer.zero_grad()
            factor = torch.linalg.cholesky(self._covariance(places, places) + self._noise() * identity)
            white = torch.linalg.solve_triangular(factor, target[:, None], upper=False)
            loss = 0.5 * (white**2).sum() + factor.diagonal().log().sum() + 0.05 * ((self.lengths - 1) ** 2).sum()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            covariance = self._covariance(places, places) + self._noise() * identity
            self.weights = torch.linalg.solve(covariance, target)

    def _noise(self) -> torch.Tensor:
        return self.sizes[3].exp() + 1e-4

    def _covariance(self, one: Places, other: Places) -> torch.Tensor:
        own = (one.policies[:, None, :] == other.policies[None, :, :]).double()
        mine = own[:, :, self.observation]
        others = (own.sum(dim=2) - mine) / (own.shape[2] - 1)
        sizes = self.sizes.exp()
        alone, together = (matern(one.shared, other.shared, lengths.exp()) for lengths in self.lengths)
        return sizes[0] * alone + sizes[1] * mine * together + sizes[2] * others

    def predict(self, places: Places) -> np.ndarray:
        """Returns float (N,): the scores without noise."""
        with torch.no_grad():
            return (self._covariance(places, self.places) @ self.weights).numpy() * self.scale + self.center

    @property
    def variances(self) -> dict[str, float]:
        """The share of each part of the covariance."""
        sizes = self.sizes.detach().exp().numpy()
        return dict(zip(("shared", "own policy", "other policies", "noise"), sizes / sizes.sum(), strict=True))


def matern(one: torch.Tensor, other: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Returns float (N, M): the Matern covariance with nu 5/2."""
    squares = (((one[:, None] - other[None]) / lengths) ** 2).sum(dim=2)
    distance = (5 * squares + 1e-12).sqrt()
    return (1 + distance + distance**2 / 3) * (-distance).exp()


class ObservationCurveModel:
    """Noise-free curves of configs, and noisy runs of them."""

    def __init__(self, task: CurveTask, curves: Curves, effects: bool = True):
        """Without `effects` every policy is worth what the first one is."""
        self.task, self.effects = task, effects
        shared = self._shared(curves.samples)
        self.standard = shared.mean(axis=0), shared.std(axis=0)
        places, target = self._places(curves.samples), logit(curves.truth)
        self.mean = target.mean(axis=0)
        self.bases, self.processes = [], []
        for k in range(target.shape[1]):
            centered = target[:, k] - self.mean[k]
            basis = np.linalg.svd(centered, full_matrices=False)[2][:PRINCIPAL]
            self.bases.append(basis)
            self.processes.append([ScoreProcess(places, scores, k) for scores in (centered @ basis.T).T])
        self.spread, standard = scatter(curves, BANDS)
        observations, percents = standard.transpose(1, 0, 2), standard.transpose(2, 0, 1)
        self.between, self.along = (root(np.corrcoef(each.reshape(len(each), -1))) for each in (observations, percents))

    def images(self, sample: dict[str, Any]) -> int:
        """Training images of the whole run: full batches only, one at least."""
        rows = round(sample["sampling.fraction"] * self.task.images)
        return int(max(1, rows // self.task.batch) * self.task.batch * sample["schedule.epochs"])

    def curves(self, samples: list[dict[str, Any]]) -> np.ndarray:
        """Returns float (N, K, S): AUROC without noise at PERCENTS."""
        if not self.effects:
            same = {f"policy.{name}": choices[0] for name, choices in self._policies()}
            samples = [sample | same for sample in samples]
        places = self._places(samples)
        found = []
        for mean, basis, processes in zip(self.mean, self.bases, self.processes, strict=True):
            scores = np.column_stack([process.predict(places) for process in processes])
            found.append(mean + scores @ basis)
        return 1 / (1 + np.exp(-np.stack(found, axis=1)))

    def noisy(self, clean: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Returns float (K, S): one run's reports around its clean curves."""
        spread = spread_at(clean, BANDS, self.spread)
        return np.clip(clean + spread * (self.between @ rng.normal(size=clean.shape) @ self.along.T), 0, 1)

    def _policies(self) -> list[tuple[str, list[str]]]:
        return list(zip(self.task.observations, self.task.policy_choices, strict=True))

    def _shared(self, samples: list[dict[str, Any]]) -> np.ndarray:
        table = pd.DataFrame(samples)
        images = np.log10([self.images(sample) for sample in samples])
        columns = [table["model.dropout"], table["sampling.fraction"], table["schedule.epochs"], images]
        return np.column_stack([np.log10(table["optimizer.lr"]), *columns]).astype(float)

    def _places(self, samples: list[dict[str, Any]]) -> Places:
        mean, deviation = self.standard
        policies = [
            [choices.index(sample[f"policy.{name}"]) for name, choices in self._policies()] for sample in samples
        ]
        return Places(torch.from_numpy((self._shared(samples) - mean) / deviation), torch.tensor(policies))


class ObservationTask:
    """Trials on the model."""

    def __init__(self, model: ObservationCurveModel):
        self.model, self.space = model, model.task.space

    def run(self, sample: dict[str, Any], seed: int) -> Iterator[Point]:
        images = self.model.images(sample)
        values = self.model.noisy(self.model.curves([sample])[0], np.random.default_rng(seed))
        for percent, report in zip(PERCENTS, values.T, strict=True):
            seen = max(1, images * percent // 100)
            yield Point(percent, seen, float(report.mean()), tuple(report.tolist()))


def calibration(task: CurveTask, curves: Curves) -> dict[str, Any]:
    """Returns how well a model predicts configs that it has not seen, in five folds, and the sizes of its parts."""
    predicted = np.empty_like(curves.truth)
    groups = np.unique(curves.group)
    for train, held_out in KFold(5, shuffle=True, random_state=0).split(groups):
        model = ObservationCurveModel(task, curves.part(np.isin(curves.group, groups[train])))
        rows = np.isin(curves.group, groups[held_out])
        predicted[rows] = model.curves(curves.part(rows).samples)
    model = ObservationCurveModel(task, curves)
    truth, guess = curves.truth[:, :, -1], predicted[:, :, -1]
    good = truth.mean(axis=1) > np.median(truth.mean(axis=1))
    return {
        "runs": len(truth),
        "configs": len(groups),
        "r2 of the mean at the end": r2(truth.mean(axis=1), guess.mean(axis=1)),
        "r2 by observation at the end": [r2(truth[:, k], guess[:, k]) for k in range(truth.shape[1])],
        "rank correlation, better half": rank(truth[good].mean(axis=1), guess[good].mean(axis=1)),
        "rms error of the mean, better half": round(float((truth - guess)[good].mean(axis=1).std()), 4),
        "early against final": [
            rank(curves.seen[:, :, s].mean(axis=1), truth.mean(axis=1)) for s in range(len(PERCENTS))
        ],
        "parts of the covariance": {
            name: {part: round(float(share), 3) for part, share in processes[0].variances.items()}
            for name, processes in zip(task.observations, model.processes, strict=True)
        },
        "scatter by AUROC": dict(zip(map(str, BANDS), model.spread.round(4).tolist(), strict=False)),
        "correlation between observations": (model.between @ model.between.T).round(2).tolist(),
    }
