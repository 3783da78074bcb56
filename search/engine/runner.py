"""Runs or resumes a search: checks, Ray, the trials and the files in the search's folder."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from chex.config import RunConfig, load_run, to_yaml, validate
from chex.errors import InputError
from chex.reporting.console import show_activity
from chex.runtime.atomic_io import write_text
from chex.runtime.output_folder import check_can_empty, check_claim, claim, empty_folder
from chex.training.auto import resolve_auto
from chex.training.preflight import read_by
from chex.training.run_tables import load_run_tables
from chex.training.train import check_run, preflight, with_resolved_auto
from search.config.budget import extend_budget, too_many_failures, why_no_more_trials, why_stop
from search.config.earlier_search import check_same_source, earlier_trials
from search.config.local_data import images_of, with_local_data
from search.config.resources import TrialSlots, plan_slots, this_machine
from search.config.search_config import SearchConfig
from search.config.search_folder import check_folder, load_search_folder, lock_search, storage_of
from search.engine.artifact_callback import ArtifactCallback
from search.engine.controller import TrialController
from search.engine.interruption import SearchInterrupted, TooManyFailures
from search.engine.relabel_tables import with_probability_tables
from search.engine.tune_experiment import run_trials
from search.monitor.live_table import progress_reporter
from search.monitor.tensorboard import SearchLogs
from search.optimize.samplers import unjudged_policies_note
from search.ray_nodes.auto_on_node import resolve_auto_on_node
from search.ray_nodes.dashboard import check_dashboard
from search.ray_nodes.nodes import (
    autoscaler_nodes,
    check_shared_folder,
    connect_cluster,
    live_nodes,
    local_ray,
    nodes_with_room,
    ray_addresses,
)
from search.ray_nodes.ray_watchdog import exit_if_ray_dies
from search.space.effects import idle_policies
from search.space.policy_tables import check_given_tables, without_tables
from search.storage.search_storage import SearchStorage, check_storage, delete_remote, sync_search
from search.storage.uri import Unreachable
from search.trials.artifacts import delete_checkpoints, write_columns
from search.trials.earlier_trials import EarlierTrials, load_earlier_trials, save_earlier_trials
from search.trials.environment import environment, record_environment
from search.trials.layout import BASE, CONFIG, LOCK, PAGE, REPORT, STEPS, STRATEGIES, trial_folder
from search.trials.predictions import gather, write_labels
from search.trials.study_store import StudyStore
from search.trials.trial import TrialRecord, ended

EXIT_INTERRUPTED = 130


def run_search(
    search: SearchConfig,
    folder: Path,
    overwrite: bool,
    cluster: str | None = None,
    dashboard: bool = False,
    earlier_folder: Path | None = None,
    previous: SearchConfig | None = None,
    learn_from: Path | None = None,
) -> list[TrialRecord]:
    """Runs all trials and returns them; `folder` then holds trials.csv, best.yaml, best.safetensors and logs.

    Runs on this machine, with Ray's `dashboard` if that is wanted, or on the Ray cluster at the address `cluster`.
    Resumes where an earlier call for this search and folder stopped, unless `overwrite` empties the folder first.
    Probability tables are copied from the search in `earlier_folder`. `previous` is the search in `folder` before its
    extension to `search`. The sampler also learns from the trials of the search in the folder `learn_from`.

    Raises InputError, before anything is written or removed unless a probability table cannot be made;
    SearchInterrupted if the search stops before its end; and TooManyFailures.
    """
    check_claim(folder, "search", "", search.base.data.root)
    if overwrite:
        check_can_empty(folder, "", read_by(search.base))
    else:
        check_folder(previous or search, folder)
    uri = storage_of(search, folder)
    check_storage(folder, uri, overwrite)
    if dashboard:
        check_dashboard()
    is_new = overwrite or not (folder / CONFIG).exists()
    if learn_from and not is_new:
        check_same_source(folder, learn_from)
    earlier = earlier_trials(search, learn_from) if learn_from and is_new else None
    show_activity("connecting to the cluster" if cluster else "reading the tables")
    with connect_cluster(cluster) if cluster else nullcontext():
        if cluster:
            slots = plan_slots(search.resources, live_nodes(), grows=True, coming=autoscaler_nodes())
        else:
            slots = plan_slots(search.resources, [this_machine()])
        threads = slots.cpus_per_trial if overwrite else _saved_threads(folder) or slots.cpus_per_trial
        base = _checked_base(with_local_data(search, whole=not cluster), threads, decoded=not cluster)
        claim(folder, "search", "", search.base.data.root)
        with lock_search(folder):
            if cluster and not uri:
                check_shared_folder(folder / LOCK)
            if overwrite:
                delete_remote(uri)
                empty_folder(folder, keep=(LOCK,))
            show_activity("resolving `auto` settings")
            resolve = partial(resolve_auto_on_node, slots) if cluster else resolve_auto
            base = with_resolved_auto(base, folder / BASE, slots.gpus_per_trial or 1.0, resolve)
            for name in (REPORT, PAGE, STRATEGIES) if previous else ():
                delete_remote(uri, name)
                (folder / name).unlink(missing_ok=True)
            if is_new:
                save_earlier_trials(folder, earlier)
            write_text(folder / CONFIG, to_yaml(search))
            write_text(folder / BASE, to_yaml(base))
            record_environment(folder, environment())
            with nullcontext() if cluster else local_ray(dashboard):
                return _run_trials(search, base, folder, slots, uri, earlier_folder or learn_from, decoded=not cluster)


def resume_search(folder: Path, cluster: str | None = None, dashboard: bool = False) -> list[TrialRecord]:
    """Resumes the search in `folder`. Returns and raises like `run_search`."""
    return run_search(load_search_folder(folder), folder, overwrite=False, cluster=cluster, dashboard=dashboard)


def extend_search(
    folder: Path,
    trials: int | None,
    images: int | None,
    hours: float | None,
    cluster: str | None = None,
    dashboard: bool = False,
) -> list[TrialRecord]:
    """Adds to the budget of the search in `folder` and resumes it with the results of its trials.

    Raises InputError if nothing is added, if the budget does not have a limit that is to be raised, or if trials are
    added to a grid. Otherwise returns and raises like `run_search`.
    """
    previous = load_search_folder(folder)
    if trials and previous.sampler.kind == "grid":
        raise InputError(
            f"--trials: {folder} tries every point of a grid, and there are no others; leave --trials out, or run "
            "a search over a larger space under another --name"
        )
    extended = previous.model_copy(update={"budget": extend_budget(previous.budget, trials, images, hours)})
    return run_search(extended, folder, overwrite=False, cluster=cluster, dashboard=dashboard, previous=previous)


def _run_trials(
    search: SearchConfig,
    base: RunConfig,
    folder: Path,
    slots: TrialSlots,
    uri: str | None,
    earlier_folder: Path | None,
    decoded: bool,
) -> list[TrialRecord]:
    show_activity("opening the study")
    store = StudyStore(folder, search.search_space())
    tables = load_run_tables(without_tables(base))
    write_labels(folder, tables.scored, tables.observations)
    if note := unjudged_policies_note(search.sampler, search.search_space(), tables.scored_observations):
        print(note, file=sys.stderr)
    earlier = load_earlier_trials(folder) or EarlierTrials("", ())
    if earlier.trials:
        print(f"the sampler also learns from {len(earlier.trials)} trials of {earlier.source}", file=sys.stderr)
    for trial in ended(store.trials()):  # an earlier process may have died before it did so
        delete_checkpoints(trial_folder(folder, trial.number))
    last_words = f"chex-search: Ray has died; `chex-search resume {folder}` continues the search"
    try:
        with sync_search(folder, uri) as storage, exit_if_ray_dies(ray_addresses(), last_words, EXIT_INTERRUPTED):
            images_uri = images_of(search, folder)
            with_tables = with_probability_tables(search, base, folder, storage, images_uri, earlier_folder)
            config = with_tables.model_dump(mode="json")
            with _artifact_callback(search, config, folder, store, storage, decoded) as callback:
                nodes = partial(nodes_with_room, slots.cpus_per_trial, slots.gpus_per_trial)
                controller = TrialController(
                    search, store, callback, slots.max_concurrent_trials, nodes=nodes, earlier=earlier.trials
                )
                try:
                    run_trials(controller, folder, config, slots, storage.lease if storage else None, images_uri)
                finally:
                    controller.close()
            gather(folder, [trial.number for trial in ended(controller.trials)])
            write_columns(folder, controller.trials)
    except KeyboardInterrupt:  # Ctrl-C while Tune does not handle it
        raise SearchInterrupted("interrupted") from None
    except Unreachable as error:
        raise SearchInterrupted(str(error)) from error
    return _check_outcome(search, controller)


def _check_outcome(search: SearchConfig, controller: TrialController) -> list[TrialRecord]:
    trials, budget = controller.trials, search.budget
    if controller.halt_reason:
        raise SearchInterrupted(controller.halt_reason)
    if failures := too_many_failures(budget, trials):
        raise TooManyFailures(failures)
    pending = any(trial.state == "pending" for trial in trials)
    if not why_stop(budget, trials, controller.elapsed_seconds) and (pending or not why_no_more_trials(budget, trials)):
        raise SearchInterrupted("interrupted")
    return trials


@contextmanager
def _artifact_callback(
    search: SearchConfig,
    base: dict[str, Any],
    folder: Path,
    store: StudyStore,
    storage: SearchStorage | None,
    decoded: bool,
) -> Iterator[ArtifactCallback]:
    run = validate(RunConfig, base, str(folder / BASE))
    logs = SearchLogs(folder, search.search_space(), run, search.data_uri, decoded)
    table = progress_reporter(search.budget, Console(stderr=True), store.trials(), store.elapsed_seconds)
    try:
        yield ArtifactCallback(folder, base, table, logs, storage, search.data_uri)
    finally:
        table.close()
        logs.close()
        (folder / STEPS).unlink(missing_ok=True)


def _saved_threads(folder: Path) -> int | None:
    """Returns the CPU threads per trial that `folder` records, the same on every machine; None if it records none."""
    return load_run(folder / BASE).device.threads if (folder / BASE).exists() else None


def _checked_base(search: SearchConfig, threads: int, decoded: bool) -> RunConfig:
    """Returns the base run with the device that trials use, checked except for tables that are still to be made.

    With `decoded` its images are decoded now; otherwise each node decodes what it needs. Raises InputError if a check
    fails. Prints a note on stderr about policies without effect.
    """
    check_given_tables(search.base, search.search_space())
    data = (preflight if decoded else check_run)(without_tables(search.base))
    if idle := idle_policies(search.search_space(), data.observations, data.tree.train.labels[data.trainable]):
        print(f"chex-search: {idle}", file=sys.stderr)
    on_gpu = search.resources.gpus_per_trial > 0 and search.base.device.kind != "cpu"
    device = search.base.device.model_copy(update={"kind": "cuda" if on_gpu else "cpu", "threads": threads})
    return search.base.model_copy(update={"device": device})
