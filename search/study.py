"""Runs a search, or goes on with it: checks, Ray, and what is left in its folder."""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from chex.atomic import write_text
from chex.config import RunConfig, dump, load_run, read_yaml, validated
from chex.console import doing
from chex.differences import differences
from chex.errors import InputError
from chex.output_folder import check_claim, check_emptying, claim, empty, locked
from chex.prepare import select
from chex.settle import settle
from chex.train import checked, preflight, read_by, settled
from search.book import BOOK, Book, read_book
from search.bucket import Unreachable, below
from search.budget import enough, extended, over, too_many_failures
from search.conductor import Conductor
from search.effects import idle_policies
from search.environment import environment, note_environment
from search.export import drop_state, trial_folder, write_columns
from search.feed import images_below
from search.home import STAGE
from search.ledger import TrialRow, ended
from search.lifeline import tied_to
from search.nodes import addresses, check_shared, joined, nodes_there, nodes_to_come, started, with_room
from search.predictions import gather, write_labels
from search.progress import display
from search.relabelling import check_given_tables, with_tables, without_tables
from search.resources import Allotment, allotted, machine
from search.room import out_of_room
from search.search_config import SearchConfig
from search.settling import settled_there
from search.staging import stage, stage_tables, tree_path
from search.steps import STEPS
from search.stored import CONFIG, Stored, check_storage, forget, kept
from search.tensorboard import SearchLogs
from search.tuner import run_trials
from search.watcher import Watcher

BASE, REPORT, PAGE, LOCK = "base.yaml", "report.txt", "report.html", "search.lock"
EXIT_INTERRUPTED = 130


class Interrupted(Exception):
    """The search stopped before its end, for the reason that the message gives; `chex-search resume` goes on."""


class Failing(Exception):
    """So many trials failed in turn that the search was given up."""


def run_search(
    search: SearchConfig,
    folder: Path,
    fresh: bool,
    cluster: str | None = None,
    earlier: Path | None = None,
    begun: SearchConfig | None = None,
) -> list[TrialRow]:
    """Runs all trials and returns their rows; `folder` then holds trials.csv, best.yaml, best.safetensors and logs.

    On this machine, or on the Ray cluster at the address `cluster`. Goes on where an earlier call for this search and
    folder stopped, unless `fresh` empties the folder first. Tables that were made for a search in the folder `earlier`
    are taken over. `begun` is the search that `folder` holds so far, where it is extended to `search`. Raises
    InputError before anything is written or removed, and Interrupted where the search is not at its end.
    """
    check_claim(folder, "search", "", search.base.data.root)
    if fresh:
        check_emptying(folder, "", read_by(search.base))
    else:
        check_folder(begun or search, folder)
    uri = storage_of(search, folder)
    check_storage(folder, uri, fresh)
    doing("joining the cluster" if cluster else "reading the tables")
    with joined(cluster) if cluster else nullcontext():
        if cluster:
            allotment = allotted(search.resources, nodes_there(), grows=True, coming=nodes_to_come())
        else:
            allotment = allotted(search.resources, [machine()])
        threads = allotment.cpus_per_trial if fresh else _threads(folder) or allotment.cpus_per_trial
        base = _checked_base(located(search, whole=not cluster), threads, decoded=not cluster)
        claim(folder, "search", "", search.base.data.root)
        with held(folder):
            if cluster and not uri:
                check_shared(folder / LOCK)
            if fresh:
                forget(uri)
                empty(folder, keep=(LOCK,))
            doing("finding out what `auto` means here")
            settling = partial(settled_there, allotment) if cluster else settle
            base = settled(base, folder / BASE, allotment.gpus_per_trial or 1.0, settling)
            for told in (REPORT, PAGE) if begun else ():
                forget(uri, told)
                (folder / told).unlink(missing_ok=True)
            write_text(folder / CONFIG, dump(search))
            write_text(folder / BASE, dump(base))
            note_environment(folder, environment())
            with nullcontext() if cluster else started():
                return _conducted(search, base, folder, allotment, uri, earlier, decoded=not cluster)


