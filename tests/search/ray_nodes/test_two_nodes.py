"""A search over two real nodes, its images and storage in a bucket, and every command on a machine that has nothing.

The images are a zip, and trials may read a teacher's table.
"""

import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest
import yaml

from chex.__main__ import main as chex
from chex.runtime import run_folder
from chex.statistics.metrics import METRIC
from chex.uncertainty.probability_tables import TABLE
from search.command import main
from search.storage.dataset import FILE_LIST, STAGED_MARK
from search.storage.remote_path import connect
from search.storage.uri import child_uri, without_query
from search.trials.layout import BEST, CONFIRM_TEXT, CONFIRMED, PAGE, REPORT, TRIALS
from tests.bench.cluster_chaos import Driver, Nodes, search_file
from tests.conftest import TREE
from tests.zip_and_upload import upload, zipped

pytestmark = [pytest.mark.ray, pytest.mark.slow]

TRIALS_RUN = 4


@dataclass(frozen=True)
class Ran:
    """The search, at its end, and all that ran it gone."""

    data: str
    saved: str
    results: Path
    output: str
    nodes: dict[str, set[str]]
    """The names of the files of images, tables and decoded images on each node's disk."""


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory, whole_bucket: str) -> Ran:
    folder = tmp_path_factory.mktemp("elsewhere")
    data, storage = (child_uri(whole_bucket, f"{folder.name}/{name}") for name in ("images.zip", "searches"))
    search = yaml.safe_load(search_file(folder, TRIALS_RUN, epochs=2, share=0).read_text(encoding="utf-8"))
    search["base"] |= {"reports": 2, "data": {}}
    search["space"] = {
        "policy.default": {"choice": ["zeros", "self_trained"]},
        "optimizer.lr": {"loguniform": [1e-4, 1e-2]},
    }
    (folder / "two.yaml").write_text(yaml.safe_dump(search), encoding="utf-8")
    upload(zipped(folder / TREE), data)
    settings = ["run", str(folder / "two.yaml"), "--data", data, "--storage", storage]
    with tempfile.TemporaryDirectory(prefix="r") as scratch:  # a short path: Ray's sockets lie below it
        nodes = Nodes(Path(scratch) / "n", 2, cpus=1)
        driver = Driver([*settings, "--results", str(folder / "results")], nodes, folder / "log")
        try:
            driver.process.wait(600)
        finally:
            driver.process.kill()
            driver.process.wait()
            nodes.end()
        assert driver.process.returncode == 0, driver.said()
        disks = {name: nodes.folder / name for name in ("head", "node1", "node2")}
        there = {name: {path.name for path in disk.rglob("*.*")} for name, disk in disks.items()}
    return Ran(data, child_uri(storage, "two"), folder / "results" / "two", driver.said(), there)


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A machine that has nothing of it: its home directory."""
    return tmp_path_factory.mktemp("other")


@pytest.fixture
def type_there(ran: Ran, other: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> "Typed":
    """Types a command on the search's URI there; what it said comes back."""
    monkeypatch.setenv("HOME", str(other))
    monkeypatch.chdir(other)

    def typed(command: str, *more: str) -> str:
        assert main([command, ran.saved, *more]) == 0
        return capsys.readouterr().out

    return typed


Typed = Callable[..., str]


def test_each_node_gets_the_images_and_the_one_teachers_table(ran: Ran) -> None:
    trials = pd.read_csv(ran.results / TRIALS)
    assert trials["state"].tolist() == ["finished"] * TRIALS_RUN
    assert set(trials["policy.default"]) == {"zeros", "self_trained"}
    assert ran.output.count("training the teacher of self_trained, once for all trials") == 1
    for node in ("node1", "node2"):
        assert {FILE_LIST, TABLE} <= ran.nodes[node]
        assert any(name.endswith("-32px.npy") for name in ran.nodes[node])
    assert STAGED_MARK in ran.nodes["node1"] | ran.nodes["node2"]
    assert TABLE not in ran.nodes["head"]
    assert not any(name.endswith(".npy") for name in ran.nodes["head"])
    assert "TensorBoard will not show" not in ran.output


