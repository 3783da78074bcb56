"""Data from a bucket on this machine's disk: a tree of files, or a zip archive of one, fetched once.

What is checked: of a zip, each member's size and CRC-32; of a tree on GCS, each file's size and CRC32C (or MD5); of one
on S3 or on a disk, each file's size.
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from filelock import FileLock

from chex.atomic import replacing, write_text
from chex.cache import Fingerprint
from chex.errors import InputError, NoRoom
from chex.output_folder import MARK, claim
from search.archive import Archive
from search.bucket import Place, check_there, shown

STAGE = Path("~/.cache/chexpert-search/stage")
"""Where trees are staged unless another folder is given."""
STAGED = ".staged.json"
"""In a tree whose files are all there: where they came from, how many and how large."""
LISTED = ".listed.json"
"""In a tree that may lack films: size and time of every file that the tree has where it comes from."""
OURS = (STAGED, LISTED)
ELSEWHERE = "give a folder on another disk, a search with image.cache and `chex-search stage` with --to"
TABLES = ("train.csv", "valid.csv")
AT_ONCE = 16
"""Files of a tree that are fetched at once."""
Progress = Callable[[int, int], None]
"""Called with the files that are there and the total."""


def tree_path(uri: str, stage: Path = STAGE) -> Path:
    """The folder below `stage` that the data at `uri` is staged to; the same on every machine."""
    name = re.sub(r"[^\w.-]+", "_", PurePosixPath(shown(uri)).name.removesuffix(".zip")) or "data"
    return stage.expanduser().absolute() / f"{name}-{hashlib.sha256(shown(uri).encode()).hexdigest()[:8]}"


def stage(uri: str, root: Path, progress: Progress | None = None) -> Path:
    """`root`, which then holds train.csv, valid.csv and all files below them, as the bucket has them.

    Asks nobody where they are already there: a tree that has changed in the bucket is staged again where `root` is
    removed. Goes on where an earlier call was cut off: whole files are kept, and of a zip only the parts with the
    others are read. One process stages at a time, others on the machine wait for it. Raises InputError where nothing
    can be reached, for names that lead out of the tree, for what the disk has no room for, and for files whose
    checksum is another.
    """
    if (root / STAGED).exists():
        return root
    with _alone_in(root):
        if not (root / STAGED).exists():
            with _opened(uri) as source:
                _fill(root, source, progress)
    return root


def stage_tables(uri: str, root: Path) -> Path:
    """`root`, which then holds train.csv and valid.csv, for who opens no film. Raises InputError as `stage`."""
    return stage_some(uri, root, TABLES)


def stage_some(uri: str, root: Path, names: Iterable[str]) -> Path:
    """`root`, which then holds the files `names` of the tree, fetched one by one, and what it held before.

    Asks nobody where they are already there. Raises InputError as `stage`, and where the tree has no such file.
    """
    missing = _missing(root, names)
    if not missing:
        return root
    with _alone_in(root), _opened(uri, only=missing) as source:
        for name in missing:
            if name not in source.names:
                raise InputError(f"{source.uri}: there is no '{name}'; upload it, or the archive with it")
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            _copy(source, name, root)
    return root


def stage_list(uri: str, root: Path) -> Path:
    """`root`, which then holds the tables and knows all other files (see `listed`). Raises InputError as `stage`."""
    if not _is_known(root):
        with _alone_in(root):
            if not _is_known(root):
                with _opened(uri) as source:
                    for name in _missing(root, TABLES):
                        _copy(source, name, root)
                    found = {name: (source.size(name), source.changed(name)) for name in source.names}
                write_text(root / LISTED, json.dumps(found))
    return root


def forget_tables(root: Path) -> None:
    """Removes from the staged tree in `root` its tables, and what is known of its other files."""
    for name in (*OURS, *TABLES):
        (root / name).unlink(missing_ok=True)


@contextmanager
def _alone_in(root: Path) -> Iterator[None]:
    """No other process fills `root`, which is there then, while the block runs. Raises InputError."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        claim(root, "staged tree", "")
    except OSError as error:
        raise NoRoom(f"{root} cannot be written ({error.strerror}); {ELSEWHERE}") from error
    with FileLock(root.with_name(f"{root.name}.lock")):
        yield


def _missing(root: Path, names: Iterable[str]) -> list[str]:
    return [name for name in names if not (root / name).exists()]


def _is_known(root: Path) -> bool:
    return (root / STAGED).exists() or (root / LISTED).exists()


def listed(root: Path) -> dict[str, Fingerprint] | None:
    """The files of a tree that `stage_list` has staged, as they lie where it comes from; None where all are in `root`.

    By their names below the root, with the sizes and times that they are to have here.
    """
    if (root / STAGED).exists():
        return None
    content = json.loads((root / LISTED).read_text(encoding="utf-8"))
    return {name: (size, changed) for name, (size, changed) in content.items()}


class Source(Protocol):
    """A tree that lies elsewhere."""

    uri: str
    names: list[str]
    """Of its files, from the folder that holds the tables."""
    at_once: int
    """How many may be copied at once."""

    def size(self, name: str) -> int:
        """In bytes."""

    def changed(self, name: str) -> int:
        """In ns since 1970."""

    def copy(self, name: str, target: Path) -> None:
        """Writes the file to `target`, checked."""


