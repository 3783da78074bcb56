"""Searches that never trained: the product's proposals and cuts, on trials with known true AUROCs.

The scores of a trial's reports are drawn so that their AUROCs on all the patients that there could be are known. They
are hard for all trials alike, and a little for all trials with the same policy. A report's AUROC on the sampled images
is what the sampler and the pruning rule hear.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from scipy.stats import norm, rankdata

from chex.config import RunConfig, apply_overrides
from chex.schema.labels import FIVE
from chex.statistics.metrics import METRIC
from search.optimize.pruning import PruningConfig
from search.optimize.samplers import AUROC_OF, SamplerConfig
from search.space.space import Space, build_space
from search.trials.predictions import Predictions
from search.trials.trial import TrialRecord
from tests.bench.product_searcher import ProductSearcher
from tests.bench.search_arena import Arena, Point, Sample

FILMS, PATIENTS, REPORTS, WORKERS = 234, 200, 8, 4
LIKE_TRIALS, LIKE_POLICIES, LIKE_REPORTS, LIKE_FILMS = 0.8, 0.02, 0.5, 0.4
"""How scores correlate: between trials on an image; beyond that, between trials with the same policy, and from a report
to the trial's next; between images of one patient, in what is hard for all."""
POSITIVES = {1: (68,), 5: (80, 68, 33, 45, 67)}
AUROCS = {1: (0.85,), 5: (0.80, 0.87, 0.75, 0.89, 0.94)}
LOADINGS = {1: (1.0,), 5: (1.2, 1.3, 1.2, 0.7, 0.6)}
POLICIES = ("zeros", "ones", "ignore", "multiclass", "smoothed_ones", "smoothed_zeros", "self_trained", "forest")
EARLY_SHARE = 0.6
"""The share of a policy's effect that is there at the start of a run; it rises to 1 on a straight line."""


@dataclass(frozen=True)
class Scenario:
    """How the true AUROCs of trials come about."""

    name: str
    observations: int = 5
    policies: int = 8
    planted: float = 0.0
    """What one policy of each observation is better by."""
    spread: float = 0.0
    """Standard deviation of the policies' effects."""
    cross_talk: float = 0.0
    """The same of the effects on other observations."""
    shared: float = 0.03
    """What a learning rate at the end of its range is worse by."""
    trial_noise: float = 0.006
    observation_noise: float = 0.008
    failing: float = 0.04
    """The share of trials that fail."""
    sampler: str = "auto"
    pruning: bool = True
    trials: int = 50

    @property
    def names(self) -> tuple[str, ...]:
        return FIVE if self.observations > 1 else ("Cardiomegaly",)


