"""Stages a dataset from a bucket on this machine's disk: a folder of files, or a zip archive of one, fetched once.

Checks each file: in a zip archive its size and CRC-32; on GCS its size and CRC32C (or MD5); on S3 or a disk its size.
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from filelock import FileLock

from chex.data.image_cache import Fingerprint, ProgressCallback
from chex.errors import DiskFull, InputError
from chex.runtime.atomic_io import atomic_write, write_text
from chex.runtime.output_folder import MARK, claim
from search.storage.remote_path import RemotePath, connect_existing
from search.storage.uri import without_query
from search.storage.zip_reader import ZipArchive

STAGE_ROOT = Path("~/.cache/chexpert-search/stage")
"""The folder for staged datasets unless another one is given."""
STAGED_MARK = ".staged.json"
"""The file that marks a completely staged dataset: it has the source, and the number and total bytes of the files."""
FILE_LIST = ".listed.json"
"""A file in a dataset that may lack images: it has the size and time of every file of the original dataset."""
STAGING_FILES = (STAGED_MARK, FILE_LIST)
OTHER_DISK = "give a folder on another disk: a search with image.cache_dir, `chex-search stage` with --to"
TABLES = ("train.csv", "valid.csv")
PARALLEL_FILES = 16
"""The number of files that are fetched at once."""


def staging_path(uri: str, stage: Path = STAGE_ROOT) -> Path:
    """Returns the folder below `stage` for the dataset at `uri`; the same on every machine."""
    name = re.sub(r"[^\w.-]+", "_", PurePosixPath(without_query(uri)).name.removesuffix(".zip")) or "data"
    return stage.expanduser().absolute() / f"{name}-{hashlib.sha256(without_query(uri).encode()).hexdigest()[:8]}"


def stage(uri: str, root: Path, progress: ProgressCallback | None = None) -> Path:
    """Returns `root` after it holds train.csv, valid.csv and all files below them, as the bucket has them.

    Asks the bucket nothing if they are staged already: to stage a changed dataset again, remove `root`. Continues after
    an interruption: complete files are kept, and of a zip archive only the parts with missing files are read. One
    process stages at a time, and others on the machine wait. Raises InputError if the bucket cannot be reached, a name
    leads out of the folder, the disk is too small or a checksum differs.
    """
    if (root / STAGED_MARK).exists():
        return root
    with _staging_lock(root):
        if not (root / STAGED_MARK).exists():
            with _open_source(uri) as source:
                _fill(root, source, progress)
    return root


def stage_tables(uri: str, root: Path) -> Path:
    """Returns `root` after it holds train.csv and valid.csv, for commands that open no image.

    Raises InputError like `stage`.
    """
    return stage_some(uri, root, TABLES)


def stage_some(uri: str, root: Path, names: Iterable[str]) -> Path:
    """Returns `root` after it also holds the files `names` of the dataset, fetched one by one.

    Asks the bucket nothing if `root` has them already. Raises InputError like `stage`, and if the dataset lacks one of
    the files.
    """
    missing = _missing_files(root, names)
    if not missing:
        return root
    with _staging_lock(root), _open_source(uri, only=missing) as source:
        for name in missing:
            if name not in source.names:
                raise InputError(f"{source.uri}: '{name}' does not exist; upload it, or an archive that contains it")
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            _copy(source, name, root)
    return root


def stage_list(uri: str, root: Path) -> Path:
    """Returns `root` after it holds the tables and a list of all other files (see `list_dataset`).

    Raises InputError like `stage`.
    """
    if not _is_listed(root):
        with _staging_lock(root):
            if not _is_listed(root):
                with _open_source(uri) as source:
                    for name in _missing_files(root, TABLES):
                        _copy(source, name, root)
                    files = {name: (source.size(name), source.changed(name)) for name in source.names}
                write_text(root / FILE_LIST, json.dumps(files))
    return root


def delete_tables(root: Path) -> None:
    """Removes the tables, and the list of other files, from the staged dataset in `root`."""
    for name in (*STAGING_FILES, *TABLES):
        (root / name).unlink(missing_ok=True)


@contextmanager
def _staging_lock(root: Path) -> Iterator[None]:
    """Creates `root`, and keeps other processes from filling it while the block runs. Raises DiskFull if it cannot."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        claim(root, "staged tree", "")
    except OSError as error:
        raise DiskFull(f"{root} cannot be written ({error.strerror}); {OTHER_DISK}") from error
    with FileLock(root.with_name(f"{root.name}.lock")):
        yield


