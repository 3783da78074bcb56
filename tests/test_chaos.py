"""A real search over two real Ray nodes, from which one thing after the other is taken."""

import tempfile
from contextlib import closing
from pathlib import Path

import pandas as pd
import pytest

from chex import checkpoint
from chex.config import load_run
from chex.loop import fit
from chex.metrics import METRIC
from chex.prepare import prepare, select
from search.export import BEST, TRIALS, trial_folder
from search.feed import IMAGES
from search.shared_cache import MANIFEST
from tests.bench.cluster_chaos import EVENTS, NAME, search_file, undergo

pytestmark = pytest.mark.ray


def test_a_search_that_loses_a_process_nodes_and_its_head_ends_each_trial_once_and_trains_nothing_twice(
    tmp_path: Path,
) -> None:
    config = search_file(tmp_path)
    storage = (tmp_path / "storage").as_uri()
    with tempfile.TemporaryDirectory(prefix="r") as scratch:
        came = undergo(EVENTS, config, tmp_path / "results", Path(scratch), storage, None)
    assert [strike.event for strike in came.strikes] == list(EVENTS)
    assert all(strike.hit for strike in came.strikes)
    assert (came.trials, came.not_once, came.lost, came.repeated) == (12, 0, 0, 0)
    assert max(came.at_once.values()) == 4
    assert set(came.caches.values()) == {1}
    assert len(list((tmp_path / "storage" / IMAGES).glob(f"*/{MANIFEST}"))) == 1
    assert "raylet" not in "".join(log.read_text() for log in (tmp_path / "results").glob("*.log"))
    search = tmp_path / "results" / "again" / NAME
    trials = pd.read_csv(search / TRIALS)
    winner = trial_folder(search, int(trials["trial"][trials[METRIC].idxmax()]))
    alone = load_run(search / BEST)
    alone = alone.model_copy(update={"image": alone.image.model_copy(update={"cache": tmp_path / "cache"})})
    with closing(fit(alone, prepare(alone, select(alone)), tmp_path / "alone")) as reports:
        rows = pd.DataFrame([report.row() for report in reports])
    told = pd.read_csv(winner / checkpoint.REPORTS)
    assert told["auroc"].tolist() == rows["auroc"].tolist()
    assert told["train_loss"].tolist() == rows["train_loss"].tolist()
