"""A real search over two real Ray nodes, one of which dies without notice."""

import tempfile
from pathlib import Path

from search.feed import IMAGES
from search.shared_cache import MANIFEST
from tests.bench.cluster_chaos import search_file, undergo


def test_a_search_over_two_nodes_one_of_which_dies_loses_nothing_and_trains_nothing_twice(tmp_path: Path) -> None:
    config = search_file(tmp_path, trials=6, epochs=32, share=0.5)
    storage = (tmp_path / "storage").as_uri()
    with tempfile.TemporaryDirectory(prefix="r") as scratch:  # a short path: Ray's sockets lie below it
        came = undergo("node killed", config, tmp_path / "results", Path(scratch), storage, None, cpus=2)
    assert came.hit
    assert came.before
    assert (came.trials, came.not_once, came.lost, came.repeated) == (6, 0, 0, 0)
    assert max(came.at_once.values()) == 2
    assert max(came.caches.values()) == 1
    assert len(list((tmp_path / "storage" / IMAGES).glob(f"*/{MANIFEST}"))) == 1
