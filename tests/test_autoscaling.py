"""A real search on a head without workers: Ray's own autoscaler adds nodes, which are processes of this machine."""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pandas as pd
import pytest
from filelock import FileLock
from ray.util import get_node_ip_address

from search.export import TRIALS
from search.home import scratch
from tests.bench.cluster_chaos import NAME, OURS, Driver, processes, search_file
from tests.bench.kill_search import TRIAL_PROCESS

HEAD_ID = "f" * 51 + "00000"
"""The provider counts its nodes from here."""
PROVIDER = "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider"
IDLE_SECONDS = 3
LONGEST = 60
"""Seconds that anything waited for may take."""


class Growing:
    """A head without room for trials, and up to two nodes of one CPU and a GPU that is none."""

    def __init__(self, folder: Path):
        self.folder = folder
        (folder / "head").mkdir(parents=True)
        with socket.create_server(("", 0)) as free:
            port = free.getsockname()[1]
        here = get_node_ip_address()
        self.address = f"{here}:{port}"
        config = folder / "cluster.yaml"
        config.write_text(json.dumps(scaling(self.address)), encoding="utf-8")
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--num-cpus=0"]
        command += [f"--node-ip-address={here}", f"--port={port}", f"--autoscaling-config={config}"]
        settings = {
            "AUTOSCALER_UPDATE_INTERVAL_S": "1",
            "HOME": str(folder / "head"),
            "RAY_AUTH_MODE": "disabled",
            "RAY_CLOUD_INSTANCE_ID": HEAD_ID,
            "RAY_enable_autoscaler_v2": "1",  # as `ray up` starts it
            "RAY_FAKE_CLUSTER": "1",
            "RAY_NODE_TYPE_NAME": "head",
            "RAY_TMPDIR": str(folder),
            "RAY_USAGE_STATS_ENABLED": "0",
        }
        with (folder / "head.log").open("wb") as log:
            self.process = subprocess.Popen(
                [*command, "--include-dashboard=false"], env=OURS | settings, stdout=log, stderr=log
            )

    def workers(self) -> set[int]:
        """The raylets beside the head's."""
        return {pid for pid in processes(self.folder) if "/raylet/raylet\0" in (own := _command(pid)) and HEAD_ID not in own}

    def trials(self) -> set[int]:
        """The raylets under which a trial's process is."""
        return {_parent(pid) for pid in processes(self.folder) if TRIAL_PROCESS.match(_command(pid))}

    def end(self) -> None:
        for pid in processes(self.folder):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()


def scaling(address: str) -> dict[str, object]:
    """What Ray's autoscaler is told."""
    lists = ("initialization_commands", "setup_commands", "cluster_synced_files", "rsync_exclude", "rsync_filter")
    started = [f"{kind}_{what}_commands" for kind in ("head", "worker") for what in ("setup", "start_ray")]
    provider = {"type": "external", "module": PROVIDER, "gcs_address": address, "head_node_id": HEAD_ID, "launch_multiple": True}
    return {
        "cluster_name": "growing",
        "max_workers": 2,
        "upscaling_speed": 4.0,
        "idle_timeout_minutes": IDLE_SECONDS / 60,
        "provider": provider | {"disable_node_updaters": True, "disable_launch_config_check": True},
        "head_node_type": "ray.head.default",
        "available_node_types": {
            "ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
            "worker": {"resources": {"CPU": 1, "GPU": 1}, "node_config": {}, "min_workers": 0, "max_workers": 2},
        },
        **dict.fromkeys((*lists, *started), []),
        **{name: {} for name in ("auth", "docker", "file_mounts")},
        "file_mounts_sync_continuously": False,
    }


@contextmanager
def growing() -> Iterator[Growing]:
    with tempfile.TemporaryDirectory(prefix="r") as scratch:  # a short path: Ray's sockets lie below it
        cluster = Growing(Path(scratch) / "s")
        try:
            yield cluster
        finally:
            cluster.end()


def test_workers_come_for_the_trials_and_each_goes_when_none_is_left_for_it(tmp_path: Path) -> None:
    config, results = search_file(tmp_path, trials=3, epochs=8, share=1), tmp_path / "results"
    results.mkdir()
    storage = (tmp_path / "storage").as_uri()
    began = time.monotonic()

    def say(what):
        print(f"{time.monotonic() - began:6.1f} s {what}", flush=True)

    with growing() as cluster:
        held = [running_lock(cluster, f"{storage}/{NAME}", number) for number in (1, 2)]
        for lock in held:
            lock.acquire()
        wait(lambda: "Ray runtime started" in (cluster.folder / "head.log").read_text(), "the head")
        say("head")
        assert not cluster.workers()
        given = ["run", str(config), "--results", str(results), "--storage", storage, "--name", NAME, "--set", "resources.at_once=2"]
        driver = Driver(given, cluster, tmp_path / "0.log")
        wait(lambda: say(cluster.workers()) or len(cluster.trials()) == 2, "a trial on each of two workers", driver)
        assert cluster.trials() == cluster.workers()
        say("two")
        held[0].release()
        wait(lambda: say(cluster.workers()) or len(cluster.workers()) == 1, "the worker without a trial to go", driver)
        assert not driver.ended()
        held[1].release()
        wait(driver.ended, "the search to end")
        say("ended")
        assert driver.process.returncode == 0, driver.said()
        wait(lambda: not cluster.workers(), "the last worker to go")
        say("gone")
    rows = pd.read_csv(results / NAME / TRIALS)
    assert list(rows["state"]) == ["finished"] * 3


def running_lock(cluster: Growing, stored: str, number: int) -> FileLock:
    path = scratch(stored, cluster.folder / "head/cache") / f"trials/{number:03}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(path)


def wait(condition: Callable[[], object], what: str, driver: Driver | None = None) -> None:
    deadline = time.monotonic() + LONGEST
    while not condition():
        if driver and driver.ended():
            pytest.fail(f"the search ended before {what}: {driver.said()}")
        assert time.monotonic() < deadline, f"waited {LONGEST} s for {what}: {driver.said() if driver else ''}"
        time.sleep(0.2)


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace")
    except OSError:
        return ""


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0