def resume_search(folder: Path, cluster: str | None = None) -> list[TrialRow]:
    """Goes on with the search in `folder`; otherwise as `run_search`."""
    return run_search(load_begun(folder), folder, fresh=False, cluster=cluster)


def extend_search(
    folder: Path, trials: int | None, images: int | None, hours: float | None, cluster: str | None = None
) -> list[TrialRow]:
    """Adds to the budget of the search in `folder` and goes on with it, with all that its trials have shown.

    Raises InputError where nothing is added, or to a limit that the search does not have, and where trials are to be
    added to a grid; otherwise as `run_search`.
    """
    begun = load_begun(folder)
    if trials and begun.sampler.kind == "grid":
        raise InputError(
            f"--trials: {folder} tries every point of a grid, and there is no other point; leave --trials out, or run "
            "a search over a larger space under a --name of its own"
        )
    more = begun.model_copy(update={"budget": extended(begun.budget, trials, images, hours)})
    return run_search(more, folder, fresh=False, cluster=cluster, begun=begun)


def load_begun(folder: Path) -> SearchConfig:
    """The search that `folder` holds. Raises InputError where it holds none."""
    if not (folder / CONFIG).is_file():
        raise InputError(f"{folder} holds no search (no {CONFIG} in it); give a folder that `chex-search run` made")
    return validated(SearchConfig, read_yaml(folder / CONFIG), str(folder / CONFIG))


def storage_of(search: SearchConfig, folder: Path) -> str | None:
    """The URI of the search of `folder` in its storage; None where it has none."""
    return below(search.storage, folder.name) if search.storage else None


def images_of(search: SearchConfig, folder: Path) -> str | None:
    """The URI of the image caches for the search of `folder`; one inside another's folder shares those of that one."""
    outer = folder.parent
    return images_of(load_begun(outer), outer) if (outer / CONFIG).is_file() else images_below(search.storage)


def located(search: SearchConfig, whole: bool) -> SearchConfig:
    """`search` with its tree where this machine has it; of one with a source, the `whole` of it or its tables.

    Raises InputError.
    """
    if search.source is None:
        return search
    root = tree_path(search.source, search.base.image.cache / STAGE)
    (stage if whole else stage_tables)(search.source, root)
    return with_root(search, root)


def with_root(search: SearchConfig, root: Path) -> SearchConfig:
    """`search` with its tree in the folder `root`."""
    data = search.base.data.model_copy(update={"root": root})
    return search.model_copy(update={"base": search.base.model_copy(update={"data": data})})


def rows_of(search: SearchConfig, folder: Path) -> list[TrialRow]:
    """The trials that the search in `folder` has begun so far."""
    if not (folder / BOOK).exists():
        return []
    with read_book(folder, search.knobs()) as book:
        return book.rows()


