"""A real search on a head without workers: Ray's own autoscaler adds nodes, which are processes of this machine."""

import json
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from filelock import FileLock
from ray.autoscaler._private.monitor import BASE_READONLY_CONFIG
from ray.util import get_node_ip_address

from search.storage.uri import child_uri
from search.storage.workspace import scratch_folder
from tests.bench.cluster_chaos import NAME, OURS, THE_END, Driver, Nodes, Outcome, judge, search_file, wait
from tests.bench.kill_search import TRIAL_PROCESS, Reports
from tests.bench.processes import of_ray, parents, title

pytestmark = [pytest.mark.ray, pytest.mark.slow]

HEAD_ID = "f" * 51 + "00000"
"""From which the provider counts its nodes on."""
IDLE_SECONDS = 3


class Growing(Nodes):
    """A head without room for trials, and up to two nodes of a CPU and a GPU that is none."""

    def __init__(self, folder: Path):
        self.folder = folder
        (folder / "head").mkdir(parents=True)
        with socket.create_server(("", 0)) as free:
            port = free.getsockname()[1]
        here = get_node_ip_address()
        self.address = f"{here}:{port}"
        config = folder / "cluster.json"
        config.write_text(json.dumps(scaling(self.address)), encoding="utf-8")
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--num-cpus=0"]
        command += [f"--node-ip-address={here}", f"--port={port}", f"--autoscaling-config={config}"]
        settings = {
            "AUTOSCALER_UPDATE_INTERVAL_S": "1",
            "HOME": str(folder / "head"),
            "RAY_AUTH_MODE": "disabled",
            "RAY_CLOUD_INSTANCE_ID": HEAD_ID,
            "RAY_enable_autoscaler_v2": "1",  # as `ray up` has it
            "RAY_FAKE_CLUSTER": "1",
            "RAY_TMPDIR": str(folder),
            "RAY_USAGE_STATS_ENABLED": "0",
        }
        with (folder / "head.log").open("wb") as log:
            self.process = subprocess.Popen(
                [*command, "--include-dashboard=false"], env=OURS | settings, stdout=log, stderr=log
            )

    def started(self) -> bool:
        return "Ray runtime started" in (self.folder / "head.log").read_text(encoding="utf-8")

    def workers(self) -> set[int]:
        """The processes of the nodes beside the head."""
        message = {pid: title(pid) for pid in of_ray(self.folder)}
        return {pid for pid, command in message.items() if "/raylet/raylet\0" in command and HEAD_ID not in command}

    def with_trials(self) -> set[int]:
        """Those nodes on which a trial's process is."""
        above = parents()
        return {above.get(pid, 0) for pid in of_ray(self.folder) if TRIAL_PROCESS.match(title(pid))}


def scaling(address: str) -> dict[str, object]:
    """What the autoscaler is told; Ray's wheel lacks the defaults of `type: fake_multinode`."""
    provider = {
        "type": "external",
        "module": "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider",
        "gcs_address": address,
        "head_node_id": HEAD_ID,
        "launch_multiple": True,
        "disable_node_updaters": True,
    }
    return BASE_READONLY_CONFIG | {
        "cluster_name": "growing",
        "max_workers": 2,
        "idle_timeout_minutes": IDLE_SECONDS / 60,
        "provider": provider,
        "head_node_type": "ray.head.default",
        "available_node_types": {
            "ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
            "worker": {"resources": {"CPU": 1, "GPU": 1}, "node_config": {}, "max_workers": 2},
        },
    }


def test_two_workers_start_for_trials_and_each_stops_when_none_is_left(tmp_path: Path) -> None:
    config, results = search_file(tmp_path, trials=3, epochs=8, share=1), tmp_path / "results"
    results.mkdir()
    storage = (tmp_path / "storage").as_uri()
    given = ["run", str(config), "--name", NAME, "--results", str(results), "--storage", storage]
    with growing() as nodes:
        first, second = (kept_waiting(nodes, child_uri(storage, NAME), number) for number in (1, 2))
        wait(nodes.started, None, "the head")
        assert not nodes.workers()
        driver = Driver([*given, "--set", "resources.max_concurrent_trials=2"], nodes, results / "0.log")
        wait(nodes.with_trials, driver, "a trial on a worker")
        assert len(nodes.workers()) == 2  # asked for together
        wait(lambda: len(nodes.with_trials()) == 2, driver, "a trial on each of two workers")
        assert nodes.with_trials() == nodes.workers()
        first.release()
        wait(lambda: len(nodes.workers()) == 1, driver, "the worker to go for which no trial is left")
        second.release()
        wait(driver.ended, driver, THE_END)
        assert driver.process.returncode == 0, driver.said()
        wait(lambda: not nodes.workers(), None, "the last worker to go")
    outcome = Outcome()
    judge(outcome, results / NAME, results, Reports(), None)
    assert (outcome.trials, outcome.not_once) == (3, 0)


@contextmanager
def growing() -> Iterator[Growing]:
    with tempfile.TemporaryDirectory(prefix="r") as short:  # Ray's sockets lie below it
        nodes = Growing(Path(short, "s"))
        try:
            yield nodes
        finally:
            nodes.vanish()


def kept_waiting(nodes: Growing, stored: str, number: int) -> FileLock:
    """Keeps a trial that is under way from beginning, until it is released."""
    lock = FileLock(scratch_folder(stored, nodes.folder / "head" / "cache") / f"trials/{number:03}.lock")
    Path(lock.lock_file).parent.mkdir(parents=True, exist_ok=True)
    lock.acquire()
    return lock
