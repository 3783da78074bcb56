"""Importing is free: it changes nothing in the process and on the disk, and the packages themselves load nothing."""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

SNAPSHOT = """
import logging, os, signal, sys, threading
from pathlib import Path

def snapshot():
    loggers = [logging.root, *(each for each in logging.root.manager.loggerDict.values() if hasattr(each, "level"))]
    return {
        "environment": dict(os.environ),
        "handlers": {each.name: [type(one) for one in each.handlers] for each in loggers if each.handlers},
        "levels": {each.name: each.level for each in loggers if each.level},
        "folder": os.getcwd(),
        "threads": {thread.name for thread in threading.enumerate()},
        "files": sorted(map(str, Path.home().rglob("*"))),
        "hooks": (sys.excepthook, threading.excepthook, *map(signal.getsignal, (signal.SIGINT, signal.SIGTERM))),
    }

def check(before):
    after = snapshot()
    assert after == before, {name: (before[name], after[name]) for name in before if after[name] != before[name]}
"""
LIGHT = """
before = snapshot()
import chex, search, chex.__main__, search.__main__
check(before)
heavy = {"matplotlib", "numpy", "optuna", "pandas", "plotly", "pyarrow", "ray", "torch"} & sys.modules.keys()
assert not heavy, heavy
"""
EVERYTHING = """
import pkgutil, importlib
# What these change is not ours.
import imblearn, matplotlib.pyplot, obstore.store, optuna, pandas, plotly, pyarrow.fs, pyarrow.parquet, rich.console
import safetensors.torch, sklearn, sqlalchemy, tensorboard.summary.v1, timm, torch, torchvision
import ray.tune.schedulers, ray.tune.search
before = snapshot()
import chex, search
for package in (chex, search):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        importlib.import_module(module.name)
check(before)
"""

DECIDING = """
import importlib, pkgutil, sys

class Block:
    def find_spec(self, name, path, target=None):
        assert name not in ("torch", "timm", "sklearn", "ray"), name

sys.meta_path.insert(0, Block())
importlib.import_module("search.engine.controller")
for room in ("analysis", "config", "optimize", "space", "trials"):
    package = importlib.import_module(f"search.{room}")
    for module in pkgutil.iter_modules(package.__path__, f"search.{room}."):
        if module.name != "search.analysis.trial_model":  # computes with torch, and is imported when a verdict needs it
            importlib.import_module(module.name)
"""


def ran(program: str, home: Path) -> None:
    """Runs a program in a process of its own, whose home and folder is `home`."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "TUNE_"))}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    environment |= {"HOME": str(home), "PYTHONPATH": str(Path.cwd())}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=home, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_packages_and_their_commands_load_nothing_heavy_and_change_nothing(tmp_path: Path) -> None:
    ran(SNAPSHOT + LIGHT, tmp_path)


@pytest.mark.slow
def test_no_module_of_either_package_changes_anything_when_it_is_imported(tmp_path: Path) -> None:
    ran(SNAPSHOT + EVERYTHING, tmp_path)


def test_the_modules_that_decide_load_without_torch_timm_scikit_learn_and_ray(tmp_path: Path) -> None:
    ran(DECIDING, tmp_path)


def test_another_package_named_chex_is_told_before_anything_of_it_is_used(tmp_path: Path) -> None:
    (tmp_path / "chex").mkdir()
    (tmp_path / "chex" / "__init__.py").touch()
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(Path.cwd())])}
    command = [sys.executable, "-P", "-m", "search", "list"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    told = (
        f"chex-search: `chex` was imported from {tmp_path} and `search` from {Path.cwd()}; they must lie side by side"
    )
    assert (done.returncode, done.stderr.partition(":")[0]) == (2, "chex-search")
    assert done.stderr.startswith(told)


BENCHES = sorted(path.stem for path in Path("tests/bench").glob("*.py") if path.stem != "syne_tune_peer")


@pytest.mark.parametrize("name", BENCHES)
def test_a_bench_fits_the_product_of_today(name: str) -> None:
    importlib.import_module(f"tests.bench.{name}")
