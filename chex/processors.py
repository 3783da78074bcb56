"""How many CPUs this process may use: its affinity, and less where a container's quota of CPU time gives less."""

import os
from collections.abc import Iterator
from pathlib import Path

GROUPS = Path("/sys/fs/cgroup")
OWN = Path("/proc/self/cgroup")
"""Which control groups this process is in."""


def usable_cpus() -> int:
    """Returns how many CPUs this process may use, at least 1.

    That is the number of its affinity (`taskset`, `docker --cpuset-cpus`), or the whole CPUs of the smallest quota of
    the control groups that it is in (`docker --cpus`, a Kubernetes limit), version 1 or 2, where that is less.
    """
    return max(1, min([_affinity(), *(int(quota) for quota in _quotas())]))


def _affinity() -> int:
    counted = getattr(os, "process_cpu_count", None)  # from Python 3.13, which lets `-X cpu_count` lower it
    if counted:
        return counted() or 1
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def _quotas() -> Iterator[float]:
    """CPUs that each group allows which has a limit, from this process's own up to the outermost that can be seen."""
    for line in _words(OWN, "\n"):
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            for folder in _upwards(GROUPS, path):
                limit = _words(folder / "cpu.max")
                if len(limit) == 2 and limit[0] != "max":
                    yield float(limit[0]) / float(limit[1])
        elif "cpu" in controllers.split(","):
            for folder in _upwards(GROUPS / controllers, path):
                quota, period = (_words(folder / f"cpu.cfs_{name}_us") for name in ("quota", "period"))
                if quota and period and float(quota[0]) > 0:
                    yield float(quota[0]) / float(period[0])


def _upwards(root: Path, path: str) -> Iterator[Path]:
    own = root / path.strip("/")
    while True:
        yield own
        if own == root or root not in own.parents:
            return
        own = own.parent


def _words(path: Path, at: str | None = None) -> list[str]:
    """What is in a file, split; nothing where it cannot be read, as where there are no control groups."""
    try:
        return path.read_text(encoding="utf-8").strip().split(at)
    except OSError:
        return []
