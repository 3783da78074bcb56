"""A real search over two real Ray nodes, one of which dies without notice."""

import os
import subprocess
import sys
from pathlib import Path

from tests.bench import cluster_chaos as chaos


def test_a_search_over_two_nodes_one_of_which_dies_loses_nothing_and_trains_nothing_twice(tmp_path: Path) -> None:
    config = chaos.search_file(tmp_path, trials=6, epochs=32, share=0.5)
    scratch = Path(os.environ.get("TMPDIR", "/tmp"), f"r{os.getpid()}")  # short: Ray's sockets lie below it
    scratch.mkdir()
    try:
        storage = (tmp_path / "storage").as_uri()
        came = chaos.undergo("node killed", config, tmp_path / "results", scratch, storage, None, cpus=2)
    finally:
        subprocess.run(["rm", "-rf", str(scratch)], check=True)
    assert came.hit >= 1
    assert came.before > 0
    assert (came.trials, came.not_once, came.lost, came.repeated) == (6, 0, 0, 0)
    assert came.at_once["node2"] == 2
    assert came.caches == {"node1": 1, "node2": 1, "node3": 1} or came.caches["node3"] == 0
    assert sys.executable
