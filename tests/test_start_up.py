"""A command imports what it needs after it has checked what it can without it: mistakes are told in half a second."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.made_search import made_search

BLOCKER = """
import sys

class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in blocked:
            raise ImportError(f"{name} is blocked")

blocked = set(sys.argv[1].split(","))
sys.meta_path.insert(0, Block())
"""
CHEX = "from chex.__main__ import main\n"
SEARCH = "from search.command import main\n"
ONE = "sys.exit(main(sys.argv[2:]))\n"
SHOWN = "assert [main(line.split()) for line in sys.argv[2:]] == [0] * len(sys.argv[2:])\n"
REFUSED = "assert [main(line.split()) for line in sys.argv[2:]] == [2] * len(sys.argv[2:])\n"
HEAVY = "torch,timm,torchvision,ray,sklearn,scipy,pandas,pyarrow,optuna,matplotlib,plotly"


def run(program: str, blocked: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs a program in a process that cannot import the packages `blocked`."""
    return subprocess.run(
        [sys.executable, "-c", BLOCKER + program, blocked, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": str(Path.cwd()), "OMP_NUM_THREADS": "1"},
    )


@pytest.fixture(scope="module")
def search_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search of 12 trials at its end."""
    folder = tmp_path_factory.mktemp("results") / "made"
    made_search(folder, 12)
    return folder


@pytest.mark.parametrize("program", [CHEX, SEARCH])
def test_help_needs_nothing_heavy(program: str) -> None:
    done = run(program + ONE, HEAVY + ",numpy", "--help")
    assert done.returncode == 0, done.stderr


def test_looking_at_a_search_needs_neither_torch_nor_ray_nor_scikit_learn(search_folder: Path) -> None:
    commands = f"status {search_folder}", f"logs {search_folder} 1", f"list --results {search_folder.parent}"
    done = run(SEARCH + SHOWN, "torch,timm,ray,sklearn,pandas,scipy", *commands)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_a_verdict_needs_neither_timm_nor_ray(tmp_path: Path) -> None:
    folder = tmp_path / "results" / "made"
    made_search(folder, 12, space={"optimizer.lr": {"loguniform": [1e-4, 1e-2]}})
    done = run(SEARCH + ONE, "timm,ray", "verdict", str(folder))
    assert done.returncode == 0, done.stderr


CHEX_MISTAKES = {
    "train nothere.yaml": "nothere.yaml is not a file",
    "train configs/run/densenet121.yaml --set optimizer.lr=fast": "optimizer.lr: 'fast'",
    "lr-find configs/run/densenet121.yaml --set optimizer.rate=1": "optimizer.rate: ",
    "predict nothere.safetensors a.png": "nothere.safetensors: no such file or folder",
}
SEARCH_MISTAKES = {
    "run nothere.yaml": "nothere.yaml is not a file",
    "status nothere": "nothere holds no search",
    "logs nothere 1": "nothere holds no search",
}


@pytest.mark.parametrize(("program", "mistakes"), [(CHEX, CHEX_MISTAKES), (SEARCH, SEARCH_MISTAKES)])
def test_a_mistake_is_told_before_anything_heavy_is_imported(program: str, mistakes: dict[str, str]) -> None:
    done = run(program + REFUSED, "torch,timm,ray,sklearn,pandas,scipy,pyarrow", *mistakes)
    assert done.returncode == 0, done.stderr
    for line, said in zip(done.stderr.splitlines(), mistakes.values(), strict=True):
        assert said in line


@pytest.mark.parametrize("program", [CHEX, SEARCH])
def test_tables_are_read_before_torch_is_imported(program: str, tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("Path,Sex\n")
    command = (
        ["train", "configs/run/densenet121.yaml"]
        if program == CHEX
        else ["run", "configs/search/demo.yaml", "--name", "a"]
    )
    done = run(program + ONE, "torch,timm,ray", *command, "--data", str(tmp_path))
    assert done.returncode == 2, done.stderr
    assert str(tmp_path) in done.stderr
