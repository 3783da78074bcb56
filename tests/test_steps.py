import threading
from pathlib import Path
from typing import Any

import pytest

from search import steps
from search.steps import Step, following, load, save, telling
from search.stored import _of_driver


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> dict[bytes, bytes]:
    """What Ray's key-value store would hold; nobody waits a second."""
    held: dict[bytes, bytes] = {}
    kv = steps.internal_kv

    def put(key: bytes, value: bytes, namespace: bytes) -> None:
        held[key] = value

    def delete(key: bytes, del_by_prefix: bool, namespace: bytes) -> None:
        for name in [name for name in held if name.startswith(key)]:
            del held[name]

    monkeypatch.setattr(kv, "_internal_kv_initialized", lambda: True)
    monkeypatch.setattr(kv, "_internal_kv_put", put)
    monkeypatch.setattr(kv, "_internal_kv_get", lambda key, namespace: held.get(key))
    monkeypatch.setattr(kv, "_internal_kv_del", delete)
    monkeypatch.setattr(steps, "EVERY_SECONDS", 0.001)
    return held


def once(happened: threading.Event) -> None:
    assert happened.wait(30)


def test_what_a_trial_tells_is_heard_by_the_search(store: dict[bytes, bytes]) -> None:
    heard, found = threading.Event(), dict[int, Step]()

    def hear(told: Any) -> None:
        found.update(told)
        if told:
            heard.set()

    folder = Path("/results/demo")
    trials = {number: folder / f"trials/{number:03d}" for number in (1, 2)}
    with following(folder, lambda: trials, hear), telling(str(trials[1]), batch=32) as step:
        step(3, 12)
        once(heard)
    assert found == {1: Step(0.25, 96)}
    assert store == {}  # of a search that has ended, a cluster keeps nothing


def test_nothing_is_told_before_the_first_step(store: dict[bytes, bytes]) -> None:
    with telling("t", batch=32):
        pass
    assert store == {}


def test_what_goes_wrong_in_telling_and_hearing_is_of_no_consequence(
    store: dict[bytes, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = threading.Event()

    def dead(*how: Any, **more: Any) -> None:
        tried.set()
        raise RuntimeError("the head is gone")

    for name in ("_internal_kv_put", "_internal_kv_get", "_internal_kv_del"):
        monkeypatch.setattr(steps.internal_kv, name, dead)
    with telling("t", batch=32) as step:
        step(1, 2)
        once(tried)
    tried.clear()
    with following(Path("s"), lambda: {1: Path("s/1")}, lambda told: None):
        once(tried)


def test_the_time_left_is_what_a_trials_own_process_makes_of_it() -> None:
    now = iter([0.0, 100.0, 110.0])
    told = steps._Told(batch=8, clock=lambda: next(now))
    told.step(50, 100)  # goes on from a checkpoint
    assert told.last() == Step(0.5, 400)
    told.step(60, 100)
    assert told.last() == Step(0.6, 480, pytest.approx(40.0))


def test_another_command_reads_the_steps_from_the_folder(tmp_path: Path) -> None:
    save(tmp_path, {3: Step(0.25, 96, 12.5)})
    assert load(tmp_path) == {3: Step(0.25, 96, 12.5)}


@pytest.mark.parametrize("content", ["", "[]", '{"1": 3}', '{"1": {"other": 2}}', '{"a": {}}'])
def test_a_file_of_steps_that_cannot_be_read_is_as_none(content: str, tmp_path: Path) -> None:
    (tmp_path / steps.STEPS).write_text(content)
    assert load(tmp_path) == {}


def test_steps_are_in_no_storage() -> None:
    assert not _of_driver(steps.STEPS)
