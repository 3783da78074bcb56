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
from scipy.stats import spearmanr
from sklearn.model_selection import KFold

from tests.bench.curve_task import PERCENTS, CurveTask
from tests.bench.search_arena import Point

PRINCIPAL, BATCH, STEPS = 3, 32, 120
BANDS = (0.0, 0.6, 0.7, 0.8, 0.86, 0.92, 1.0)
"""Of AUROC; each has its own scatter."""


@dataclass(frozen=True)
class ObservationCurves:
    """Curves of N runs at S percentages of K observations."""

    samples: list[dict[str, Any]]
    truth: np.ndarray
    """float (N, K, S): AUROC on the images that no search sees."""
    seen: np.ndarray
    """float (N, K, S): AUROC on the images of the search."""
    group: np.ndarray
    """int (N,): of each run's config; runs with the same one differ by their seed."""

    def part(self, chosen: np.ndarray) -> "ObservationCurves":
        samples = [sample for sample, take in zip(self.samples, chosen, strict=True) if take]
        return ObservationCurves(samples, self.truth[chosen], self.seen[chosen], self.group[chosen])


def load_observation_curves(task: CurveTask) -> ObservationCurves:
    """Reads the task's table; reports are interpolated to PERCENTS, and a diverged run stays at .5 from its end on."""
    table = pd.read_csv(task.table, keep_default_na=False, na_values=[""])
    samples, curves, group = [], {images: [] for images in task.columns}, []
    for _, rows in table.groupby("run"):
        samples.append({param: rows[param].iloc[0] for param in task.space})
        group.append(rows["config"].iloc[0])
        for images, columns in task.columns.items():
            values = rows[columns].fillna(0.5).to_numpy()
            curves[images].append([np.interp(PERCENTS, rows["percent"], column) for column in values.T])
    return ObservationCurves(samples, np.array(curves["others"]), np.array(curves["searched"]), np.array(group))


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

    def __init__(self, task: CurveTask, curves: ObservationCurves):
        self.task = task
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
        self.spread, self.between, self.along = scatter(curves)

    def images(self, sample: dict[str, Any]) -> int:
        """Training images of the whole run: full batches only, one at least."""
        rows = round(sample["sampling.fraction"] * self.task.images)
        return int(max(1, rows // BATCH) * BATCH * sample["schedule.epochs"])

    def curves(self, samples: list[dict[str, Any]]) -> np.ndarray:
        """Returns float (N, K, S): AUROC without noise at PERCENTS."""
        places = self._places(samples)
        found = []
        for mean, basis, processes in zip(self.mean, self.bases, self.processes, strict=True):
            scores = np.column_stack([process.predict(places) for process in processes])
            found.append(mean + scores @ basis)
        return 1 / (1 + np.exp(-np.stack(found, axis=1)))

    def noisy(self, clean: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Returns float (K, S): one run's reports around its clean curves."""
        spread = np.interp(clean, np.convolve(BANDS, [0.5, 0.5], "valid"), self.spread)
        return np.clip(clean + spread * (self.between @ rng.normal(size=clean.shape) @ self.along.T), 0, 1)

    def _shared(self, samples: list[dict[str, Any]]) -> np.ndarray:
        table = pd.DataFrame(samples)
        images = np.log10([self.images(sample) for sample in samples])
        columns = [table["model.dropout"], table["sampling.fraction"], table["schedule.epochs"], images]
        return np.column_stack([np.log10(table["optimizer.lr"]), *columns]).astype(float)

    def _places(self, samples: list[dict[str, Any]]) -> Places:
        mean, deviation = self.standard
        policies = [
            [
                self.task.policy_choices[k].index(sample[f"policy.{name}"])
                for k, name in enumerate(self.task.observations)
            ]
            for sample in samples
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


def scatter(curves: ObservationCurves) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the scatter of one run's reports around their config's mean, from configs with several seeds.

    The standard deviation in each of BANDS, and Cholesky factors of its correlation between observations (K, K) and
    between percentages (S, S).
    """
    levels, deviations = [], []
    for group in np.unique(curves.group):
        seen = curves.seen[curves.group == group]
        if len(seen) > 1:
            levels += [seen.mean(axis=0)] * len(seen)
            deviations += list((seen - seen.mean(axis=0)) * np.sqrt(len(seen) / (len(seen) - 1)))
    level, deviation = np.array(levels), np.array(deviations)
    band = np.digitize(level, BANDS[1:-1])
    spread = np.array([np.std(deviation[band == each]) for each in range(len(BANDS) - 1)])
    standard = deviation / spread[band]
    between = np.corrcoef(standard.transpose(1, 0, 2).reshape(standard.shape[1], -1))
    along = np.corrcoef(standard.transpose(2, 0, 1).reshape(standard.shape[2], -1))
    jitter = 1e-6
    return spread, *(np.linalg.cholesky(each + jitter * np.eye(len(each))) for each in (between, along))


def logit(share: np.ndarray) -> np.ndarray:
    inside = np.clip(share, 0.3, 0.99)
    return np.asarray(np.log(inside / (1 - inside)))


def calibration(task: CurveTask, curves: ObservationCurves) -> dict[str, Any]:
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


def r2(truth: np.ndarray, predicted: np.ndarray) -> float:
    return round(float(1 - np.var(truth - predicted) / np.var(truth)), 3)


def rank(one: np.ndarray, other: np.ndarray) -> float:
    return round(float(spearmanr(one, other)[0]), 3)
