"""A real search over two real Ray nodes, from which one thing after the other is taken."""

import tempfile
from contextlib import closing
from pathlib import Path

import pandas as pd
import pytest

from chex.config import load_run
from chex.runtime import run_folder
from chex.statistics.metrics import METRIC
from chex.training.run_data import load_run_data
from chex.training.run_tables import load_run_tables
from chex.training.trainer import fit
from search.storage.node_data import IMAGES_FOLDER
from search.storage.shared_images import MANIFEST
from search.trials.layout import BEST, TRIALS, trial_folder
from tests.bench.cluster_chaos import EVENTS, NAME, search_file, undergo

TRIALS_RUN, AT_ONCE = 6, 2
"""Trials of the search, and how many of them run at once on a node."""

pytestmark = [pytest.mark.ray, pytest.mark.slow]


def test_a_search_that_loses_processes_nodes_and_its_head_ends_each_trial_once(tmp_path: Path) -> None:
    config = search_file(tmp_path, TRIALS_RUN, share=1 / AT_ONCE)
    storage = (tmp_path / "storage").as_uri()
    with tempfile.TemporaryDirectory(prefix="r") as scratch:
        came = undergo(EVENTS, config, tmp_path / "results", Path(scratch), storage, None, AT_ONCE)
    assert [strike.event for strike in came.strikes] == list(EVENTS)
    assert all(strike.hit for strike in came.strikes)
    assert (came.trials, came.not_once, came.lost, came.repeated) == (TRIALS_RUN, 0, 0, 0)
    assert max(came.at_once.values()) == AT_ONCE
    assert set(came.caches.values()) == {1}
    assert len(list((tmp_path / "storage" / IMAGES_FOLDER).glob(f"*/{MANIFEST}"))) == 1
    assert "raylet" not in "".join(log.read_text() for log in (tmp_path / "results").glob("*.log"))
    search = tmp_path / "results" / "again" / NAME
    trials = pd.read_csv(search / TRIALS)
    winner = trial_folder(search, int(trials["trial"][trials[METRIC].idxmax()]))
    alone = load_run(search / BEST)
    alone = alone.model_copy(update={"image": alone.image.model_copy(update={"cache_dir": tmp_path / "cache"})})
    with closing(fit(alone, load_run_data(alone, load_run_tables(alone)), tmp_path / "alone")) as reports:
        rows = pd.DataFrame([report.row() for report in reports])
    message = pd.read_csv(winner / run_folder.REPORTS)
    assert message["auroc"].tolist() == rows["auroc"].tolist()
    assert message["train_loss"].tolist() == rows["train_loss"].tolist()
