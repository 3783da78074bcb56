"""Runs every command on every file of configs/run and configs/search that it takes, with tiny settings."""

import shutil
from pathlib import Path

import pandas as pd
import pytest

from chex.__main__ import main as chex
from chex.schema.labels import UNCERTAIN
from search.command import main as chex_search
from search.planning import plan as planning
from search.ray_nodes.nodes import Node

RUNS = sorted(Path("configs/run").glob("*.yaml"))
SEARCHES = sorted(Path("configs/search").glob("*.yaml"))
TINY = ["image.size=32", "model.backbone=test_resnet", "model.pretrained=false", "device.kind=cpu", "device.threads=1"]


@pytest.fixture(scope="module")
def uncertain_tree(plain_tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree with every observation, whose labels are uncertain in every fourth training image."""
    root = tmp_path_factory.mktemp("uncertain") / plain_tree.name
    shutil.copytree(plain_tree, root)
    table = pd.read_csv(root / "train.csv")
    table.loc[::4, "Enlarged Cardiomediastinum":"Support Devices"] = float(UNCERTAIN)
    table.to_csv(root / "train.csv", index=False)
    return root


@pytest.mark.parametrize(
    "path",
    [pytest.param(path, id=path.stem, marks=[pytest.mark.slow] if path.stem != "trial30" else []) for path in RUNS],
)
def test_every_command_runs_every_run_of_the_project(
    path: Path, uncertain_tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sets = ["--set", *TINY, f"image.cache_dir={tmp_path / 'cache'}", "schedule.epochs=1"]
    arguments = [str(path), "--data", str(uncertain_tree), *sets]
    assert chex(["train", *arguments, "--out", str(tmp_path / "run")]) == 0
    assert chex(["lr-find", *arguments, "--steps", "10", "--out", str(tmp_path / "rates")]) == 0
    assert chex(["relabel", "forest", *arguments, "--out", str(tmp_path / "forest")]) == 0
    assert chex(["relabel", "teacher", *arguments, "--out", str(tmp_path / "teacher")]) == 0
    weights = str(tmp_path / "run" / "best.safetensors")
    cache = f"image.cache_dir={tmp_path / 'cache'}"
    evaluate = ["evaluate", weights, "--data", str(uncertain_tree), "--out", str(tmp_path / "page"), "--set", cache]
    assert chex(evaluate) == 0
    assert "validation AUROC" in capsys.readouterr().out
    for name in ("run/best.safetensors", "rates/rates.csv", "forest/probabilities.csv", "teacher/probabilities.csv"):
        assert (tmp_path / name).is_file(), name


@pytest.mark.parametrize("path", SEARCHES, ids=lambda path: path.stem)
def test_every_search_of_the_project_can_be_planned(
    path: Path, uncertain_tree: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planning, "this_machine", lambda: Node(2, 1))
    arguments = ["--data", str(uncertain_tree), "--images-per-second", "100", "--set", "image.size=32"]
    assert chex_search(["plan", str(path), *arguments]) == 0
    assert capsys.readouterr().out.startswith(path.stem)
