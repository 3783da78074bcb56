"""The product's proposals and cuts in the arena."""

from collections.abc import Sequence
from dataclasses import dataclass

from optuna.trial import FrozenTrial, TrialState, create_trial

from chex.statistics.metrics import METRIC
from search.optimize.pruning import PruningConfig, should_prune
from search.optimize.samplers import AUROC_OF, SamplerConfig, propose
from search.space.space import Space
from search.trials.stored_reports import report_name
from tests.bench.search_arena import Point, Sample, Trial, highest

STATES = {
    "running": TrialState.RUNNING,
    "finished": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}


@dataclass
class ProductSearcher:
    """Proposes and cuts as a search of the product does."""

    sampler: SamplerConfig
    rule: PruningConfig | None
    space: Space
    observations: tuple[str, ...]

    def propose(self, trials: Sequence[Trial], spent: float) -> Sample:
        return propose(self.sampler, self.space, [], [self._told(trial) for trial in trials])

    def stops(self, trial: Trial, trials: Sequence[Trial]) -> bool:
        curves = {other.number: other.lifted for other in trials if other.lifted}
        return self.rule is not None and should_prune(self.rule, trial.number, curves)

    def ended(self, trial: Trial) -> None:
        pass

    def leader(self, trials: Sequence[Trial]) -> Trial | None:
        return highest([trial for trial in trials if trial.state != "running"])

    def _told(self, trial: Trial) -> FrozenTrial:
        state = STATES[trial.state]
        return create_trial(
            state=state,
            value=trial.value if state == TrialState.COMPLETE else None,
            params=trial.sample,
            distributions={path: self.space[path].domain for path in trial.sample},
            intermediate_values={point.percent: point.value for point in trial.lifted},
            system_attrs={
                report_name(place): {METRIC: point.value} | self._aurocs(point)
                for place, point in enumerate(trial.points, 1)
            },
        )

    def _aurocs(self, point: Point) -> dict[str, float]:
        names = (f"{AUROC_OF}{name}" for name in self.observations)
        return dict(zip(names, point.values, strict=False))
