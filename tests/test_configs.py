"""Every command runs on every file of configs/ that it takes, made tiny; clusters have tests of their own."""

import shutil
from pathlib import Path

import pandas as pd
import pytest

from chex.__main__ import main as chex
from chex.labels import UNCERTAIN
from search import plan as planning
from search.command import main as chex_search
from search.nodes import Node

RUNS = sorted(Path("configs/run").glob("*.yaml"))
SEARCHES = sorted(Path("configs/search").glob("*.yaml"))
TINY = ["image.size=32", "model.backbone=test_resnet", "model.pretrained=false", "device.kind=cpu", "device.threads=1"]


@pytest.fixture(scope="module")
def doubtful_tree(plain_tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree with findings of every kind, of which every fourth training film is uncertain."""
    root = tmp_path_factory.mktemp("doubtful") / plain_tree.name
    shutil.copytree(plain_tree, root)
    table = pd.read_csv(root / "train.csv")
    table.loc[::4, "Enlarged Cardiomediastinum":"Support Devices"] = float(UNCERTAIN)
    table.to_csv(root / "train.csv", index=False)
    return root


@pytest.mark.parametrize("path", RUNS, ids=lambda path: path.stem)
def test_every_command_for_a_run_takes_every_run_of_the_project(
    path: Path, doubtful_tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sets = ["--set", *TINY, f"image.cache={tmp_path / 'cache'}", "schedule.epochs=1"]
    given = [str(path), "--data", str(doubtful_tree), *sets]
    assert chex(["train", *given, "--out", str(tmp_path / "run")]) == 0
    assert chex(["lr-find", *given, "--steps", "10", "--out", str(tmp_path / "rates")]) == 0
    assert chex(["relabel", "forest", *given, "--out", str(tmp_path / "forest")]) == 0
    assert chex(["relabel", "teacher", *given, "--out", str(tmp_path / "teacher")]) == 0
    weights = str(tmp_path / "run" / "best.safetensors")
    scored = [
        "--data",
        str(doubtful_tree),
        "--out",
        str(tmp_path / "page"),
        "--set",
        f"image.cache={tmp_path / 'cache'}",
    ]
    assert chex(["evaluate", weights, *scored]) == 0
    told = capsys.readouterr().out
    assert "validation AUROC" in told
    for name in ("run/best.safetensors", "rates/rates.csv", "forest/probabilities.csv", "teacher/probabilities.csv"):
        assert (tmp_path / name).is_file(), name


@pytest.mark.parametrize("path", SEARCHES, ids=lambda path: path.stem)
def test_every_search_of_the_project_can_be_planned(
    path: Path, doubtful_tree: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planning, "machine", lambda: Node(2, 1))
    given = ["--data", str(doubtful_tree), "--images-per-second", "100", "--set", "image.size=32"]
    assert chex_search(["plan", str(path), *given]) == 0
    assert capsys.readouterr().out.startswith(path.stem)