@contextmanager
def room_said(folder: Path) -> Iterator[None]:
    """Where the block finds no room to write, Interrupted says so: nothing in `folder` is lost for it.

    TensorBoard writes in a thread of its own, which would print its traceback before it hands the error on.
    """
    tell = threading.excepthook
    threading.excepthook = lambda told: None if told.exc_value and out_of_room(told.exc_value) else tell(told)
    try:
        yield
    except Exception as error:
        if not (why := out_of_room(error)):
            raise
        raise Interrupted(f"{folder} cannot be written ({why}); make room there") from error
    finally:
        threading.excepthook = tell


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keeps other processes from running the search in `folder`. Raises InputError where one does."""
    refusal = f"{folder} is being run by another process; wait for it, or look at it with `chex-search status {folder}`"
    with locked(folder / LOCK, refusal):
        yield


def _conducted(
    search: SearchConfig,
    base: RunConfig,
    folder: Path,
    allotment: Allotment,
    uri: str | None,
    earlier: Path | None,
    decoded: bool,
) -> list[TrialRow]:
    doing("opening the study")
    book = Book(folder, search.knobs())
    selection = select(without_tables(base))
    write_labels(folder, selection.scored, selection.observations)
    for row in ended(book.rows()):  # the process may have died between a trial's end and its tidying
        drop_state(trial_folder(folder, row.number))
    gone = f"chex-search: Ray ended under the search; `chex-search resume {folder}` goes on with it"
    try:
        with kept(folder, uri) as stored, tied_to(addresses(), gone, EXIT_INTERRUPTED):
            images = images_of(search, folder)
            made = with_tables(search, base, folder, stored, images, earlier).model_dump(mode="json")
            with _watched(search, made, folder, book, stored, decoded) as watcher:
                nodes = partial(with_room, allotment.cpus_per_trial, allotment.gpus_per_trial)
                conductor = Conductor(search, book, watcher, allotment.at_once, nodes=nodes)
                try:
                    run_trials(conductor, folder, made, allotment, stored.lease if stored else None, images)
                finally:
                    conductor.close()
            gather(folder, [row.number for row in ended(conductor.rows)])
            write_columns(folder, conductor.rows)
    except KeyboardInterrupt:  # before Tune took it over
        raise Interrupted("interrupted") from None
    except Unreachable as error:
        raise Interrupted(str(error)) from error
    return _outcome(search, conductor)


def _outcome(search: SearchConfig, conductor: Conductor) -> list[TrialRow]:
    rows, budget = conductor.rows, search.budget
    if conductor.halted:
        raise Interrupted(conductor.halted)
    if failing := too_many_failures(budget, rows):
        raise Failing(failing)
    waits = any(row.state == "waiting" for row in rows)
    if not over(budget, rows, conductor.seconds) and (waits or not enough(budget, rows)):
        raise Interrupted("interrupted")
    return rows


@contextmanager
def _watched(
    search: SearchConfig, base: dict[str, Any], folder: Path, book: Book, stored: Stored | None, decoded: bool
) -> Iterator[Watcher]:
    run = validated(RunConfig, base, str(folder / BASE))
    logs = SearchLogs(folder, search.knobs(), run, search.source, decoded)
    table = display(search.budget, Console(stderr=True), book.rows(), book.seconds)
    try:
        yield Watcher(folder, base, table, logs, stored, search.source)
    finally:
        table.close()
        logs.close()
        (folder / STEPS).unlink(missing_ok=True)


def _threads(folder: Path) -> int | None:
    """The CPU threads of the trials that a search has begun with: another machine must not change what a run is."""
    return load_run(folder / BASE).device.threads if (folder / BASE).exists() else None


def _checked_base(search: SearchConfig, threads: int, decoded: bool) -> RunConfig:
    """The base run as every trial gets it, but for tables still to be made.

    Its films are `decoded`, so that trials find them, or left to the nodes that will need them. Raises InputError.
    """
    check_given_tables(search.base, search.knobs())
    data = (preflight if decoded else checked)(without_tables(search.base))
    if idle := idle_policies(search.knobs(), data.observations, data.tree.train.labels[data.trainable]):
        print(f"chex-search: {idle}", file=sys.stderr)
    on_gpu = search.resources.gpus_per_trial > 0 and search.base.device.kind != "cpu"
    where = search.base.device.model_copy(update={"kind": "cuda" if on_gpu else "cpu", "threads": threads})
    return search.base.model_copy(update={"device": where})


def check_folder(search: SearchConfig, folder: Path) -> None:
    """Raises InputError where `folder` holds another search."""
    other = differences(search, load_begun(folder), f"in its {CONFIG}") if (folder / CONFIG).exists() else ""
    if other:
        raise InputError(
            f"{folder} holds another search ({other}); give this one a --name of its own, "
            "start over with --fresh, or go on with that one: chex-search resume or extend"
        )
