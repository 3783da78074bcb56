"""The number of CPUs that this process may use, from its affinity and from the CPU quota of its container."""

import os
from collections.abc import Iterator
from pathlib import Path

CGROUP_ROOT = Path("/sys/fs/cgroup")
PROCESS_CGROUPS = Path("/proc/self/cgroup")
"""The file that lists the control groups of this process."""


def usable_cpus() -> int:
    """Returns the number of CPUs that this process may use, at least 1.

    The number is the smaller of its affinity (`taskset`, `docker --cpuset-cpus`) and the smallest quota of its control
    groups, version 1 or 2, in whole CPUs (`docker --cpus`, a Kubernetes limit).
    """
    return max(1, min([_affinity(), *(int(quota) for quota in _quotas())]))


def _affinity() -> int:
    process_cpu_count = getattr(os, "process_cpu_count", None)  # from Python 3.13, where `-X cpu_count` can lower it
    if process_cpu_count:
        return process_cpu_count() or 1
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def _quotas() -> Iterator[float]:
    """Yields the quota in CPUs of each control group with a limit, from the process's group up to the visible root."""
    for line in _words(PROCESS_CGROUPS, "\n"):
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            for folder in _group_folders(CGROUP_ROOT, path):
                limit = _words(folder / "cpu.max")
                if len(limit) == 2 and limit[0] != "max":
                    yield float(limit[0]) / float(limit[1])
        elif "cpu" in controllers.split(","):
            for folder in _group_folders(CGROUP_ROOT / controllers, path):
                quota, period = (_words(folder / f"cpu.cfs_{name}_us") for name in ("quota", "period"))
                if quota and period and float(quota[0]) > 0:
                    yield float(quota[0]) / float(period[0])


def _group_folders(root: Path, path: str) -> Iterator[Path]:
    """Yields the folder of the control group `path` and those above it, up to `root`."""
    folder = root / path.strip("/")
    while True:
        yield folder
        if folder == root or root not in folder.parents:
            return
        folder = folder.parent


def _words(path: Path, separator: str | None = None) -> list[str]:
    """Returns the content of a file, split; [] if it cannot be read, for example without control groups."""
    try:
        return path.read_text(encoding="utf-8").strip().split(separator)
    except OSError:
        return []
