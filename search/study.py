"""Runs a search: checks, Ray, Tune, and what is left in its folder."""

import shutil
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler

from chex.atomic import write_text
from chex.config import RunConfig, dump
from chex.errors import InputError
from chex.metrics import METRIC, MODE
from chex.train import preflight, settled
from search.ledger import TrialRow, ledger
from search.relabelling import check_given_tables, with_tables, without_tables
from search.resources import Allotment, allotted, machine
from search.sampler import build_searcher
from search.search_config import SearchConfig
from search.trainable import train_trial
from search.watcher import Watcher

CONFIG, BASE, TUNE = "search.yaml", "base.yaml", "tune"


class Interrupted(Exception):
    """The search was stopped from outside; running it again goes on."""


def run_search(search: SearchConfig, folder: Path, fresh: bool) -> list[TrialRow]:
    """Runs all trials and returns their rows; `folder` then holds trials.csv, best.yaml, best.safetensors and logs.

    Goes on where an earlier call for this search and folder stopped, unless `fresh` empties the folder first. Raises
    InputError before anything is written or removed, and Interrupted after Ctrl-C.
    """
    if not fresh:
        check_folder(search, folder)
    allotment = allotted(search.resources, *machine())
    base = _checked_base(search, allotment)
    if fresh:
        shutil.rmtree(folder, ignore_errors=True)
    base = settled(base, folder / BASE, share=allotment.gpus_per_trial or 1.0)
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / CONFIG, dump(search))
    write_text(folder / BASE, dump(base))
    _start_ray()
    try:
        base = with_tables(search, base, folder)
        results = _tuner(search, folder, base.model_dump(mode="json"), allotment).fit()
    except KeyboardInterrupt:  # before Tune took it over
        raise Interrupted from None
    finally:
        ray.shutdown()
    rows = ledger(results._experiment_analysis.trials)  # ResultGrid itself does not tell stopped from finished
    if len(rows) < search.budget.trials or any(row.state in ("waiting", "running") for row in rows):
        raise Interrupted
    return rows


def _checked_base(search: SearchConfig, allotment: Allotment) -> RunConfig:
    """The base run as every trial gets it, but for tables still to be made; its films decoded so that trials find them.

    Raises InputError.
    """
    check_given_tables(search.base, search.knobs())
    preflight(without_tables(search.base))
    kind = "cuda" if allotment.gpus_per_trial else "cpu"
    device = search.base.device.model_copy(update={"kind": kind, "threads": allotment.cpus_per_trial})
    return search.base.model_copy(update={"device": device})


def check_folder(search: SearchConfig, folder: Path) -> None:
    """Raises InputError where `folder` holds another search."""
    config = folder / CONFIG
    if config.exists() and config.read_text(encoding="utf-8") != dump(search):
        raise InputError(
            f"{folder} holds another search (its {CONFIG} differs); give this one a --name of its own, "
            "or start over with --fresh"
        )


def _start_ray() -> None:
    cpus, gpus = machine()
    ray.init(
        address="local",
        num_cpus=cpus,
        num_gpus=gpus,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
    )


def _tuner(search: SearchConfig, folder: Path, base: dict[str, Any], allotment: Allotment) -> tune.Tuner:
    resources = {"cpu": allotment.cpus_per_trial, "gpu": allotment.gpus_per_trial}
    given = tune.with_parameters(train_trial, base=base, share=allotment.gpus_per_trial)
    trainable = tune.with_resources(given, resources)
    path = str(folder / TUNE)
    if tune.Tuner.can_restore(path):
        return tune.Tuner.restore(path, trainable=trainable)
    shutil.rmtree(path, ignore_errors=True)
    return tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            num_samples=search.budget.trials,
            search_alg=build_searcher(search.knobs(), search.sampler, search.first_point()),
            scheduler=_scheduler(search),
            reuse_actors=True,
            trial_dirname_creator=_trial_name,
        ),
        run_config=tune.RunConfig(
            name=TUNE,
            storage_path=str(folder),
            verbose=0,
            callbacks=[Watcher(folder, base, search.knobs(), search.budget.trials)],
            failure_config=tune.FailureConfig(max_failures=2),
            checkpoint_config=tune.CheckpointConfig(num_to_keep=2),
        ),
    )


def _scheduler(search: SearchConfig) -> TrialScheduler:
    stopping = search.stopping
    if stopping is None:
        return FIFOScheduler()
    return ASHAScheduler(
        time_attr="percent",
        max_t=100,
        grace_period=stopping.grace,
        reduction_factor=stopping.factor,
        metric=METRIC,
        mode=MODE,
    )


def _trial_name(trial: Any) -> str:
    return f"trial_{trial.trial_id}"
