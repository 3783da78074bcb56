"""The trainable: trains one trial in its own process, in the trial's folder, and reports to Ray Tune."""

import math
import socket
from contextlib import closing
from pathlib import Path
from typing import Any

import pandas as pd
import ray
import torch
from ray import tune

from chex.config import RunConfig
from chex.data.data_config import batch_size
from chex.data.image_cache import ImageLoader
from chex.errors import DiskFull, InputError
from chex.models import checkpoint
from chex.runtime import run_folder
from chex.runtime.gpu_memory import free_gpu_memory, limit_gpu_memory
from chex.statistics.metrics import METRIC
from chex.training.run_data import load_run_data
from chex.training.run_tables import load_run_tables
from chex.training.trainer import TrainingDiverged, fit
from search.engine.step_reports import publish_steps
from search.storage.disk_full import disk_full_reason
from search.storage.lease import Lease
from search.storage.node_data import resolve_data
from search.storage.uri import Unreachable
from search.storage.workspace import HeadDigests, TrialWorkspace, open_workspace, with_local_tables
from search.trials.artifacts import trial_config
from search.trials.layout import number_of, trial_folder
from search.trials.trial import FAILURE, HALT, HOST, NODE, is_complete

NO_DIGESTS = HeadDigests()
"""With these a node uses the paths in the base run and compares neither tables nor dataset with the head's."""


def train_trial(config: dict[str, Any], search_folder: str, **options: Any) -> None:
    """Ray Tune's trainable: calls `run_trial` in the folder of the trial that Tune has started.

    `config` has the trial's parameters: dotted paths to values. `options` are those of `run_trial`.
    """
    name = tune.get_context().get_trial_name()
    run_trial(config, trial_folder(Path(search_folder), number_of(name)), **options)


def run_trial(
    params: dict[str, Any],
    folder: Path,
    base: dict[str, Any],
    share: float,
    lease: Lease | None = None,
    data_uri: str | None = None,
    images_uri: str | None = None,
    digests: HeadDigests = NO_DIGESTS,
) -> None:
    """Trains `base` with the values of `params` in `folder`; resumes from what the folder holds.

    A dataset at `data_uri` is staged on this node; its images only if the image caches at `images_uri` lack them (see
    `resolve_data`). With a `lease` the run is on this node's disk (see `open_workspace`), and every report is in the
    storage before Tune gets it. Tables and dataset on the node must match the `digests`.

    Passes every report to Tune, first those from before an interruption. Reports FAILURE if the run would fail again
    (diverged loss, bad input), and HALT if this machine can run no trial (full disk, unreachable storage). Passes any
    other exception to Tune, and the controller restarts the trial. Uses at most its `share` of a GPU's memory, and
    frees it for the next trial in the same process.
    """
    with free_gpu_memory():
        failure = _run_trial(params, folder, base, share, lease, data_uri, images_uri, digests)
    if failure:
        tune.report({METRIC: math.nan} | failure)


def read_reports(folder: Path) -> list[dict[str, Any]]:
    """Returns the reports that a run in `folder` resumes after; all of them if it is complete.

    Of an incomplete run, returns only the reports up to its last saved state: the run makes later ones again.
    """
    state = checkpoint.read_state(folder, torch.device("cpu"))
    if state:
        return list(state["rows"])
    path = folder / run_folder.REPORTS
    rows = pd.read_csv(path).to_dict("records") if path.exists() else []
    reports = [{str(name): value for name, value in row.items()} for row in rows]
    return reports if reports and is_complete(reports[-1]) else []


def _run_trial(
    params: dict[str, Any],
    folder: Path,
    base: dict[str, Any],
    share: float,
    lease: Lease | None,
    data_uri: str | None,
    images_uri: str | None,
    digests: HeadDigests,
) -> dict[str, str]:
    """Trains the trial. Returns {} after its last report, or what to report if there is no result."""
    search_folder, cache = folder.parents[1], Path(base["image"]["cache_dir"])
    try:
        limit_gpu_memory(share)
        with open_workspace(folder, search_folder, lease, cache) as workspace:
            local = with_local_tables(base, search_folder, lease.uri if lease else None, cache, digests)
            local, open_images = resolve_data(local, data_uri, images_uri, cache, digests.dataset)
            _train(trial_config(local, params), workspace, open_images, str(folder))
    except (Unreachable, DiskFull) as error:
        return _halt_report(str(error))
    except (TrainingDiverged, InputError) as error:
        return {FAILURE: str(error)}
    except OSError as error:
        if not (reason := disk_full_reason(error)):
            raise
        return _halt_report(f"{folder} cannot be written ({reason}); free disk space there")
    return {}


def _halt_report(reason: str) -> dict[str, str]:
    node = ray.get_runtime_context().get_node_id() if ray.is_initialized() else ""
    return {HALT: reason, NODE: node, HOST: socket.gethostname()}


def _train(config: RunConfig, workspace: TrialWorkspace, open_images: ImageLoader, folder: str) -> None:
    rows = read_reports(workspace.folder)
    for row in rows:
        tune.report(row)
    if rows and is_complete(rows[-1]):
        return  # the state of a complete run may be deleted by now, and the run would start over
    data = load_run_data(config, load_run_tables(config), load_images=open_images)
    with (
        publish_steps(folder, batch_size(config.batches)) as step,
        closing(fit(config, data, workspace.folder, step)) as reports,
    ):
        for report in reports:
            workspace.sync()
            tune.report(report.row())