def _missing_files(root: Path, names: Iterable[str]) -> list[str]:
    return [name for name in names if not (root / name).exists()]


def _is_listed(root: Path) -> bool:
    return (root / STAGED_MARK).exists() or (root / FILE_LIST).exists()


def list_dataset(root: Path) -> dict[str, Fingerprint] | None:
    """Returns, by name, the size in bytes and the time in ns of each file of a dataset from `stage_list`.

    Returns None if all files are in `root`.
    """
    if (root / STAGED_MARK).exists():
        return None
    stored = json.loads((root / FILE_LIST).read_text(encoding="utf-8"))
    return {name: (size, changed) for name, (size, changed) in stored.items()}


class DatasetSource(Protocol):
    """A dataset in a bucket or on a disk."""

    uri: str
    names: list[str]
    """Its files, relative to the folder with the tables."""
    parallel_files: int
    """How many files may be copied at once."""

    def size(self, name: str) -> int:
        """Returns the size in bytes."""

    def changed(self, name: str) -> int:
        """Returns the time of the last change, in ns since 1970."""

    def copy(self, name: str, target: Path) -> None:
        """Writes the file to `target` and checks it."""


class FolderSource:
    """A dataset in a folder."""

    parallel_files = PARALLEL_FILES

    def __init__(self, remote: RemotePath, only: Sequence[str]):
        """`only` names the files to ask for (empty: any); if `remote` has the tables, other files are not listed."""
        list_all = not only or not all((remote / name).is_file() for name in TABLES)
        files = remote.entries() if list_all else _info_of(remote, {*TABLES, *only})
        folder = _find_folder_of_tables(list(files), remote.uri)
        self.remote = remote / folder if folder else remote
        self.uri = self.remote.uri
        self.files = {name.removeprefix(f"{folder}/"): info for name, info in files.items() if _is_below(name, folder)}
        self.names = [name for name in self.files if name not in (*STAGING_FILES, MARK)]

    def size(self, name: str) -> int:
        return int(self.files[name].size)

    def changed(self, name: str) -> int:
        return int(self.files[name].mtime_ns or 0)

    def copy(self, name: str, target: Path) -> None:
        content = (self.remote / name).read()
        if len(content) != self.size(name):
            raise InputError(f"{self.uri}: '{name}' changed while it was read; try again when its upload is complete")
        target.write_bytes(content)


class ZipSource:
    """A dataset in a zip archive."""

    parallel_files = 1

    def __init__(self, archive: ZipArchive):
        self.archive, self.uri = archive, archive.uri
        self.folder = _find_folder_of_tables(list(archive.members), self.uri)
        prefix = f"{self.folder}/" if self.folder else ""
        self.member_names = {
            name.removeprefix(prefix): name for name in archive.members if _is_below(name, self.folder)
        }
        self.names = [name for name in self.member_names if name not in (*STAGING_FILES, MARK)]

    def size(self, name: str) -> int:
        return self.archive.size(self.member_names[name])

    def changed(self, name: str) -> int:
        return self.archive.changed(self.member_names[name])

    def copy(self, name: str, target: Path) -> None:
        self.archive.copy(self.member_names[name], target)


