from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ray import tune
from ray._raylet import RAY_NODE_ID_KEY
from ray.tune.experiment import Experiment
from ray.util.placement_group import validate_placement_group

from search.engine.tune_bridge import NODE_LABEL, ErrorCallback, TrialGenerator, TuneBridge, request_on_other_nodes


class Controller:
    def __init__(self) -> None:
        self.errors: list[tuple[int, str]] = []
        self.exhausted = False

    def is_exhausted(self) -> bool:
        return self.exhausted

    def on_error(self, number: int, error: str) -> None:
        self.errors.append((number, error))


def test_the_traceback_of_a_crashed_trial_is_written_to_its_folder_and_the_last_line_is_reported(
    tmp_path: Path,
) -> None:
    (tmp_path / "error.txt").write_text("Traceback:\n  in a line\nValueError: no\n")
    trial: Any = SimpleNamespace(config={"number": 3}, error_file=str(tmp_path / "error.txt"))
    controller: Any = Controller()
    callback = ErrorCallback(TuneBridge(controller, tmp_path))
    callback.on_trial_error(0, [], trial)
    callback.on_trial_error(1, [], trial)
    assert (tmp_path / "trials/003/errors.txt").read_text() == 2 * "Traceback:\n  in a line\nValueError: no\n"
    assert controller.errors == [(3, "ValueError: no")] * 2


def test_tune_keeps_an_idle_process_only_while_another_trial_may_start(tmp_path: Path) -> None:
    controller: Any = Controller()
    generator = TrialGenerator(TuneBridge(controller, tmp_path))
    generator.add_configurations([Experiment("tune", print, storage_path=str(tmp_path), num_samples=1)])
    for exhausted in (False, True, False):  # the third time a running trial has crashed
        controller.exhausted = exhausted
        assert generator.is_finished() == exhausted


def test_ray_accepts_a_request_for_another_node_and_it_equals_no_other_request() -> None:
    resources = {"cpu": 1, "gpu": 0.25}
    request = request_on_other_nodes(resources, {"b" * 56, "a" * 56})
    assert request.bundles == [{"CPU": 1.0, "GPU": 0.25}]
    selector = request._bound.arguments["bundle_label_selector"]
    assert selector == [{NODE_LABEL: f"!in({'a' * 56},{'b' * 56})"}]
    assert validate_placement_group(request.bundles, bundle_label_selector=selector) is None
    assert NODE_LABEL == RAY_NODE_ID_KEY
    assert request != tune.PlacementGroupFactory([{"CPU": 1, "GPU": 0.25}])
