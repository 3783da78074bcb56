"""A trial's folder: in the search's own, or on its node's disk, with a copy in the search's storage."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from chex import checkpoint
from chex.relabel import TABLE
from search.bucket import below
from search.mirror import pull, push
from search.staging import stage, stage_list, tree_path

KEPT = (
    checkpoint.WEIGHTS,
    checkpoint.PREDICTIONS,
    checkpoint.PROBABILITIES,
    checkpoint.REPORTS,
    checkpoint.STATE,
    TABLE,
)
"""What a run leaves that is kept. Not the state before the last one: in a storage every file is whole."""
LOCK, STAGE = "running.lock", "stage"


@dataclass(frozen=True)
class Home:
    """Where a run lies on this machine, and the URI of its copy, if it has one."""

    folder: Path
    copy: str | None = None

    def fetch(self) -> None:
        """Fills the folder from its copy. Raises Unreachable."""
        if self.copy is not None:
            pull(self.copy, self.folder, KEPT.__contains__, patient=True)

    def keep(self) -> None:
        """Copies what is new since the last time. Raises Unreachable."""
        if self.copy is not None:
            push(self.folder, self.copy, KEPT.__contains__, patient=True)


@contextmanager
def at_home(folder: Path, search: Path, stored: str | None, cache: Path) -> Iterator[Home]:
    """A run's home, in which no other process is while the block runs; `folder` lies below the `search`'s own.

    That folder itself; or, where the search is `stored`, one on this node's disk below `cache`, which holds what the
    copy has and is gone after the block: what counts is in the storage. Raises Unreachable.
    """
    if stored is None:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / LOCK):  # until a process that an earlier search left behind is gone
            yield Home(folder)
        return
    name = folder.relative_to(search)
    here = scratch(stored, cache) / name
    here.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(here.with_name(f"{here.name}.lock")):
        shutil.rmtree(here, ignore_errors=True)  # a trial may have been elsewhere since
        here.mkdir()
        try:
            home = Home(here, below(stored, str(name)))
            home.fetch()
            yield home
        finally:
            shutil.rmtree(here, ignore_errors=True)


def with_local_tables(base: dict[str, Any], search: Path, stored: str | None, cache: Path) -> dict[str, Any]:
    """`base` with the tables that were made for the `search` where this node has them; fetches those it lacks.

    Raises Unreachable.
    """
    if stored is None:
        return base
    relabel = dict(base["relabel"])
    for kind, path in relabel.items():
        if path is None or not Path(path).is_relative_to(search):
            continue
        name = Path(path).relative_to(search)
        here = scratch(stored, cache) / name
        here.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(here.with_name(f"{here.name}.lock")):
            if not here.exists():
                Home(here.parent, below(stored, str(name.parent))).fetch()
        relabel[kind] = str(here)
    return base | {"relabel": relabel}


def with_local_tree(base: dict[str, Any], source: str | None, cache: Path, whole: bool = True) -> dict[str, Any]:
    """`base` with the tree where this machine has it; one that has a `source` is staged below `cache` by who is first.

    The `whole` of it, or its tables and a list of the rest. Raises InputError.
    """
    if source is None:
        return base
    root = (stage if whole else stage_list)(source, tree_path(source, cache / STAGE))
    return base | {"data": base["data"] | {"root": str(root)}}


def scratch(stored: str, cache: Path) -> Path:
    """Where a node has what belongs to the search that is `stored` there."""
    return cache.expanduser() / "trials" / checkpoint.digest(stored)
