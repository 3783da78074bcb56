"""Forecasts the cost of a search before it starts: images of runs and trials, rungs, combinations, seconds."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from chex.cohort.sampling import sample_rows
from chex.cohort.sampling_config import SamplingConfig
from chex.config import RunConfig
from chex.data.data_config import batch_size
from chex.runtime.rng import rng_for
from chex.training.run_tables import RunTables
from chex.training.training_plan import TrainingPlan
from chex.uncertainty.policies import POLICIES, TABLE_POLICIES
from chex.uncertainty.policy_config import PolicyConfig, policy_of
from chex.uncertainty.targets import targets
from search.space.space import Space, value_count

OTHER_VALUE = object()
"""Stands for any value of a parameter that no condition names."""


@dataclass(frozen=True)
class ImageCounts:
    """How many images pass through a network, repeats included."""

    trained: float
    """Images in training steps."""
    scored: float
    """Images that are scored at reports, and images that recalibrate batch norm there."""

    def __add__(self, other: "ImageCounts") -> "ImageCounts":
        return ImageCounts(self.trained + other.trained, self.scored + other.scored)

    def __mul__(self, times: float) -> "ImageCounts":
        return ImageCounts(self.trained * times, self.scored * times)


@dataclass(frozen=True)
class Speed:
    """How many images per second one trial alone trains on, and scores."""

    trained: float
    scored: float

    def seconds(self, load: ImageCounts) -> float:
        """Returns how many seconds one trial alone takes for the images of `load`."""
        return load.trained / self.trained + load.scored / self.scored


def image_passes(config: RunConfig) -> float:
    """Returns how many passes over the training images a run makes: epochs times sampling.fraction."""
    return config.sampling.fraction * sum(each.epochs for each in config.resolved_phases())


class RunSizes:
    """Counts the rows and images of runs on one dataset; counts balanced rows once for runs with the same policies."""

    def __init__(self, selection: RunTables):
        self.selection = selection
        self._balanced: dict[tuple[Any, ...], int] = {}

    def rows(self, config: RunConfig) -> int:
        """Returns about how many rows the run trains on.

        A fraction of patients counts as the same fraction of rows, and a label that a probability table replaces counts
        as negative. Raises InputError if sampling leaves nothing to train on.
        """
        policies = tuple(policy_of(config.policy, name) for name in self.selection.observations)
        key = (config.sampling.balance, *map(str, policies))
        if key not in self._balanced:
            self._balanced[key] = self._count(config, policies)
        return round(config.sampling.fraction * self._balanced[key])

    def _count(self, config: RunConfig, policies: Sequence[PolicyConfig]) -> int:
        ignoring = all(POLICIES[policy.kind].drops_cells for policy in policies)
        if config.sampling.balance == "none" and not ignoring:
            return len(self.selection.trainable)
        tree, names = self.selection.tree.train, self.selection.observations
        plain = {"default": PolicyConfig(kind="zeros")} | dict(zip(names, map(_zeros_for_table, policies), strict=True))
        cells = targets(tree.labels, names, plain, config.seed)
        sampling = SamplingConfig(balance=config.sampling.balance)
        return len(sample_rows(cells, self.selection.trainable, tree.patients, sampling, rng_for(0, "plan")))

    def image_counts(self, config: RunConfig) -> ImageCounts:
        """Returns how many images pass through the run's network. Raises InputError like `rows`."""
        rows, stages = self.rows(config), config.resolved_phases()
        plan = TrainingPlan(stages, [np.empty(rows, dtype=bool)] * len(stages), batch_size(config.batches), config.seed)
        trained = sum(phase.end - phase.first for phase in plan.phases) * min(plan.batch_size, rows)
        at_report = len(self.selection.scored.images) + min(config.model.bn_recalibration_images, rows)
        return ImageCounts(trained, len(plan.report_steps(config.reports)) * at_report)


def _zeros_for_table(policy: PolicyConfig) -> PolicyConfig:
    return PolicyConfig(kind="zeros") if policy.kind in TABLE_POLICIES else policy


def rungs(grace: float, factor: float, reports: int) -> list[float]:
    """Returns the percents of a run at which ASHA decides: at the first report from grace, grace x factor, ... on."""
    found = []
    while grace < 100:
        found.append(100 * math.ceil(grace * reports / 100 - 1e-9) / reports)
        grace *= factor
    return [percent for percent in dict.fromkeys(found) if percent < 100]


def asha_cost_fraction(at: Sequence[float], factor: float) -> float:
    """Returns the share of all steps that run if exactly 1/factor of trials continue at each rung in `at` (percent)."""
    ends = [0, *at, 100]
    parts = [(end - start) / factor**passed for passed, (start, end) in enumerate(itertools.pairwise(ends))]
    return sum(parts) / 100


def combinations(space: Space) -> int:
    """Returns how many combinations of values the discrete parameters have, given their conditions; 1 without any."""
    return _combinations(list(space), space, {})


def _combinations(paths: Sequence[str], space: Space, values: Mapping[str, Any]) -> int:
    if not paths:
        return 1
    (path, *rest), param = paths, space[paths[0]]
    if not param.exists(values):
        return _combinations(rest, space, values)
    count = value_count(param.domain) or 1
    named = dict.fromkeys(value for other in rest for value in space[other].condition.get(path, ()))
    others = count - len(named)
    total = sum(_combinations(rest, space, {**values, path: value}) for value in named)
    return total + (others * _combinations(rest, space, {**values, path: OTHER_VALUE}) if others > 0 else 0)
