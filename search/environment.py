"""What a search ran on: versions and the machine, noted in its folder each time that something of it is new."""

import platform
from importlib.metadata import version
from pathlib import Path

import torch
import yaml

from chex.atomic import write_text
from chex.processors import usable_cpus

FILE = "environment.yaml"
PACKAGES = (
    "torch",
    "torchvision",
    "timm",
    "ray",
    "optuna",
    "numpy",
    "pandas",
    "scikit-learn",
    "pillow",
    "chexpert-search",
)
CPUS = Path("/proc/cpuinfo")


def environment() -> dict[str, str]:
    """Versions, and the processors of this machine, in words."""
    return {
        "system": platform.platform(),
        "CPUs": f"{usable_cpus()} x {_cpu()}",
        "GPUs": ", ".join(map(torch.cuda.get_device_name, range(torch.cuda.device_count()))) or "none",
        "CUDA": torch.version.cuda or "none",
        "python": platform.python_version(),
        **{name: version(name) for name in PACKAGES},
    }


def note_environment(folder: Path, now: dict[str, str]) -> None:
    """Adds `now` to the environments that the search in `folder` has had, where it is not the last of them."""
    before = environments(folder)
    if before[-1:] != [now]:
        write_text(folder / FILE, yaml.safe_dump([*before, now], sort_keys=False, allow_unicode=True))


def environments(folder: Path) -> list[dict[str, str]]:
    """The environments that the search in `folder` has had, the first first; none where nobody noted them."""
    path = folder / FILE
    return list(yaml.safe_load(path.read_text(encoding="utf-8"))) if path.is_file() else []


def _cpu() -> str:
    lines = CPUS.read_text(encoding="utf-8", errors="replace").splitlines() if CPUS.is_file() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.machine())
