"""A search on a cluster that has no worker yet: two come when trials wait, and go when none does.

    python tests/bench/autoscaling.py [FOLDER]

Ray's own autoscaler, with its provider of nodes that are processes of this machine, and a GPU that is none on each.
Prints when the number of workers changed, and last a line of JSON: the most workers, how many were left, trials.
"""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd
import yaml

from search.export import TRIALS
from tests.bench.cluster_chaos import LONGEST, NAME, OURS, Driver, _titled, search_file

HEAD_ID = "f" * 51 + "00000"
IDLE_MINUTES = 0.1


class Scaled:
    """A head that adds up to two nodes of 4 CPUs and a GPU."""

    def __init__(self, folder: Path):
        self.folder = folder
        (folder / "head").mkdir(parents=True)
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect(("192.0.2.1", 9))
            own = probe.getsockname()[0]
        self.address = f"{own}:{port}"
        config = folder / "cluster.yaml"
        config.write_text(yaml.safe_dump(_config(self.address)), encoding="utf-8")
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--num-cpus=0"]
        command += [f"--node-ip-address={own}", f"--port={port}", f"--autoscaling-config={config}"]
        settings = {"RAY_FAKE_CLUSTER": "1", "AUTOSCALER_UPDATE_INTERVAL_S": "1", "RAY_AUTH_MODE": "disabled"}
        settings |= {"RAY_TMPDIR": str(folder), "HOME": str(folder / "head"), "RAY_USAGE_STATS_ENABLED": "0"}
        settings |= {"RAY_OVERRIDE_NODE_ID_FOR_TESTING": HEAD_ID}
        with (folder / "head.log").open("wb") as log:
            self.process = subprocess.Popen(
                [*command, "--include-dashboard=false"], env=OURS | settings, stdout=log, stderr=log
            )

    def workers(self) -> int:
        """Raylets beside the head's."""
        titles = [Path(f"/proc/{pid}/cmdline") for pid in _titled(self.folder)]
        raylets = [path for path in titles if path.exists() and b"/raylet/raylet\0" in path.read_bytes()]
        return max(0, len(raylets) - 1)

    def end(self) -> None:
        for pid in _titled(self.folder):
            try:
                os.kill(pid, 9)
            except ProcessLookupError:
                continue
        self.process.wait()


def main(folder: Path, scratch: Path) -> bool:
    config, search = search_file(folder, epochs=24), folder / "results" / NAME
    search.parent.mkdir()
    head = Scaled(scratch / "s")
    started, seen, most = time.monotonic(), -1, 0

    def look() -> int:
        nonlocal seen, most
        if (now := head.workers()) != seen:
            print(f"{time.monotonic() - started:6.1f} s  {now} workers", flush=True)
        seen, most = now, max(most, now)
        return now

    try:
        _wait(lambda: "started" in (head.folder / "head.log").read_text().lower(), "the head")
        given = ["run", str(config), "--results", str(search.parent), "--set", "resources.at_once=8"]
        storage = ["--storage", (folder / "storage").as_uri()]
        driver = Driver([*given, *storage], head, folder / "results" / "0.log")
        _wait(lambda: look() < 0 or driver.ended(), "the search to end")
        print(f"{time.monotonic() - started:6.1f} s  the search has ended", flush=True)
        assert driver.process.returncode == 0, driver.said()
        _wait(lambda: look() == 0, "the workers to go")
    finally:
        left = head.workers()
        head.end()
    rows = pd.read_csv(search / TRIALS)
    finished = int((rows["state"] == "finished").sum())
    print(json.dumps({"most": most, "left": left, "trials": len(rows), "finished": finished}))
    return (most, left, finished) == (2, 0, 12)


def _config(address: str) -> dict[str, object]:
    worker = {"resources": {"CPU": 4, "GPU": 1}, "node_config": {}, "min_workers": 0, "max_workers": 2}
    return {
        "cluster_name": "fake",
        "max_workers": 2,
        "idle_timeout_minutes": IDLE_MINUTES,
        "upscaling_speed": 10,
        "provider": {"type": "fake_multinode", "gcs_address": address, "head_node_id": HEAD_ID},
        "available_node_types": {
            "ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
            "ray.worker": worker,
        },
        "head_node_type": "ray.head.default",
        "auth": {},
        "docker": {},
        "file_mounts": {},
        "initialization_commands": [],
        "setup_commands": [],
        "head_setup_commands": [],
        "worker_setup_commands": [],
        "head_start_ray_commands": [],
        "worker_start_ray_commands": [],
        "cluster_synced_files": [],
        "file_mounts_sync_continuously": False,
        "rsync_exclude": [],
        "rsync_filter": [],
    }


def _wait(condition: object, what: str) -> None:
    deadline = time.monotonic() + LONGEST
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, f"waited {LONGEST} s for {what}"
        time.sleep(0.3)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as own, tempfile.TemporaryDirectory(prefix="r") as scratch:
        sys.exit(not main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(own), Path(scratch)))