@contextmanager
def _open_source(uri: str, only: Sequence[str] = ()) -> Iterator[DatasetSource]:
    """Opens the dataset at `uri`; `only` names all files that will be asked for (empty: any)."""
    remote = connect_existing(uri)
    if not remote.is_file():
        yield FolderSource(remote, only)
        return
    with ZipArchive(remote, most=not only) as archive:
        yield ZipSource(archive)


def _info_of(remote: RemotePath, names: Iterable[str]) -> dict[str, Any]:
    """Returns the metadata of those of the files `names` that exist."""
    return {name: info for name in names if (info := (remote / name).info()).is_file}


def _find_folder_of_tables(names: list[str], uri: str) -> str:
    """Returns the only folder with both tables, "" for the topmost. Raises InputError, also for an unsafe name."""
    files = set(names)
    for name in names:
        _check_name(name, uri)
        for parent in map(str, PurePosixPath(name).parents):
            if parent in files:
                raise InputError(f"{uri}: '{parent}' is both a file and a folder; remove one of them")
    folders = [str(PurePosixPath(name).parent) for name in names if PurePosixPath(name).name == TABLES[0]]
    candidates = [folder for folder in folders if str(PurePosixPath(folder) / TABLES[1]) in files]
    if len(candidates) != 1:
        found = f"{len(candidates)} folders do: {', '.join(sorted(candidates)[:3])}" if candidates else "no folder does"
        raise InputError(
            f"{uri}: exactly one folder must hold {' and '.join(TABLES)}, and {found}; give the dataset's folder, or "
            "a zip archive of it"
        )
    return candidates[0].removeprefix(".")


def _check_name(name: str, uri: str) -> None:
    if re.search(r"^/|(?:^|/)\.\.?(?:/|$)|//|[\\:\0]", name):
        raise InputError(
            f"{uri}: '{name}' could lead out of its folder; a name must be relative, without '..', '.', ':' or "
            "backslash: remove the file, or pack the archive again"
        )


def _is_below(name: str, folder: str) -> bool:
    return not folder or name.startswith(f"{folder}/")


def _fill(root: Path, source: DatasetSource, progress: ProgressCallback | None) -> None:
    for leftover in root.rglob(".*.part"):  # from a process that was killed
        leftover.unlink()
    missing = [name for name in source.names if not _is_complete(root / name, source, name)]
    _check_disk_space(root, source, missing)
    done, total = len(source.names) - len(missing), len(source.names)
    for folder in {(root / name).parent for name in missing}:
        folder.mkdir(parents=True, exist_ok=True)

    pool = ThreadPoolExecutor(source.parallel_files, "stage")
    try:
        for count, _ in enumerate(pool.map(lambda name: _copy(source, name, root), missing), start=done + 1):
            if progress:
                progress(count, total)
    finally:
        pool.shutdown(cancel_futures=True)
    os.sync()  # all files must be on disk before the mark says so
    total_bytes = sum(map(source.size, source.names))
    write_text(root / STAGED_MARK, json.dumps({"from": source.uri, "files": total, "bytes": total_bytes}) + "\n")


def _copy(source: DatasetSource, name: str, root: Path) -> None:
    with atomic_write(root / name, durable=False) as temporary:  # `_fill` syncs all files at once, before the mark
        source.copy(name, temporary)
        os.utime(temporary, ns=(source.changed(name),) * 2)  # the name of the image cache depends on it


def _is_complete(path: Path, source: DatasetSource, name: str) -> bool:
    try:
        stat = path.stat()
    except FileNotFoundError:
        return False
    return (stat.st_size, stat.st_mtime_ns) == (source.size(name), source.changed(name))


def _check_disk_space(root: Path, source: DatasetSource, missing: list[str]) -> None:
    needed, free = sum(map(source.size, missing)), shutil.disk_usage(root).free
    if needed > free:
        raise DiskFull(
            f"{source.uri}: {len(missing):,} of {len(source.names):,} files still have to be staged. They take "
            f"{needed:,} bytes and {root} has {free:,} free; free disk space, or {OTHER_DISK}"
        )
