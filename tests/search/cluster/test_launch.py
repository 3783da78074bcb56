"""Ray's real launcher and our real commands on local.yaml; only ssh, rsync and what runs on the head are stand-ins.

The head is a home directory: `ssh` runs there what it is given, as a shell of that machine would, and `rsync` copies.
"""

import json
import sys
from pathlib import Path

import pytest
import yaml

from search.cluster.running_machines import local_machines
from search.command import main as chex_search
from search.config.search_config import load_search
from tests.conftest import LOCAL, WriteCluster, filled

pytestmark = [pytest.mark.ray, pytest.mark.slow]

TINY = {
    "base": {"model": {"backbone": "test_resnet"}},
    "space": {"optimizer.lr": {"loguniform": [1e-4, 1e-2]}},
    "budget": {"trials": 4},
}

SSH = """
import os, subprocess, sys
if sys.argv[1] == "-G":
    raise SystemExit("no configuration")
words = iter(sys.argv[1:])
for word in words:  # options come before the machine
    if word in ("-i", "-o", "-L"):
        next(words)
    elif not word.startswith("-"):
        break
shell, environment = ["bash", "-c", " ".join(words)], os.environ | {"HOME": HEAD}
sys.exit(subprocess.run(shell, env=environment, stdin=subprocess.DEVNULL).returncode)
"""
RSYNC = """
import shutil, sys
from pathlib import Path
def here(name):
    return name.partition(":")[2].replace("~", HEAD) if "@" in name else name
source, target = map(here, sys.argv[-2:])
if Path(source).is_dir():
    shutil.copytree(source, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
else:
    shutil.copy2(source, target)
"""
MAKE = """
import os, sys
from pathlib import Path
assert Path("requirements.lock").is_file() and Path("search/cluster/commands.py").is_file()
programs = Path(".venv/bin")
programs.mkdir(parents=True, exist_ok=True)
for name in ("ray", "chex-search"):
    if not (programs / name).exists():
        (programs / name).symlink_to(NOTE)
"""
NOTE = """
import json, os, sys
from pathlib import Path
name = Path(sys.argv[0]).name
with open(Path.home() / "ran.jsonl", "a") as file:
    print(json.dumps([os.environ.get("RAY_AUTH_MODE"), name, *sys.argv[1:]]), file=file)
if sys.argv[1:3] == ["job", "status"]:
    print(f"Status for job '{sys.argv[-1]}': " + (Path.home() / "state").read_text())
sys.exit(3 if "broken" in sys.argv[-1] else 0)
"""


@pytest.fixture
def head(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The head's home directory, behind stand-ins for ssh and rsync."""
    home, here, there = tmp_path / "head", tmp_path / "here", tmp_path / "there"
    for folder in (home, here, there):
        folder.mkdir()
    constants = f"HEAD, NOTE = {str(home)!r}, {str(there / 'note')!r}\n"
    programs = {here / "ssh": SSH, here / "rsync": RSYNC, there / "make": MAKE, there / "note": NOTE}
    for path, body in programs.items():
        path.write_text(f"#!{sys.executable}\n{constants}{body}")
        path.chmod(0o755)
    (home / ".bashrc").write_text(f"export PATH={there}:$PATH\n")
    monkeypatch.setenv("PATH", f"{here}:/usr/bin:/bin")
    for name in ("RAY_TMPDIR", "TMPDIR"):
        monkeypatch.setenv(name, str(tmp_path))
    return home


@pytest.fixture
def launched(head: Path, write_cluster: WriteCluster) -> str:
    """The YAML of a cluster whose head `chex-search cluster up` has set up."""
    path = str(write_cluster(filled(LOCAL)))
    assert chex_search(["cluster", "up", path]) == 0
    return path


def ran(head: Path) -> list[list[str]]:
    """What was run on the head since it was last asked, after Ray's authentication mode."""
    record = head / "ran.jsonl"
    lines = [json.loads(line) for line in record.read_text().splitlines()]
    record.unlink()
    return lines


def test_a_cluster_is_started_runs_a_search_shows_its_status_and_is_deleted(
    head: Path, launched: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    stop, start = ran(head)
    assert stop[1:] == ["ray", "stop"]
    assert start[:4] == ["token", "ray", "start", "--head"]
    assert "--autoscaling-config=~/ray_bootstrap_config.yaml" in start
    assert (head / ".ray/auth_token").read_text() == "secret"
    assert (head / "ray_bootstrap_config.yaml").is_file()

    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(TINY))
    submit = ["cluster", "submit", launched, str(tmp_path / "tiny.yaml"), "--data", "/my data/tree"]
    submit += ["--results", str(tmp_path / "results")]
    (head / "state").write_text("FAILED")
    assert chex_search(submit) == 0
    project = f"{head}/chexpert-search"
    address = ["--address", "http://127.0.0.1:8265"]
    run = ["run", f"{project}/submitted/tiny.yaml", "--data", "/my data/tree", "--name", "tiny"]
    there = ["--results", f"{project}/results", "--cluster", "auto"]
    job = ["--no-wait", "--submission-id", "tiny", "--"]
    assert ran(head) == [
        ["token", "ray", "job", "status", *address, "tiny"],
        ["token", "ray", "job", "delete", *address, "tiny"],
        ["token", "ray", "job", "submit", *address, *job, f"{project}/.venv/bin/chex-search", *run, *there],
    ]
    assert load_search(Path(project, "submitted/tiny.yaml"), [], None).base.image.cache_dir == Path(
        "/tmp/chexpert-cache"
    )

    (head / "state").write_text("RUNNING")
    assert chex_search(submit) == 1
    assert "chex-search: a search named tiny is running on this cluster" in "".join(capfd.readouterr())
    assert [line[1:4] for line in ran(head)] == [["ray", "job", "status"]]

    assert chex_search(["cluster", "logs", launched, "tiny", "7"]) == 0
    assert ran(head) == [
        ["token", "chex-search", "logs", f"{project}/results/tiny", "7"],
        ["token", "ray", "job", "logs", *address, "tiny"],
    ]
    Path(project, "results/tiny").mkdir(parents=True)
    Path(project, "results/tiny/best.yaml").write_text("seed: 1\n")
    monkeypatch.chdir(tmp_path)
    assert chex_search(["cluster", "fetch", launched, "home/tiny"]) == 0
    assert (tmp_path / "home/tiny/best.yaml").read_text() == "seed: 1\n"

    assert chex_search(["cluster", "down", launched]) == 0
    assert next(line[1:] for line in ran(head)) == ["ray", "stop"]
    assert local_machines("chexpert-local") == []


def test_a_command_that_fails_on_the_head_fails_here(head: Path, launched: str) -> None:
    assert chex_search(["cluster", "status", launched, "broken"]) == 1