def test_the_storage_has_all_files_of_the_search(ran: Ran) -> None:
    for name in (TRIALS, BEST, run_folder.WEIGHTS, REPORT, PAGE, f"tables/self_trained/{TABLE}"):
        assert (connect(ran.saved) / name).read() == (ran.results / name).read_bytes(), name


def test_another_machine_shows_the_search(type_there: Typed, other: Path) -> None:
    assert type_there("status").strip().endswith(f"ended: all {TRIALS_RUN} trials have been tried")
    assert type_there("logs", "2").startswith("trial 2: finished, 100 % of its schedule, 48 images")
    assert "wins: AUROC" in type_there("verdict")
    there = other / "results" / "two"
    assert f"{there} is finished; chex-search extend {there} --trials N" in type_there("resume")
    assert not (other / "cache").exists()


def test_another_machine_writes_the_page_with_only_the_false_negatives_staged(
    ran: Ran, type_there: Typed, other: Path
) -> None:
    page = other / "results" / "two" / PAGE
    assert type_there("report", "--recall", ".8") == f"{page}\n"
    html = page.read_text(encoding="utf-8")
    assert html.count('<img src="data:image/jpeg;base64,') == 3
    assert f"at 32 px on {without_query(ran.data)}, scored" in html
    assert len(list((other / "cache" / "stage").rglob("*.jpg"))) == 3
    assert (connect(ran.saved) / PAGE).read() == page.read_bytes()


def test_another_machine_exports_the_network(type_there: Typed, other: Path) -> None:
    assert type_there("export", "out").startswith("out: trial ")
    assert ": 24 images of 12 patients to train on." in (other / "out" / "README.md").read_text(encoding="utf-8")


def test_another_machine_trains_best_yaml(
    ran: Ran, type_there: Typed, other: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    type_there("status")
    monkeypatch.chdir(other / "results" / "two")
    assert chex(["train", BEST, "--out", str(other / "again")]) == 2
    assert "is not a folder; give the folder that holds train.csv and valid.csv with --data" in capsys.readouterr().err
    header = Path(BEST).read_text(encoding="utf-8").splitlines()
    train, stage = shlex.split(header[2].partition(": ")[2]), shlex.split(header[3].split("`")[1])
    assert (train[:3], stage[:2]) == (["chex", "train", BEST], ["chex-search", "stage"])
    assert main([*stage[1:], "--to", str(other / "stage")]) == 0
    root = capsys.readouterr().out.strip()
    assert chex([root if word == "TREE" else word for word in train[1:]] + ["--out", str(other / "again")]) == 0
    assert run_folder.best_auroc(other / "again") == pd.read_csv(TRIALS)[METRIC].max()


def test_another_machine_confirms_the_best_configs_with_the_existing_table(ran: Ran, other: Path) -> None:
    command = [sys.executable, "-m", "search", "confirm", ran.saved, "--top", "2", "--seeds", "1"]
    here = os.environ | {"HOME": str(other), "PYTHONPATH": str(Path.cwd())}
    done = subprocess.run(command, cwd=other, env=here, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Each config was trained again on the same 1 new seeds")
    assert "teacher" not in done.stderr
    folder = other / "results" / "two"
    assert set(pd.read_csv(folder / "confirm" / TRIALS)["state"]) == {"finished"}
    assert "Trained again on new seeds" in (folder / PAGE).read_text(encoding="utf-8")
    for name in (f"confirm/{CONFIRM_TEXT}", f"confirm/{CONFIRMED}", f"confirm/{TRIALS}", PAGE):
        assert (connect(ran.saved) / name).read() == (folder / name).read_bytes(), name
