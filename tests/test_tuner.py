from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ray import tune
from ray._raylet import RAY_NODE_ID_KEY
from ray.tune.experiment import Experiment
from ray.util.placement_group import validate_placement_group

from search.tuner import NODE_LABEL, _Desk, _Ends, _Queue, elsewhere


class Conductor:
    def __init__(self) -> None:
        self.heard: list[tuple[int, str]] = []
        self.none_left = False

    def starts_none(self) -> bool:
        return self.none_left

    def failed(self, number: int, error: str) -> None:
        self.heard.append((number, error))


def test_what_a_trials_process_died_of_is_kept_in_full_and_its_last_line_is_told(tmp_path: Path) -> None:
    (tmp_path / "error.txt").write_text("Traceback:\n  in a line\nValueError: no\n")
    trial: Any = SimpleNamespace(config={"number": 3}, error_file=str(tmp_path / "error.txt"))
    conductor: Any = Conductor()
    ends = _Ends(_Desk(conductor, tmp_path))
    ends.on_trial_error(0, [], trial)
    ends.on_trial_error(1, [], trial)
    assert (tmp_path / "trials/003/errors.txt").read_text() == 2 * "Traceback:\n  in a line\nValueError: no\n"
    assert conductor.heard == [(3, "ValueError: no")] * 2


def test_tune_keeps_a_process_for_the_next_trial_only_while_one_may_start(tmp_path: Path) -> None:
    conductor: Any = Conductor()
    queue = _Queue(_Desk(conductor, tmp_path))
    queue.add_configurations([Experiment("tune", print, storage_path=str(tmp_path), num_samples=1)])
    for none_left in (False, True, False):  # the third time a trial under way has died
        conductor.none_left = none_left
        assert queue.is_finished() == none_left


def test_a_request_for_another_node_is_one_that_ray_takes_and_no_other_trials() -> None:
    room = {"cpu": 1, "gpu": 0.25}
    asked = elsewhere(room, {"b" * 56, "a" * 56})
    assert asked.bundles == [{"CPU": 1.0, "GPU": 0.25}]
    selector = asked._bound.arguments["bundle_label_selector"]
    assert selector == [{NODE_LABEL: f"!in({'a' * 56},{'b' * 56})"}]
    assert validate_placement_group(asked.bundles, bundle_label_selector=selector) is None
    assert NODE_LABEL == RAY_NODE_ID_KEY
    assert asked != tune.PlacementGroupFactory([{"CPU": 1, "GPU": 0.25}])
