"""CPUs of a container: laid out as Linux does, in a folder."""

import os
from pathlib import Path

import pytest

from chex.runtime import cpu_count
from chex.runtime.cpu_count import usable_cpus


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine of 8 CPUs, all of which the process may use."""
    monkeypatch.setattr(cpu_count, "CGROUP_ROOT", tmp_path / "cgroup")
    monkeypatch.setattr(cpu_count, "PROCESS_CGROUPS", tmp_path / "groups")
    monkeypatch.setattr(os, "process_cpu_count", lambda: 8, raising=False)
    return tmp_path


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize(
    ("limit", "cpus"), [("max 100000", 8), ("200000 100000", 2), ("250000 100000", 2), ("50000 100000", 1)]
)
def test_the_quota_of_a_container_counts(groups: Path, limit: str, cpus: int) -> None:
    write(groups / "groups", "0::/\n")
    write(groups / "cgroup/cpu.max", f"{limit}\n")
    assert usable_cpus() == cpus


def test_the_smallest_quota_of_the_groups_above_counts(groups: Path) -> None:
    write(groups / "groups", "0::/kubepods/pod7/box\n")
    write(groups / "cgroup/kubepods/pod7/box/cpu.max", "max 100000\n")
    write(groups / "cgroup/kubepods/pod7/cpu.max", "300000 100000\n")
    write(groups / "cgroup/kubepods/cpu.max", "600000 100000\n")
    assert usable_cpus() == 3


@pytest.mark.parametrize(("quota", "cpus"), [("-1", 8), ("400000", 4)])
def test_the_quota_of_version_1_counts(groups: Path, quota: str, cpus: int) -> None:
    write(groups / "groups", "5:cpu,cpuacct:/docker/abc\n4:memory:/docker/abc\n")
    folder = groups / "cgroup/cpu,cpuacct"  # inside a container the path of the host is not there, the root is
    write(folder / "cpu.cfs_quota_us", quota)
    write(folder / "cpu.cfs_period_us", "100000")
    assert usable_cpus() == cpus


def test_without_control_groups_the_affinity_counts(groups: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert usable_cpus() == 8
    monkeypatch.delattr(os, "process_cpu_count")
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 3}, raising=False)
    assert usable_cpus() == 2
