"""Records in environment.yaml the package versions and the machine of a search, whenever they change."""

import platform
from importlib.metadata import version
from pathlib import Path

import yaml

from chex.runtime.atomic_io import write_text
from chex.runtime.cpu_count import usable_cpus

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
    """Returns the versions of Python, CUDA and PACKAGES, and this machine's system, CPUs and GPUs."""
    import torch  # slow, and readers of environment.yaml do not need it

    return {
        "system": platform.platform(),
        "CPUs": f"{usable_cpus()} x {_cpu_model()}",
        "GPUs": ", ".join(map(torch.cuda.get_device_name, range(torch.cuda.device_count()))) or "none",
        "CUDA": torch.version.cuda or "none",
        "python": platform.python_version(),
        **{name: version(name) for name in PACKAGES},
    }


def record_environment(folder: Path, now: dict[str, str]) -> None:
    """Appends `now` to the environments of the search in `folder`, unless it is the last of them already."""
    recorded = environments(folder)
    if recorded[-1:] != [now]:
        write_text(folder / FILE, yaml.safe_dump([*recorded, now], sort_keys=False, allow_unicode=True))


def environments(folder: Path) -> list[dict[str, str]]:
    """Returns the environments of the search in `folder`, the oldest first; empty if none were recorded."""
    path = folder / FILE
    return list(yaml.safe_load(path.read_text(encoding="utf-8"))) if path.is_file() else []


def _cpu_model() -> str:
    lines = CPUS.read_text(encoding="utf-8", errors="replace").splitlines() if CPUS.is_file() else []
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.machine())
