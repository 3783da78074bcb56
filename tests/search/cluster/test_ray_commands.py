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

from search.cluster import ray_commands
from search.cluster.ray_commands import free_job_name, on_head, run_arguments, submit_job

pytestmark = [pytest.mark.ray, pytest.mark.slow]

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
    saved = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    return saved | {"HOME": str(home), "RAY_AUTH_MODE": "token", "RAY_USAGE_STATS_ENABLED": "0"}


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
    monkeypatch.setattr(ray_commands, "DASHBOARD", head)

    def typed(text: str) -> subprocess.CompletedProcess[str]:
        """Runs text as `ray exec` has the head run it."""
        command = ["bash", "-c", on_head(Path("cluster.yaml"), text)[-1]]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False)

    return typed


def test_a_submitted_search_keeps_running_and_resumes_under_its_name(shell: Shell, home: Path) -> None:
    submitted = shell(
        submit_job("weekend", run_arguments("weekend", "~/chexpert-search/submitted/weekend.yaml", "gs://b/Che Xpert"))
    )
    assert submitted.returncode == 0, submitted.stdout + submitted.stderr
    subprocess.run(["cat", home / "begun"], timeout=PATIENCE, check=True)
    again = shell(free_job_name("weekend"))
    assert (again.returncode, again.stderr) == (
        1,
        "chex-search: a search named weekend is running on this cluster; give this search another --name\n",
    )
    (home / "go").write_text("")
    message = shell(f"ray job logs --follow {ray_commands._api_address()} weekend").stdout
    remote = f"{home}/chexpert-search"
    settings = f"run {remote}/submitted/weekend.yaml --data gs://b/Che Xpert --name weekend --results {remote}/results"
    settings += " --cluster auto"
    assert re.search(rf"searching with {re.escape(settings)} on \S+:\d+", message)  # RAY_ADDRESS: where the cluster is
    assert shell(free_job_name("weekend")).returncode == 0
    assert shell(submit_job("weekend", "resume gs://b/weekend")).returncode == 0
    subprocess.run(["cat", home / "begun"], timeout=PATIENCE, check=True)
    (home / "go").write_text("")