class _Files:
    """A folder of files."""

    at_once = AT_ONCE

    def __init__(self, place: Place, only: Sequence[str]):
        """`only`: no others will be asked for; where the tables lie in `place` itself, others are not listed then."""
        whole = not only or not all((place / name).is_file() for name in TABLES)
        found = place.entries() if whole else _found(place, {*TABLES, *only})
        folder = _folder_of_tables(list(found), place.uri)
        self.place = place / folder if folder else place
        self.uri = self.place.uri
        self.found = {name.removeprefix(f"{folder}/"): each for name, each in found.items() if _below(name, folder)}
        self.names = [name for name in self.found if name not in (*OURS, MARK)]

    def size(self, name: str) -> int:
        return int(self.found[name].size)

    def changed(self, name: str) -> int:
        return int(self.found[name].mtime_ns or 0)

    def copy(self, name: str, target: Path) -> None:
        content = (self.place / name).read()
        if len(content) != self.size(name):
            raise InputError(f"{self.uri}: '{name}' has changed while it was read; start again when it is whole")
        target.write_bytes(content)


class _Members:
    """A zip archive of a folder of files."""

    at_once = 1

    def __init__(self, archive: Archive):
        self.archive, self.uri = archive, archive.uri
        self.folder = _folder_of_tables(list(archive.members), self.uri)
        prefix = f"{self.folder}/" if self.folder else ""
        self.full = {name.removeprefix(prefix): name for name in archive.members if _below(name, self.folder)}
        self.names = [name for name in self.full if name not in (*OURS, MARK)]

    def size(self, name: str) -> int:
        return self.archive.size(self.full[name])

    def changed(self, name: str) -> int:
        return self.archive.changed(self.full[name])

    def copy(self, name: str, target: Path) -> None:
        self.archive.copy(self.full[name], target)


@contextmanager
def _opened(uri: str, only: Sequence[str] = ()) -> Iterator[Source]:
    """The tree at `uri`; with `only` so that no others of its files can be asked for without waste."""
    place = check_there(uri)
    if not place.is_file():
        yield _Files(place, only)
        return
    with Archive(place, most=not only) as archive:
        yield _Members(archive)


def _found(place: Place, names: Iterable[str]) -> dict[str, Any]:
    """What is known of those files that are there."""
    return {name: about for name in names if (about := (place / name).info()).is_file}


def _folder_of_tables(names: list[str], uri: str) -> str:
    """The folder that holds both tables, "" for the topmost; all names are checked on the way."""
    there = set(names)
    for name in names:
        _check_name(name, uri)
        for above in map(str, PurePosixPath(name).parents):
            if above in there:
                raise InputError(f"{uri}: '{above}' is both a file and a folder; remove one of them")
    folders = [str(PurePosixPath(name).parent) for name in names if PurePosixPath(name).name == TABLES[0]]
    both = [each for each in folders if str(PurePosixPath(each) / TABLES[1]) in there]
    if len(both) != 1:
        found = f"{len(both)} folders hold them, {', '.join(sorted(both)[:3])}" if both else "no folder holds them"
        raise InputError(f"{uri}: one folder must hold {' and '.join(TABLES)}, and {found}; give the tree, or its zip")
    return both[0].removeprefix(".")


def _check_name(name: str, uri: str) -> None:
    if re.search(r"^/|(?:^|/)\.\.?(?:/|$)|//|[\\:\0]", name):
        raise InputError(
            f"{uri}: '{name}' could lead out of its folder; a name is relative, without '..', '.', ':' or backslash: "
            "remove the file, or pack the archive again"
        )


def _below(name: str, folder: str) -> bool:
    return not folder or name.startswith(f"{folder}/")


def _fill(root: Path, source: Source, progress: Progress | None) -> None:
    for left in root.rglob(".*.part"):  # by a process that was killed
        left.unlink()
    missing = [name for name in source.names if not _whole(root / name, source, name)]
    _check_room(root, source, missing)
    done, total = len(source.names) - len(missing), len(source.names)
    for folder in {(root / name).parent for name in missing}:
        folder.mkdir(parents=True, exist_ok=True)

    pool = ThreadPoolExecutor(source.at_once, "stage")
    try:
        for count, _ in enumerate(pool.map(lambda name: _copy(source, name, root), missing), start=done + 1):
            if progress:
                progress(count, total)
    finally:
        pool.shutdown(cancel_futures=True)
    os.sync()  # before the mark that says so
    sizes = sum(map(source.size, source.names))
    write_text(root / STAGED, json.dumps({"from": source.uri, "files": total, "bytes": sizes}) + "\n")


def _copy(source: Source, name: str, root: Path) -> None:
    with replacing(root / name, durable=False) as beside:  # `_fill` syncs all files at once, before the mark
        source.copy(name, beside)
        os.utime(beside, ns=(source.changed(name),) * 2)  # the image cache's identity holds it


def _whole(path: Path, source: Source, name: str) -> bool:
    try:
        found = path.stat()
    except FileNotFoundError:
        return False
    return (found.st_size, found.st_mtime_ns) == (source.size(name), source.changed(name))


def _check_room(root: Path, source: Source, missing: list[str]) -> None:
    needed, free = sum(map(source.size, missing)), shutil.disk_usage(root).free
    if needed > free:
        raise NoRoom(
            f"{source.uri}: {len(missing):,} of {len(source.names):,} files are still to be staged, which take "
            f"{needed:,} bytes, and {root} has {free:,} free; make room, or {ELSEWHERE}"
        )