@dataclass
class Simulated:
    """One search, as the product leaves it, and its truth."""

    space: Space
    rows: list[TrialRecord]
    predictions: Predictions
    effects: np.ndarray
    """float (K, policies): the true effect of each policy on its observation, against that of `zeros`."""
    true: np.ndarray
    """float (R,): the true mean AUROC of each report."""
    config_true: dict[int, float]
    """By trial: the mean AUROC at the end of a run of its config, over all seeds."""
    distance: np.ndarray
    """float (R, K): between the means of positives and negatives, in standard deviations."""

    def unseen(self, films: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Truth (films, K) and probability (R, films, K) of other patients, an image each."""
        truth = (rng.random((films, self.effects.shape[0])) < 0.3).astype(float)
        hard = rng.normal(size=truth.shape)
        trials = np.unique(self.predictions.trials)
        own = np.concatenate(
            [_own_noise(int((self.predictions.trials == trial).sum()), truth.shape, rng) for trial in trials]
        )
        noise = math.sqrt(LIKE_TRIALS) * hard + math.sqrt(1 - LIKE_TRIALS) * own
        return truth, norm.cdf(self.distance[:, None] * truth + noise - 0.5).astype(np.float32)


@dataclass
class SimulatedTask:
    """Trials in the arena."""

    scenario: Scenario
    rng: np.random.Generator
    space: Space = field(init=False)
    runs: list["Run"] = field(default_factory=list)

    def __post_init__(self) -> None:
        scenario, rng, count = self.scenario, self.rng, len(self.scenario.names)
        parameters = {f"policy.{name}": {"choice": list(POLICIES[: scenario.policies])} for name in scenario.names}
        numbers = {
            "optimizer.lr": {"loguniform": [3e-5, 3e-3]},
            "model.dropout": {"uniform": [0.0, 0.5]},
            "sampling.balance": {"choice": ["none", "oversample"]},
            "schedule.epochs": {"int": [1, 4]},
        }
        base = apply_overrides(RunConfig().model_dump(mode="json"), {"data.observations": list(scenario.names)})
        self.space = build_space(parameters | numbers, base)
        self.patients = np.sort(np.concatenate([np.arange(PATIENTS), rng.integers(0, PATIENTS, FILMS - PATIENTS)]))
        self.truth = np.stack([_truth(self.patients, positives, rng) for positives in POSITIVES[count]], axis=1)
        self.hard = np.stack([_hard(self.patients, rng) for _ in range(count)], axis=1)
        self.habits = rng.normal(size=(scenario.policies, FILMS, count))
        self.effects = scenario.spread * rng.normal(size=(count, scenario.policies))
        self.effects[np.arange(count), rng.integers(1, scenario.policies, size=count)] += scenario.planted
        self.effects -= self.effects[:, [0]]
        self.others = scenario.cross_talk * rng.normal(size=(count, count, scenario.policies))
        self.others[np.arange(count), np.arange(count)] = 0
        self.optimum = rng.uniform(0.3, 0.7)

    def run(self, sample: Sample, seed: int) -> Iterator[Point]:
        run = Run(self, sample, np.random.default_rng([seed, 1]))
        self.runs.append(run)
        images = 1000 * sample["schedule.epochs"]
        for report, aurocs in enumerate(run.aurocs):
            percent, seen = 100 * (report + 1) // REPORTS, images * (report + 1) // REPORTS
            if run.fails_at == report:
                yield Point(percent, seen, math.nan)
                return
            yield Point(percent, seen, float(aurocs.mean()), tuple(aurocs.tolist()))

    def config_aurocs(self, sample: Sample) -> np.ndarray:
        """Returns float (K,): the true AUROCs at the end of a run of this config, over all seeds."""
        chosen = self.chosen(sample)
        place = (math.log(sample["optimizer.lr"]) - math.log(3e-5)) / math.log(100)
        epochs = (sample["schedule.epochs"] - 1) / 3
        quality = -(((place - self.optimum) / 0.5) ** 2) + 0.2 * sample["model.dropout"] + epochs * (0.5 - 0.2 * epochs)
        count = len(chosen)
        own = self.effects[np.arange(count), chosen]
        others = np.array([sum(self.others[j, k, chosen[j]] for j in range(count)) for k in range(count)])
        common = self.scenario.shared * quality * np.array(LOADINGS[count])
        return np.array(AUROCS[count]) + common + own + others

    def chosen(self, sample: Sample) -> list[int]:
        """Returns the index of each observation's policy."""
        return [POLICIES.index(sample[f"policy.{name}"]) for name in self.scenario.names]


class Run:
    """One trial: its true AUROCs and scores at all reports."""

    def __init__(self, task: SimulatedTask, sample: Sample, rng: np.random.Generator):
        scenario, config = task.scenario, task.config_aurocs(sample)
        count, chosen = len(config), task.chosen(sample)
        progress = np.arange(1, REPORTS + 1)[:, None] / REPORTS
        luck = scenario.trial_noise * rng.normal() * np.array(LOADINGS[count])
        luck = luck + scenario.observation_noise * rng.normal(size=count)
        rise = -0.06 * np.exp(-progress / 0.25) * (1 + 0.15 * rng.normal())
        late = (1 - EARLY_SHARE) * (1 - progress) * task.effects[np.arange(count), chosen]
        wander = rng.normal(0, 0.003, (REPORTS, count)) + rng.normal(0, 0.002, (REPORTS, 1))
        wander[-1] = 0
        self.config = config
        self.true = np.clip(config + luck + rise - late + wander, 0.51, 0.995)
        self.distance = math.sqrt(2) * norm.ppf(self.true)
        habit = np.stack([task.habits[policy, :, k] for k, policy in enumerate(chosen)], axis=1)
        own = _own_noise(REPORTS, task.truth.shape, rng)
        noise = math.sqrt(LIKE_TRIALS) * task.hard + math.sqrt(LIKE_POLICIES) * habit
        noise = noise + math.sqrt(1 - LIKE_TRIALS - LIKE_POLICIES) * own
        scores = norm.cdf(self.distance[:, None] * task.truth + noise - 0.5)
        self.probability = scores.astype(np.float32)
        self.aurocs = np.stack([_aurocs(task.truth[:, k], self.probability[:, :, k]) for k in range(count)], axis=1)
        self.fails_at = int(rng.integers(REPORTS)) if rng.random() < scenario.failing else -1


def simulate(scenario: Scenario, seed: int) -> Simulated:
    """Returns one search of the scenario."""
    rng = np.random.default_rng(seed)
    task = SimulatedTask(scenario, rng)
    sampler = SamplerConfig.model_validate({"kind": scenario.sampler, "seed": seed})
    searcher = ProductSearcher(sampler, PruningConfig() if scenario.pruning else None, task.space, scenario.names)
    trials = Arena(task, searcher, math.inf, WORKERS, seed, limit=scenario.trials).play().trials
    told = [[point for point in trial.points if not math.isnan(point.value)] for trial in trials]
    rows = []
    for trial, points in zip(trials, told, strict=True):
        reports = tuple(
            {METRIC: lifted.value, "auroc": point.value, "percent": point.percent, "images_seen": point.images}
            | {f"{AUROC_OF}{name}": value for name, value in zip(scenario.names, point.values, strict=True)}
            for point, lifted in zip(points, trial.lifted, strict=False)
        )
        rows.append(TrialRecord(trial.number + 1, trial.state, trial.sample, reports))  # type: ignore[arg-type]
    counts = [len(points) for points in told]
    runs = [(run, count) for run, count in zip(task.runs, counts, strict=True) if count]
    predictions = Predictions(
        scenario.names,
        np.array([f"film{film}" for film in range(FILMS)]),
        np.array([f"patient{patient:05d}" for patient in task.patients]),
        task.truth.astype(np.float32),
        np.repeat([row.number for row in rows], counts),
        np.concatenate([[point.images for point in points] for points in told if points]),
        np.concatenate([run.probability[:count] for run, count in runs]),
    )
    return Simulated(
        task.space,
        rows,
        predictions,
        task.effects,
        np.concatenate([run.true[:count] for run, count in runs]).mean(axis=1),
        {number: float(run.config.mean()) for number, run in enumerate(task.runs, 1)},
        np.concatenate([run.distance[:count] for run, count in runs]),
    )


def _own_noise(reports: int, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """float (reports, films, K): noise of one trial, correlated from report to report."""
    own: np.ndarray = rng.normal(size=(reports, *shape))
    for step in range(1, reports):
        own[step] = LIKE_REPORTS * own[step - 1] + math.sqrt(1 - LIKE_REPORTS**2) * own[step]
    return own


def _truth(patients: np.ndarray, positives: int, rng: np.random.Generator) -> np.ndarray:
    """float (U,): patients are ill, with all their images; the last one in part, so that the count comes out."""
    order = rng.permutation(PATIENTS)[patients]
    truth = np.zeros(len(patients))
    truth[np.argsort(order, kind="stable")[:positives]] = 1
    return truth


def _hard(patients: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """float (U,): what is hard for all trials, partly for all images of a patient."""
    person, film = rng.normal(size=PATIENTS)[patients], rng.normal(size=len(patients))
    hard: np.ndarray = math.sqrt(LIKE_FILMS) * person + math.sqrt(1 - LIKE_FILMS) * film
    return hard


def _aurocs(truth: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """float (R,): the AUROC of each row of `scores`, float (R, U)."""
    positives = int(truth.sum())
    ranks = rankdata(scores, axis=1)[:, truth == 1].sum(axis=1)
    pairs = positives * (len(truth) - positives)
    areas: np.ndarray = (ranks - positives * (positives + 1) / 2) / pairs
    return areas
