from pathlib import Path

import pytest
import yaml

from search.trials import environment as owner
from search.trials.environment import FILE, environment, environments, record_environment


def test_an_environment_names_versions_and_the_machine() -> None:
    found = environment()
    assert {"python", "torch", "optuna", "ray", "timm", "CPUs", "GPUs"} <= set(found)
    assert all(found.values())


def test_a_machine_that_does_not_name_its_processor_is_named_by_its_kind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owner, "CPUS", tmp_path / "none")
    assert owner.platform.machine() in environment()["CPUs"]


def test_an_environment_is_noted_when_it_is_another_than_before(tmp_path: Path) -> None:
    first, second = {"torch": "1"}, {"torch": "2"}
    assert environments(tmp_path) == []
    for now in (first, first, second, second, first):
        record_environment(tmp_path, now)
    assert environments(tmp_path) == [first, second, first]
    assert yaml.safe_load((tmp_path / FILE).read_text()) == [first, second, first]
