"""What a search costs, counted before it starts: images of runs and trials, rungs, trials at once, seconds."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from chex.batches import batch_size
from chex.config import RunConfig
from chex.prepare import Selection
from chex.sampling import SamplingConfig, sample_rows
from chex.seeds import stream
from chex.stages import Stages
from chex.uncertainty import TABLE_POLICIES, PolicyConfig, policy_of, targets
from search.space import Space, countable

ANOTHER = object()
"""Any value of a knob that no condition names."""


@dataclass(frozen=True)
class Load:
    """How many images pass through a network, repeats counted."""

    trained: float
    """To learn from."""
    scored: float
    """To validate at reports, and to refresh the statistics of batch norms there."""

    def __add__(self, other: "Load") -> "Load":
        return Load(self.trained + other.trained, self.scored + other.scored)

    def __mul__(self, times: float) -> "Load":
        return Load(self.trained * times, self.scored * times)


@dataclass(frozen=True)
class Speed:
    """Images a second of one trial."""

    trained: float
    scored: float

    def seconds(self, load: Load) -> float:
        """How long one trial alone takes for `load`."""
        return load.trained / self.trained + load.scored / self.scored


def passes(config: RunConfig) -> float:
    """How often a run goes over the training films that it may see: epochs times the sampled fraction."""
    return config.sampling.fraction * sum(each.epochs for each in config.stages())


class Sampled:
    """How many rows of a tree a run trains on, found without drawing them again for each trial."""

    def __init__(self, selection: Selection):
        self.selection = selection
        self._balanced: dict[tuple[Any, ...], int] = {}

    def rows(self, config: RunConfig) -> int:
        """About how many: a fraction of patients is taken for one of rows, and cells of tables for negative ones.

        Raises InputError where sampling leaves no run.
        """
        policies = tuple(policy_of(config.policy, name) for name in self.selection.observations)
        key = (config.sampling.balance, *map(str, policies))
        if key not in self._balanced:
            self._balanced[key] = self._count(config, policies)
        return round(config.sampling.fraction * self._balanced[key])

    def _count(self, config: RunConfig, policies: Sequence[PolicyConfig]) -> int:
        ignoring = all(policy.kind == "ignore" for policy in policies)
        if config.sampling.balance == "none" and not ignoring:
            return len(self.selection.trainable)
        tree, names = self.selection.tree.train, self.selection.observations
        plain = {"default": PolicyConfig(kind="zeros")} | dict(zip(names, map(_without_table, policies), strict=True))
        cells = targets(tree.labels, names, plain, config.seed)
        sampling = SamplingConfig(balance=config.sampling.balance)
        return len(sample_rows(cells, self.selection.trainable, tree.patients, sampling, stream(0, "plan")))

    def load(self, config: RunConfig) -> Load:
        """What a run passes through its network. Raises InputError where sampling leaves no run."""
        rows, stages = self.rows(config), config.stages()
        plan = Stages(stages, [np.empty(rows, dtype=bool)] * len(stages), batch_size(config.batches), config.seed)
        trained = sum(each.epoch_steps * each.plan.epochs for each in plan.all) * min(plan.batch, rows)
        at_report = len(self.selection.scored.films) + min(config.model.statistics_films, rows)
        return Load(trained, len(plan.report_steps(config.reports)) * at_report)


def _without_table(policy: PolicyConfig) -> PolicyConfig:
    return PolicyConfig(kind="zeros") if policy.kind in TABLE_POLICIES else policy


def rungs(grace: float, factor: float, reports: int) -> list[float]:
    """Per cent of a run at which ASHA decides: at grace, grace x factor, ..., each at the report that reaches it."""
    found = []
    while grace < 100:
        found.append(100 * math.ceil(grace * reports / 100 - 1e-9) / reports)
        grace *= factor
    return [percent for percent in dict.fromkeys(found) if percent < 100]


def share_run(at: Sequence[float], factor: float) -> float:
    """The share of all steps that is run where exactly the best 1/factor of the trials goes on at each rung."""
    ends = [0, *at, 100]
    parts = [(end - start) / factor**passed for passed, (start, end) in enumerate(itertools.pairwise(ends))]
    return sum(parts) / 100


def combinations(space: Space) -> int:
    """How many combinations the knobs with countable values have, conditions heeded; 1 where all are continuous."""
    return _combinations(list(space), space, {})


def _combinations(paths: Sequence[str], space: Space, values: Mapping[str, Any]) -> int:
    if not paths:
        return 1
    (path, *rest), knob = paths, space[paths[0]]
    if not knob.exists(values):
        return _combinations(rest, space, values)
    count = countable(knob.domain) or 1
    asked = dict.fromkeys(value for other in rest for value in space[other].when.get(path, ()))
    others = count - len(asked)
    total = sum(_combinations(rest, space, {**values, path: value}) for value in asked)
    return total + (others * _combinations(rest, space, {**values, path: ANOTHER}) if others > 0 else 0)
