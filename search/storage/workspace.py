"""Opens a trial's working folder: in the search's folder, or on the node's disk with a copy in the search's storage."""

import hashlib
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock

from chex.errors import InputError
from chex.runtime import run_folder
from chex.runtime.atomic_io import atomic_write
from chex.runtime.run_folder import sha256_of
from chex.uncertainty.probability_tables import TABLE
from search.storage.dataset import TABLES, delete_tables, stage, stage_list, staging_path
from search.storage.lease import Lease
from search.storage.remote_path import connect_with_retries
from search.storage.sync import no_check, pull, push
from search.storage.uri import child_uri, without_query

SYNCED_FILES = (
    run_folder.WEIGHTS,
    run_folder.PREDICTIONS,
    run_folder.PROBABILITIES,
    run_folder.REPORTS,
    run_folder.STATE,
    TABLE,
)
"""The files of a run that are synced. The last but one state is not: a storage has no half-written state to replace."""
LOCK, STAGE_FOLDER = "running.lock", "stage"


@dataclass(frozen=True)
class HeadDigests:
    """SHA-256 digests, in hex, of what the head of a search has read; nodes train on exactly these files.

    A node keeps files by their address, and the file at an address may be replaced: the digests show that.
    """

    tables: Mapping[str, str] = field(default_factory=dict)
    """The digest of each probability table that was made for the search, by policy."""
    dataset: str = ""
    """The digest of train.csv and valid.csv together, if each node stages the dataset; blank if all nodes read it in
    place."""


def head_digests(base: Mapping[str, Any], search: Path, data_uri: str | None) -> HeadDigests:
    """Returns the digests for the run `base`, whose probability tables may be in the `search`'s folder."""
    paths = {kind: Path(path) for kind, path in base["relabel"].items() if path is not None}
    tables = {kind: sha256_of(path) for kind, path in paths.items() if path.is_relative_to(search)}
    return HeadDigests(tables, tables_digest(Path(base["data"]["root"])) if data_uri else "")


def tables_digest(root: Path) -> str:
    """Returns the SHA-256 of a dataset's train.csv and valid.csv together, in hex."""
    return hashlib.sha256(b"".join((root / name).read_bytes() for name in TABLES)).hexdigest()


@dataclass(frozen=True)
class TrialWorkspace:
    """The folder of a run on this machine, and the URI of its copy if it has one."""

    folder: Path
    remote_uri: str | None = None
    lease: Lease | None = None
    """The lease of the search; once it is lost, the copy is not written."""

    def download(self) -> None:
        """Fills the folder from its copy. Raises Unreachable."""
        if self.remote_uri is not None:
            pull(self.remote_uri, self.folder, SYNCED_FILES.__contains__, retry=True)

    def sync(self) -> None:
        """Uploads what is new since the last sync. Raises LeaseLost and Unreachable."""
        if self.remote_uri is not None:
            check = self.lease.check if self.lease else no_check
            push(self.folder, self.remote_uri, SYNCED_FILES.__contains__, retry=True, check=check)


@contextmanager
def open_workspace(folder: Path, search: Path, lease: Lease | None, cache: Path) -> Iterator[TrialWorkspace]:
    """Locks and yields a run's workspace; `folder` is below the `search`'s folder.

    Without a `lease` the workspace is `folder`. With one it is a folder on this node's disk below `cache`, filled from
    the storage and deleted after the block, since the storage has all that a resumed run needs. Raises Unreachable, and
    LeaseLost if another head has taken over the search.
    """
    if lease is None:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / LOCK):  # waits for a process that an earlier search left running
            yield TrialWorkspace(folder)
        return
    name = folder.relative_to(search)
    local = scratch_folder(lease.uri, cache) / name
    local.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(local.with_name(f"{local.name}.lock")):
        lease.check()
        shutil.rmtree(local, ignore_errors=True)  # the trial may have run on another node since
        local.mkdir()
        try:
            workspace = TrialWorkspace(local, child_uri(lease.uri, str(name)), lease)
            workspace.download()
            yield workspace
        finally:
            shutil.rmtree(local, ignore_errors=True)


def with_local_tables(
    base: dict[str, Any], search: Path, storage_uri: str | None, cache: Path, digests: HeadDigests
) -> dict[str, Any]:
    """Returns `base` with this node's paths of the probability tables made for the `search`; fetches missing tables.

    A table on this node is used only if its digest matches. Raises Unreachable, and InputError if the storage holds
    another table than the search made.
    """
    if storage_uri is None:
        return base
    relabel = dict(base["relabel"])
    for kind, digest in digests.tables.items():
        name = Path(relabel[kind]).relative_to(search)
        local = scratch_folder(storage_uri, cache) / name.parent / digest[:16] / name.name
        local.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(local.with_name(f"{local.name}.lock")):
            if not local.exists() or sha256_of(local) != digest:
                _fetch_table(child_uri(storage_uri, str(name)), local, digest)
        relabel[kind] = str(local)
    return base | {"relabel": relabel}


def _fetch_table(uri: str, local: Path, digest: str) -> None:
    content = connect_with_retries(uri).read()
    if hashlib.sha256(content).hexdigest() != digest:
        raise InputError(
            f"{without_query(uri)} is not the table that this search made; find out which other search writes there, "
            "then use `chex-search resume`"
        )
    with atomic_write(local) as temporary:
        temporary.write_bytes(content)


def with_local_dataset(
    base: dict[str, Any], data_uri: str | None, cache: Path, images: bool = True, digest: str = ""
) -> dict[str, Any]:
    """Returns `base` with the dataset's path on this machine; stages a dataset at `data_uri` below `cache`.

    Stages the whole dataset, or without `images` its tables and a list of the other files. `digest` is that of the
    tables on the head: if those staged here differ, the dataset has changed and is staged again beside the old copy.
    Raises InputError if it cannot be staged, or if its tables are not those that the head has read.
    """
    if data_uri is None:
        return base
    root = staging_path(data_uri, cache / STAGE_FOLDER)
    changed = bool(digest) and _has_tables(root) and tables_digest(root) != digest
    root = root.with_name(f"{root.name}-{digest[:8]}") if changed else root
    (stage if images else stage_list)(data_uri, root)
    if digest and (found := tables_digest(root)) != digest:
        if changed:
            delete_tables(root)  # so that the next trial fetches them again
        raise InputError(
            f"{without_query(data_uri)}: its train.csv or valid.csv (SHA-256 {found[:8]}...) is not what the head of "
            f"this search has read ({digest[:8]}...); give a changed dataset another address, or remove the head's "
            f"copy, {base['data']['root']}, and start the search over with --overwrite"
        )
    return base | {"data": base["data"] | {"root": str(root)}}


def _has_tables(root: Path) -> bool:
    return all((root / name).exists() for name in TABLES)


def scratch_folder(storage_uri: str, cache: Path) -> Path:
    """Returns the folder on a node for the files of the search at `storage_uri`."""
    return cache.expanduser() / "trials" / run_folder.digest(storage_uri)
