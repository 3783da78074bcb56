import threading
from pathlib import Path
from typing import Any

import pytest

from search.engine import step_reports
from search.engine.step_reports import follow_steps, publish_steps
from search.storage.search_storage import _is_synced_here
from search.trials import layout
from search.trials.trial_progress import Step, load_steps, save_steps


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> dict[bytes, bytes]:
    """Replaces Ray's key-value store by a dict, with short intervals."""
    contents: dict[bytes, bytes] = {}
    kv = step_reports.internal_kv

    def put(key: bytes, value: bytes, namespace: bytes) -> None:
        contents[key] = value

    def delete(key: bytes, del_by_prefix: bool, namespace: bytes) -> None:
        for name in [name for name in contents if name.startswith(key)]:
            del contents[name]

    monkeypatch.setattr(kv, "_internal_kv_initialized", lambda: True)
    monkeypatch.setattr(kv, "_internal_kv_put", put)
    monkeypatch.setattr(kv, "_internal_kv_get", lambda key, namespace: contents.get(key))
    monkeypatch.setattr(kv, "_internal_kv_del", delete)
    monkeypatch.setattr(step_reports, "UPDATE_SECONDS", 0.001)
    return contents


def wait_for(event: threading.Event) -> None:
    assert event.wait(30)


def test_the_search_receives_the_steps_of_a_trial(store: dict[bytes, bytes]) -> None:
    received, steps = threading.Event(), dict[int, Step]()

    def callback(progress: Any) -> None:
        steps.update(progress)
        if progress:
            received.set()

    folder = Path("/results/demo")
    trials = {number: folder / f"trials/{number:03d}" for number in (1, 2)}
    with follow_steps(folder, lambda: trials, callback), publish_steps(str(trials[1]), batch_size=32) as step:
        step(3, 12)
        wait_for(received)
    assert steps == {1: Step(0.25, 96)}
    assert store == {}  # an ended search leaves nothing in the cluster


def test_nothing_is_published_before_the_first_step(store: dict[bytes, bytes]) -> None:
    with publish_steps("t", batch_size=32):
        pass
    assert store == {}


def test_errors_while_publishing_and_reading_steps_are_ignored(
    store: dict[bytes, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    called = threading.Event()

    def fail(*how: Any, **more: Any) -> None:
        called.set()
        raise RuntimeError("the head is gone")

    for name in ("_internal_kv_put", "_internal_kv_get", "_internal_kv_del"):
        monkeypatch.setattr(step_reports.internal_kv, name, fail)
    with publish_steps("t", batch_size=32) as step:
        step(1, 2)
        wait_for(called)
    called.clear()
    with follow_steps(Path("s"), lambda: {1: Path("s/1")}, lambda progress: None):
        wait_for(called)


def test_the_time_left_is_extrapolated_from_the_trials_current_process() -> None:
    now = iter([0.0, 100.0, 110.0])
    progress = step_reports._StepCounter(batch_size=8, clock=lambda: next(now))
    progress.step(50, 100)  # resumes from a checkpoint
    assert progress.progress() == Step(0.5, 400)
    progress.step(60, 100)
    assert progress.progress() == Step(0.6, 480, pytest.approx(40.0))


def test_another_command_reads_the_steps_from_the_folder(tmp_path: Path) -> None:
    save_steps(tmp_path, {3: Step(0.25, 96, 12.5)})
    assert load_steps(tmp_path) == {3: Step(0.25, 96, 12.5)}


@pytest.mark.parametrize("content", ["", "[]", '{"1": 3}', '{"1": {"other": 2}}', '{"a": {}}'])
def test_an_unreadable_file_of_steps_counts_as_missing(content: str, tmp_path: Path) -> None:
    (tmp_path / layout.STEPS).write_text(content)
    assert load_steps(tmp_path) == {}


def test_steps_are_not_synced() -> None:
    assert not _is_synced_here(layout.STEPS)
