"""A trial's folder: in the search's own, or on its node's disk, with a copy in the search's storage."""

import hashlib
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock

from chex import checkpoint
from chex.atomic import replacing
from chex.errors import InputError
from chex.pretrained import sha256_of
from chex.relabel import TABLE
from search.bucket import below, place_at, shown
from search.lease import Lease
from search.mirror import nothing, pull, push
from search.staging import TABLES, forget_tables, stage, stage_list, tree_path

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
class Contents:
    """What the head of a search has read, as SHA-256 in hex: a node trains on nothing else.

    A node keeps files by the address they came from, and the same address may hold other files later.
    """

    tables: Mapping[str, str] = field(default_factory=dict)
    """Of each probability table that was made for the search, by its policy."""
    tree: str = ""
    """Of train.csv and valid.csv together, for a tree that each node stages; blank for one that all nodes read."""


def contents_of(base: Mapping[str, Any], search: Path, source: str | None) -> Contents:
    """Returns the Contents of the run `base`, whose probability tables may lie in the `search`'s folder."""
    made = {kind: Path(path) for kind, path in base["relabel"].items() if path is not None}
    tables = {kind: sha256_of(path) for kind, path in made.items() if path.is_relative_to(search)}
    return Contents(tables, tables_digest(Path(base["data"]["root"])) if source else "")


def tables_digest(root: Path) -> str:
    """Returns the SHA-256 of a tree's train.csv and valid.csv together, in hex."""
    return hashlib.sha256(b"".join((root / name).read_bytes() for name in TABLES)).hexdigest()


@dataclass(frozen=True)
class Home:
    """Where a run lies on this machine, and the URI of its copy, if it has one."""

    folder: Path
    copy: str | None = None
    lease: Lease | None = None
    """Of the search: who has it no longer leaves the copy as it is."""

    def fetch(self) -> None:
        """Fills the folder from its copy. Raises Unreachable."""
        if self.copy is not None:
            pull(self.copy, self.folder, KEPT.__contains__, patient=True)

    def keep(self) -> None:
        """Copies what is new since the last time. Raises Superseded where another head has the search, Unreachable."""
        if self.copy is not None:
            check = self.lease.check if self.lease else nothing
            push(self.folder, self.copy, KEPT.__contains__, patient=True, check=check)


@contextmanager
def at_home(folder: Path, search: Path, stored: Lease | None, cache: Path) -> Iterator[Home]:
    """A run's home, in which no other process is while the block runs; `folder` lies below the `search`'s own.

    That folder itself; or, where the search is `stored`, one on this node's disk below `cache`, which holds what the
    copy has and is gone after the block: what counts is in the storage. Raises Unreachable, and Superseded where
    another head has the search by now.
    """
    if stored is None:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / LOCK):  # until a process that an earlier search left behind is gone
            yield Home(folder)
        return
    name = folder.relative_to(search)
    here = scratch(stored.uri, cache) / name
    here.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(here.with_name(f"{here.name}.lock")):
        stored.check()
        shutil.rmtree(here, ignore_errors=True)  # a trial may have been elsewhere since
        here.mkdir()
        try:
            home = Home(here, below(stored.uri, str(name)), stored)
            home.fetch()
            yield home
        finally:
            shutil.rmtree(here, ignore_errors=True)


def with_local_tables(
    base: dict[str, Any], search: Path, stored: str | None, cache: Path, contents: Contents
) -> dict[str, Any]:
    """Returns `base` with the tables that were made for the `search` where this node has them; fetches those it lacks.

    A table on this node is taken for the search's only where its content is. Raises Unreachable, and InputError where
    the storage holds another table than the search made.
    """
    if stored is None:
        return base
    relabel = dict(base["relabel"])
    for kind, digest in contents.tables.items():
        name = Path(relabel[kind]).relative_to(search)
        here = scratch(stored, cache) / name.parent / digest[:16] / name.name
        here.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(here.with_name(f"{here.name}.lock")):
            if not here.exists() or sha256_of(here) != digest:
                _fetch_table(below(stored, str(name)), here, digest)
        relabel[kind] = str(here)
    return base | {"relabel": relabel}


def _fetch_table(uri: str, here: Path, digest: str) -> None:
    content = place_at(uri).read()
    if hashlib.sha256(content).hexdigest() != digest:
        raise InputError(
            f"{shown(uri)} is not the table that this search made; look which other search writes there, and go on "
            "with `chex-search resume`"
        )
    with replacing(here) as beside:
        beside.write_bytes(content)


def with_local_tree(
    base: dict[str, Any], source: str | None, cache: Path, whole: bool = True, digest: str = ""
) -> dict[str, Any]:
    """Returns `base` with the tree where this machine has it; whoever is first stages that of a `source` below `cache`.

    The `whole` of it, or its tables and a list of the rest. Where the tables that were staged from this address have
    another `digest` than the head's, the tree has changed since, and is staged anew beside that one. Raises InputError,
    also where the source has other tables than the head.
    """
    if source is None:
        return base
    root = tree_path(source, cache / STAGE)
    other = bool(digest) and _has_tables(root) and tables_digest(root) != digest
    root = root.with_name(f"{root.name}-{digest[:8]}") if other else root
    (stage if whole else stage_list)(source, root)
    if digest and (found := tables_digest(root)) != digest:
        if other:
            forget_tables(root)  # so that the next trial asks again
        raise InputError(
            f"{shown(source)}: its train.csv or valid.csv (SHA-256 {found[:8]}...) is not what the head of this search "
            f"has read ({digest[:8]}...); give a changed tree an address of its own, or remove the head's copy, "
            f"{base['data']['root']}, and begin the search anew with --fresh"
        )
    return base | {"data": base["data"] | {"root": str(root)}}


def _has_tables(root: Path) -> bool:
    return all((root / name).exists() for name in TABLES)


def scratch(stored: str, cache: Path) -> Path:
    """Where a node has what belongs to the search that is `stored` there."""
    return cache.expanduser() / "trials" / checkpoint.digest(stored)
