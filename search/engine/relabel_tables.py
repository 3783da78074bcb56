"""Makes the probability tables that a search's policies read: each once, before the trials, which share it."""

import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayTaskError

from chex.config import RunConfig, validate
from chex.errors import InputError
from chex.reporting.console import format_decimal, progress_bar
from chex.runtime import run_folder
from chex.runtime.atomic_io import write_text
from chex.training.preflight import teacher_config
from chex.training.relabel import teacher_cost, write_forest_table
from chex.training.run_data import load_run_data
from chex.training.run_tables import load_run_tables
from chex.training.teacher import train_teacher
from chex.training.trainer import TrainingDiverged
from chex.uncertainty.policies import TABLE_POLICIES
from chex.uncertainty.probability_tables import TABLE
from search.config.search_config import SearchConfig
from search.ray_nodes.nodes import live_nodes
from search.space.policy_tables import observations_that_may_have
from search.storage.lease import Lease
from search.storage.node_data import resolve_data
from search.storage.search_storage import SearchStorage, delete_remote
from search.storage.workspace import open_workspace, tables_digest
from search.trials.layout import TABLES_FOLDER


def with_probability_tables(
    search: SearchConfig,
    base: RunConfig,
    folder: Path,
    storage: SearchStorage | None = None,
    images_uri: str | None = None,
    earlier_folder: Path | None = None,
) -> RunConfig:
    """Returns `base` with the path of every table that a trial may read; makes missing tables in `folder`.

    Copies tables of an earlier search in `earlier_folder`. Trains the teacher of self_trained in the running Ray, with
    the image caches at `images_uri` if they are shared. Raises InputError if a table cannot be made.
    """
    paths = {}
    for kind in TABLE_POLICIES:
        if not observations_that_may_have(kind, base, search.search_space()) or getattr(base.relabel, kind) is not None:
            continue
        paths[kind] = folder / TABLES_FOLDER / kind / TABLE
        if not paths[kind].exists():
            paths[kind].parent.mkdir(parents=True, exist_ok=True)
            if earlier_folder and (earlier_table := earlier_folder / TABLES_FOLDER / kind / TABLE).exists():
                write_text(paths[kind], earlier_table.read_text(encoding="utf-8"))
            else:
                _make_table(kind, search, base, folder, storage, images_uri)
    if storage and paths:
        storage.sync()
    return base.model_copy(update={"relabel": base.relabel.model_copy(update=paths)})


def _make_table(
    kind: str,
    search: SearchConfig,
    base: RunConfig,
    folder: Path,
    storage: SearchStorage | None,
    images_uri: str | None,
) -> None:
    table_folder = folder / TABLES_FOLDER / kind
    if kind == "forest":
        with progress_bar("growing forests for the policy forest") as advance:
            write_forest_table(base, table_folder / TABLE, advance)
        return
    print("training the teacher of self_trained, once for all trials", file=sys.stderr)
    largest_node = max(live_nodes(), key=lambda node: (node.gpus, node.cpus))
    teacher = teacher_config(base)
    device = teacher.device.model_copy(update={"threads": max(1, largest_node.cpus)})
    gpus = min(math.ceil(search.resources.gpus_per_trial), 1)
    resources = {"num_cpus": max(1, largest_node.cpus), "num_gpus": gpus}
    config = teacher.model_copy(update={"device": device}).model_dump(mode="json")
    digest = tables_digest(base.data.root) if search.data_uri and base.data.root else ""
    arguments = str(table_folder), str(folder), storage.lease if storage else None, search.data_uri, images_uri, digest
    try:
        for ref in _train_teacher.options(**resources).remote(config, *arguments):
            report = ray.get(ref)
            print(f"teacher {int(report['percent']):>3} %  AUROC {format_decimal(report['auroc'])}", file=sys.stderr)
    except RayTaskError as error:
        if isinstance(error.cause, TrainingDiverged | InputError):
            raise InputError(
                f"relabel.self_trained: the search's teacher cannot be trained ({error.cause}); change the base run, "
                "or make a table with `chex relabel teacher RUN.yaml` and give it with --set relabel.self_trained=FILE"
            ) from error
        raise
    if storage:
        storage.download(str(table_folder.relative_to(folder)))
        delete_remote(storage.uri, str((table_folder / run_folder.STATE).relative_to(folder)))
    for name in (run_folder.STATE, run_folder.PREVIOUS_STATE):
        (table_folder / name).unlink(missing_ok=True)
    print(teacher_cost(table_folder), file=sys.stderr)


@ray.remote(max_calls=1)  # type: ignore[untyped-decorator]  # ends its process, which frees the GPU's memory
def _train_teacher(
    config: dict[str, Any],
    folder: str,
    search_folder: str,
    lease: Lease | None,
    data_uri: str | None,
    images_uri: str | None,
    digest: str,
) -> Iterator[dict[str, float]]:
    cache = Path(config["image"]["cache_dir"])
    local, open_images = resolve_data(config, data_uri, images_uri, cache, digest)
    teacher = validate(RunConfig, local, "teacher")
    with open_workspace(Path(folder), Path(search_folder), lease, cache) as workspace:
        for report in train_teacher(
            teacher, load_run_data(teacher, load_run_tables(teacher), load_images=open_images), workspace.folder
        ):
            workspace.sync()
            yield report.row()
        workspace.sync()
