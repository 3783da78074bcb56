"""The head's part of `chex-search cluster submit`, typed into a real Ray head with its job server and a token."""

import importlib.util
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from search import cluster_commands
from search.cluster_commands import free, job, on_head, run

pytestmark = pytest.mark.ray

if importlib.util.find_spec("aiohttp") is None or importlib.util.find_spec("opencensus") is None:
    pytest.skip("the job server needs ray[default], of the extra `cluster`", allow_module_level=True)

PATIENCE = 180
Shell = Callable[[str], subprocess.CompletedProcess[str]]
SEARCH = "#!/bin/sh\necho searching with $* on $RAY_ADDRESS\necho begun > {home}/begun\ncat {home}/go\n"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """The home directory of a head whose `chex-search` says what it was given, and waits until it is let go."""
    folder = Path(tempfile.mkdtemp(prefix="head-", dir="/tmp"))  # a short path: Ray has sockets below it
    programs = folder / "chexpert-search/.venv/bin"
    programs.mkdir(parents=True)
    (programs / "ray").symlink_to(Path(sys.executable).parent / "ray")
    (programs / "chex-search").write_text(SEARCH.format(home=folder))
    (programs / "chex-search").chmod(0o755)
    for fifo in ("begun", "go"):
        os.mkfifo(folder / fifo)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def environment(home: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    return kept | {"HOME": str(home), "RAY_AUTH_MODE": "token", "RAY_USAGE_STATS_ENABLED": "0"}


@pytest.fixture(scope="module")
def head(home: Path, environment: dict[str, str]) -> Iterator[int]:
    """The port of the job server of a head that Ray has really started."""
    ray, port = [str(Path(sys.executable).parent / "ray")], _free_port()
    subprocess.run([*ray, "get-auth-token", "--generate"], env=environment, capture_output=True, check=True)
    ports = {
        "port": 0,
        "dashboard-port": port,
        "ray-client-server-port": _free_port(),
        "dashboard-agent-listen-port": 0,
    }
    start = [*ray, "start", "--head", "--block", "--num-cpus=0", "--node-ip-address=127.0.0.1", f"--temp-dir={home}/r"]
    start += ["--dashboard-host=127.0.0.1", "--object-store-memory=80000000"]
    start += [f"--{name}={value}" for name, value in ports.items()]
    with open(home / "head.log", "w") as log:
        process = subprocess.Popen(
            start, env=environment, stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True
        )
    assert process.stdout
    for line in process.stdout:
        if "Ray runtime started" in line:
            break
    yield port
    os.killpg(process.pid, signal.SIGKILL)  # on SIGTERM the raylet takes half a minute
    process.communicate(timeout=60)


@pytest.fixture
def shell(head: int, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Shell:
    monkeypatch.setattr(cluster_commands, "DASHBOARD", head)

    def typed(text: str) -> subprocess.CompletedProcess[str]:
        """Runs text as `ray exec` has the head run it."""
        command = ["bash", "-c", on_head(Path("cluster.yaml"), text)[-1]]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False)

    return typed


def test_a_submitted_search_runs_on_is_not_disturbed_and_goes_on_under_its_name(shell: Shell, home: Path) -> None:
    submitted = shell(job("weekend", run("weekend", "~/chexpert-search/submitted/weekend.yaml", "gs://b/Che Xpert")))
    assert submitted.returncode == 0, submitted.stdout + submitted.stderr
    subprocess.run(["cat", home / "begun"], timeout=PATIENCE, check=True)
    again = shell(free("weekend"))
    assert (again.returncode, again.stderr) == (
        1,
        "chex-search: weekend is the name of a search that runs on this cluster; give this one a --name of its own\n",
    )
    (home / "go").write_text("")
    told = shell(f"ray job logs --follow {cluster_commands._address()} weekend").stdout
    place = f"{home}/chexpert-search"
    given = f"run {place}/submitted/weekend.yaml --data gs://b/Che Xpert --name weekend --results {place}/results"
    given += " --cluster auto"
    assert re.search(rf"searching with {re.escape(given)} on \S+:\d+", told)  # RAY_ADDRESS: where the cluster is
    assert shell(free("weekend")).returncode == 0
    assert shell(job("weekend", "resume gs://b/weekend")).returncode == 0
    subprocess.run(["cat", home / "begun"], timeout=PATIENCE, check=True)
    (home / "go").write_text("")
