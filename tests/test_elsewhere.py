"""A search over two real nodes, its films and storage in a bucket, and every command on a machine that has nothing.

The films are a zip, and trials may read a teacher's table.
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

from chex import checkpoint
from chex.__main__ import main as chex
from chex.metrics import METRIC
from chex.relabel import TABLE
from search.bucket import below, reach, shown
from search.command import main
from search.confirm import CONFIRMED, TEXT
from search.export import BEST, TRIALS
from search.staging import LISTED, STAGED
from search.study import PAGE, REPORT
from tests.bench.cluster_chaos import Driver, Nodes, search_file
from tests.conftest import TREE
from tests.test_staging import upload, zipped

pytestmark = pytest.mark.ray

TRIALS_RUN = 4


@dataclass(frozen=True)
class Ran:
    """The search, at its end, and all that ran it gone."""

    data: str
    kept: str
    results: Path
    said: str
    nodes: dict[str, set[str]]
    """The names of the files of films, tables and decoded films on each node's disk."""


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory, whole_bucket: str) -> Ran:
    folder = tmp_path_factory.mktemp("elsewhere")
    data, storage = (below(whole_bucket, f"{folder.name}/{name}") for name in ("films.zip", "searches"))
    search = yaml.safe_load(search_file(folder, TRIALS_RUN, epochs=2, share=0).read_text(encoding="utf-8"))
    search["base"] |= {"reports": 2, "data": {}}
    search["space"] = {
        "policy.default": {"choice": ["zeros", "self_trained"]},
        "optimizer.lr": {"loguniform": [1e-4, 1e-2]},
    }
    (folder / "two.yaml").write_text(yaml.safe_dump(search), encoding="utf-8")
    upload(zipped(folder / TREE), data)
    given = ["run", str(folder / "two.yaml"), "--data", data, "--storage", storage]
    with tempfile.TemporaryDirectory(prefix="r") as scratch:  # a short path: Ray's sockets lie below it
        nodes = Nodes(Path(scratch) / "n", 2, cpus=1)
        driver = Driver([*given, "--results", str(folder / "results")], nodes, folder / "log")
        try:
            driver.process.wait(300)
        finally:
            driver.process.kill()
            driver.process.wait()
            nodes.end()
        assert driver.process.returncode == 0, driver.said()
        disks = {name: nodes.folder / name for name in ("head", "node1", "node2")}
        there = {name: {path.name for path in disk.rglob("*.*")} for name, disk in disks.items()}
    return Ran(data, below(storage, "two"), folder / "results" / "two", driver.said(), there)


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
        assert main([command, ran.kept, *more]) == 0
        return capsys.readouterr().out

    return typed


Typed = Callable[..., str]


def test_films_are_decoded_where_they_are_not_yet_and_each_node_has_the_table_that_one_teacher_made(ran: Ran) -> None:
    trials = pd.read_csv(ran.results / TRIALS)
    assert trials["state"].tolist() == ["finished"] * TRIALS_RUN
    assert set(trials["policy.default"]) == {"zeros", "self_trained"}
    assert ran.said.count("training the teacher of self_trained, once for all trials") == 1
    for node in ("node1", "node2"):
        assert {LISTED, TABLE} <= ran.nodes[node]
        assert any(name.endswith("-32px.npy") for name in ran.nodes[node])
    assert STAGED in ran.nodes["node1"] | ran.nodes["node2"]
    assert TABLE not in ran.nodes["head"]
    assert not any(name.endswith(".npy") for name in ran.nodes["head"])
    assert "TensorBoard will not show" not in ran.said


def test_all_that_the_search_left_is_in_the_storage(ran: Ran) -> None:
    for name in (TRIALS, BEST, checkpoint.WEIGHTS, REPORT, PAGE, f"tables/self_trained/{TABLE}"):
        assert (reach(ran.kept) / name).read() == (ran.results / name).read_bytes(), name


def test_it_is_looked_at_there(type_there: Typed, other: Path) -> None:
    assert type_there("status").strip().endswith(f"at its end: all {TRIALS_RUN} trials have been tried")
    assert type_there("logs", "2").startswith("trial 2: finished, 100 % of its schedule, 48 images")
    assert "wins: AUROC" in type_there("verdict")
    there = other / "results" / "two"
    assert f"{there} is finished; chex-search extend {there} --trials N" in type_there("resume")
    assert not (other / "cache").exists()


def test_the_page_is_made_there_with_the_films_that_the_winner_misses_and_no_others(
    ran: Ran, type_there: Typed, other: Path
) -> None:
    page = other / "results" / "two" / PAGE
    assert type_there("report", "--recall", ".8") == f"{page}\n"
    html = page.read_text(encoding="utf-8")
    assert html.count('<img src="data:image/jpeg;base64,') == 3
    assert f"at 32 px on {shown(ran.data)}, scored" in html
    assert len(list((other / "cache" / "stage").rglob("*.jpg"))) == 3
    assert (reach(ran.kept) / PAGE).read() == page.read_bytes()


def test_the_network_is_handed_on_there(type_there: Typed, other: Path) -> None:
    assert type_there("export", "out").startswith("out: trial ")
    assert ": 24 films of 12 patients to train on." in (other / "out" / "README.md").read_text(encoding="utf-8")


def test_the_winner_is_trained_there_as_best_yaml_says(
    ran: Ran, type_there: Typed, other: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    type_there("status")
    monkeypatch.chdir(other / "results" / "two")
    assert chex(["train", BEST, "--out", str(other / "again")]) == 2
    assert "is not a folder; give the folder that holds train.csv and valid.csv with --data" in capsys.readouterr().err
    train, stage = (
        shlex.split(line.partition(": ")[2].replace("what `", "").replace("` says", ""))
        for line in Path(BEST).read_text(encoding="utf-8").splitlines()[2:4]
    )
    assert (train[:3], stage[:2]) == (["chex", "train", BEST], ["chex-search", "stage"])
    assert main([*stage[1:], "--to", str(other / "stage")]) == 0
    root = capsys.readouterr().out.strip()
    assert chex([root if word == "TREE" else word for word in train[1:]] + ["--out", str(other / "again")]) == 0
    assert checkpoint.best_auroc(other / "again") == pd.read_csv(TRIALS)[METRIC].max()


def test_the_best_are_confirmed_there_with_the_table_that_was_made(ran: Ran, other: Path) -> None:
    command = [sys.executable, "-m", "search", "confirm", ran.kept, "--top", str(TRIALS_RUN), "--seeds", "1"]
    here = os.environ | {"HOME": str(other), "PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run(command, cwd=other, env=here, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Each config trained again on the same 1 new seeds")
    assert "teacher" not in done.stderr
    home = other / "results" / "two"
    assert set(pd.read_csv(home / "confirm" / TRIALS)["state"]) == {"finished"}
    assert "Trained again on new seeds" in (home / PAGE).read_text(encoding="utf-8")
    for name in (f"confirm/{TEXT}", f"confirm/{CONFIRMED}", f"confirm/{TRIALS}", PAGE):
        assert (reach(ran.kept) / name).read() == (home / name).read_bytes(), name
