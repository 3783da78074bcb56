import json
from collections import deque
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray.train._internal.storage
from ray import tune
from ray._raylet import RAY_NODE_ID_KEY
from ray.tune.experiment import Experiment, Trial
from ray.util.placement_group import validate_placement_group

from chex.statistics.metrics import METRIC
from search.engine.controller import SearchFinished
from search.engine.tune_plugins import (
    NODE_LABEL,
    BudgetStopper,
    ErrorCallback,
    TrialGenerator,
    TuneBridge,
    request_on_other_nodes,
    result_loggers,
)
from search.trials.trial import TrialRecord

EARLIER = (
    TrialRecord(1, "pruned", {"optimizer.lr": 0.1}, ({"step": 1, METRIC: 0.6}, {"step": 2, METRIC: 0.7})),
    TrialRecord(2, "failed", {"optimizer.lr": 9.0}, ({"step": 1, METRIC: 0.5},), "diverged"),
    TrialRecord(3, "pending", {"optimizer.lr": 0.3}, ({"step": 1, METRIC: 0.8},)),
)


class Controller:
    """A controller that resumes EARLIER."""

    def __init__(self, trials: tuple[TrialRecord, ...] = ()) -> None:
        self.trials = list(trials)
        self.pending = deque(trial for trial in trials if trial.state == "pending")
        self.errors: list[tuple[int, str]] = []
        self.exhausted = False
        self.stop: str | None = None

    def suggest(self) -> TrialRecord | None:
        if not self.pending:
            raise SearchFinished
        return self.pending.popleft()

    def is_exhausted(self) -> bool:
        return self.exhausted

    def should_stop(self) -> str | None:
        return self.stop

    def on_error(self, number: int, error: str) -> None:
        self.errors.append((number, error))


def bridge_of(controller: Any, folder: Path) -> TuneBridge:
    return TuneBridge(controller, folder)


def generator_of(bridge: TuneBridge, storage: Path) -> TrialGenerator:
    generator = TrialGenerator(bridge, result_loggers())
    generator.add_configurations([Experiment("tune", print, storage_path=str(storage), num_samples=-1)])
    generator._total_samples = 2**31  # as Tune sets it for -1
    return generator


def test_the_traceback_of_a_crashed_trial_is_written_to_its_folder_and_the_last_line_is_reported(
    tmp_path: Path,
) -> None:
    (tmp_path / "error.txt").write_text("Traceback:\n  in a line\nValueError: no\n")
    trial: Any = SimpleNamespace(trial_id="a", error_file=str(tmp_path / "error.txt"))
    controller = Controller()
    bridge = bridge_of(controller, tmp_path)
    bridge.records["a"] = TrialRecord(3, "running", {})
    callback = ErrorCallback(bridge)
    callback.on_trial_error(0, [], trial)
    callback.on_trial_error(1, [], trial)
    assert (tmp_path / "trials/003/errors.txt").read_text() == 2 * "Traceback:\n  in a line\nValueError: no\n"
    assert controller.errors == [(3, "ValueError: no")] * 2


def test_tune_keeps_an_idle_process_only_while_another_trial_may_start(tmp_path: Path) -> None:
    controller = Controller()
    generator = generator_of(bridge_of(controller, tmp_path), tmp_path)
    for exhausted in (False, True, False):  # the third time a running trial has crashed
        controller.exhausted = exhausted
        assert generator.is_finished() == exhausted


def test_tune_gets_the_ended_trials_of_an_earlier_process_as_ended_and_then_starts_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray.train._internal.storage, "_get_ray_train_session_dir", lambda: str(tmp_path / "session"))
    controller = Controller(EARLIER)
    controller.exhausted, controller.stop = True, "the budget is spent"
    bridge = bridge_of(controller, tmp_path)
    generator, stopper = generator_of(bridge, tmp_path), BudgetStopper(bridge)
    found = []
    for _ in EARLIER:
        assert not generator.is_finished() or not bridge.earlier
        found.append((generator.create_trial_if_possible(generator._experiment.spec), stopper.stop_all()))
    trials = [trial for trial, _ in found if trial]
    assert [str(trial) for trial in trials] == ["trial_001", "trial_002", "trial_003"]
    assert [trial.config for trial in trials] == [record.params for record in EARLIER]
    assert [trial.status for trial in trials] == [Trial.TERMINATED, Trial.TERMINATED, Trial.PENDING]
    assert [stops for _, stops in found] == [False, True, True]
    results = [json.loads(line) for line in Path(trials[0].local_path, "result.json").read_text().splitlines()]
    assert [result[METRIC] for result in results] == [0.6, 0.7]
    assert trials[0].last_result[METRIC] == 0.7
    assert trials[1].last_result["failure"] == "diverged"


def test_ray_accepts_a_request_for_another_node_and_it_equals_no_other_request() -> None:
    resources = {"cpu": 1, "gpu": 0.25}
    request = request_on_other_nodes(resources, {"b" * 56, "a" * 56})
    assert request.bundles == [{"CPU": 1.0, "GPU": 0.25}]
    selector = request._bound.arguments["bundle_label_selector"]
    assert selector == [{NODE_LABEL: f"!in({'a' * 56},{'b' * 56})"}]
    assert validate_placement_group(request.bundles, bundle_label_selector=selector) is None
    assert NODE_LABEL == RAY_NODE_ID_KEY
    assert request != tune.PlacementGroupFactory([{"CPU": 1, "GPU": 0.25}])
