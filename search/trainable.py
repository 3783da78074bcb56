"""What a trial does in its own process: a run in the trial's folder, told to Ray Tune report by report."""

import math
import socket
from contextlib import closing
from pathlib import Path
from typing import Any

import pandas as pd
import ray
import torch
from ray import tune

from chex import checkpoint
from chex.batches import batch_size
from chex.config import RunConfig, override, validated
from chex.errors import InputError, NoRoom
from chex.loop import Diverged, fit
from chex.memory import hold_to_share, memory_freed
from chex.metrics import METRIC
from chex.prepare import Opening, prepare, select
from search.bucket import Unreachable
from search.feed import fed
from search.home import Contents, Home, at_home, with_local_tables
from search.lease import Lease
from search.ledger import complete
from search.room import out_of_room
from search.steps import telling

FAILURE, HALT = "failure", "halt"
"""In place of figures a trial reports why it cannot give any, or why nothing on its machine can go on."""
NODE, HOST = "node", "host"
"""Beside HALT: the machine, as Ray knows it and as people do; blank without Ray."""
UNKNOWN = Contents()
"""Nothing that a node has is compared with what the head has."""


def train_trial(
    trial: dict[str, Any],
    base: dict[str, Any],
    share: float,
    stored: Lease | None = None,
    source: str | None = None,
    images: str | None = None,
    contents: Contents = UNKNOWN,
) -> None:
    """Trains `base` with trial["knobs"] laid over it in trial["folder"]; goes on with what the folder holds.

    Where the tree has a `source`, it is staged on this node, as far as the caches at `images` leave something to be
    decoded (see `fed`); where the search is `stored`, the run lies on this node's disk (see `at_home`), and a report is
    in the storage before it is told. What the node kept of tables and tree has to have these `contents`. Reports each
    report's row to Tune, those from before an interruption first. A run that cannot give a result for a reason that a
    retry would meet again reports FAILURE, a full disk or a storage that cannot be reached HALT; any other exception is
    left to Tune, which tries again. Keeps to its `share` of a GPU, and leaves nothing in memory to the next trial of
    its process.
    """
    with memory_freed():
        ending = _ending(trial, base, share, stored, source, images, contents)
    if ending:
        tune.report({METRIC: math.nan} | ending)


def trial_config(base: dict[str, Any], knobs: dict[str, Any]) -> RunConfig:
    """The run of one trial."""
    return validated(RunConfig, override(base, knobs), "trial")


def reported(folder: Path) -> list[dict[str, Any]]:
    """The rows of the reports that a run in `folder` goes on from; all of them where it is complete.

    A row of reports.csv whose state was not yet written is left out: the run makes that report again.
    """
    state = checkpoint.read_state(folder, torch.device("cpu"))
    if state:
        return list(state["rows"])
    path = folder / checkpoint.REPORTS
    rows = pd.read_csv(path).to_dict("records") if path.exists() else []
    named = [{str(name): value for name, value in row.items()} for row in rows]
    return named if named and complete(named[-1]) else []


def _ending(
    trial: dict[str, Any],
    base: dict[str, Any],
    share: float,
    stored: Lease | None,
    source: str | None,
    images: str | None,
    contents: Contents,
) -> dict[str, str]:
    """Trains; what is to be told where that gives no result."""
    folder = Path(trial["folder"])
    search, cache = folder.parents[1], Path(base["image"]["cache"])
    try:
        hold_to_share(share)
        with at_home(folder, search, stored, cache) as home:
            local = with_local_tables(base, search, stored.uri if stored else None, cache, contents)
            own, opening = fed(local, source, images, cache, contents.tree)
            _train(trial_config(own, trial["knobs"]), home, opening, trial["folder"])
    except (Unreachable, NoRoom) as error:
        return _halt(str(error))
    except (Diverged, InputError) as error:
        return {FAILURE: str(error)}
    except OSError as error:
        if not (why := out_of_room(error)):
            raise
        return _halt(f"{folder} cannot be written ({why}); make room there")
    return {}


def _halt(why: str) -> dict[str, str]:
    node = ray.get_runtime_context().get_node_id() if ray.is_initialized() else ""
    return {HALT: why, NODE: node, HOST: socket.gethostname()}


def _train(config: RunConfig, home: Home, opening: Opening, told_as: str) -> None:
    rows = reported(home.folder)
    for row in rows:
        tune.report(row)
    if rows and complete(rows[-1]):
        return  # its state may be tidied away by now, and it would begin anew
    data = prepare(config, select(config), opening=opening)
    with telling(told_as, batch_size(config.batches)) as step, closing(fit(config, data, home.folder, step)) as reports:
        for report in reports:
            home.keep()
            tune.report(report.row())
