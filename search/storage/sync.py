"""Syncs a folder with a storage: changed files are uploaded, and downloaded on another machine.

`.mirror.json` in the folder has the size and time of every file on both sides at the last sync. A trial's state is
copied after all other files and removed before them, so that it never refers to a file that is missing.
"""

import json
import re
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from chex.errors import InputError
from chex.runtime.atomic_io import atomic_write, write_text
from chex.runtime.run_folder import PREVIOUS_STATE, STATE
from search.storage.remote_path import RemotePath, connect, connect_with_retries
from search.storage.uri import without_query
from search.trials.layout import LOCKED_SECONDS

SYNC_STATE = ".mirror.json"
LOCAL_FILES = re.compile(r"(^|/)\.[^/]*\.part$|\.lock$|-(journal|wal|shm)$|(^|/)\.mirror\.json$")
"""Files that are of use on one machine only."""
DATABASE = ".db"
PARALLEL_FILES = 8
FileFilter = Callable[[str], bool]
"""Returns whether a file is synced, given its path in the folder."""


def all_files(name: str) -> bool:
    """Accepts every file."""
    return True


@dataclass(frozen=True)
class FileStat:
    """Size and time of a file on one side."""

    size: int
    changed: int
    """The time of the last change, in ns since 1970."""


@dataclass(frozen=True)
class SyncedPair:
    """A file that was the same on both sides at the last sync."""

    local: FileStat
    remote: FileStat


_Synced = dict[str, SyncedPair]


def no_check() -> None:
    """Allows every file to be written; the default `check` of `push`."""


def push(
    folder: Path,
    uri: str,
    wanted: FileFilter = all_files,
    retry: bool = False,
    check: Callable[[], None] = no_check,
) -> int:
    """Uploads the files of `folder` to `uri`; returns how many were copied or removed.

    Copies the files that changed since the last push or pull between the two. Removes a remote file if it was synced
    and is no longer in `folder`; keeps files that others wrote. Databases are copied with SQLite's backup, which works
    during a write. Every file appears whole. Raises Unreachable within seconds if the storage does not answer, with
    `retry` after minutes; a later push completes the work. `check` is called before each file; an error that it raises
    ends the push.
    """
    remote, synced = connect_with_retries(uri) if retry else connect(uri), _load_sync_state(folder, uri)
    local = _local_files(folder, wanted)
    changed = [name for name, stat in local.items() if name not in synced or synced[name].local != stat]
    removed = [name for name in synced if wanted(name) and name not in local]
    for name in _states_first(removed):
        check()
        (remote / name).remove()

    def copy(name: str) -> None:
        check()
        with suppress(FileNotFoundError):  # removed since; the next push removes the remote file
            (remote / name).write(_content(folder / name))

    _copy_states_last(copy, changed)
    if changed or removed:
        stored = _remote_files(remote, wanted)
        new = {name: SyncedPair(local[name], stored[name]) for name in changed if name in stored}
        _save_sync_state(folder, uri, {name: pair for name, pair in synced.items() if name not in removed} | new)
    return len(changed) + len(removed)


def pull(uri: str, folder: Path, wanted: FileFilter = all_files, retry: bool = False) -> int:
    """Downloads the files at `uri` to `folder`; returns how many were copied.

    If a remote file has changed since the last sync, another machine has continued: every file that differs is then
    downloaded, and a synced file that is missing at `uri` is removed from `folder`. If nothing has changed, or `uri` is
    empty, local files stay as they are. A file that cannot be downloaded whole stays as it was. Raises Unreachable like
    `push`.
    """
    remote = connect_with_retries(uri) if retry else connect(uri)
    synced, local, stored = _load_sync_state(folder, uri), _local_files(folder, wanted), _remote_files(remote, wanted)
    removed = [name for name in synced if wanted(name) and name not in stored]
    if not stored or (
        not removed and all(name in synced and synced[name].remote == stat for name, stat in stored.items())
    ):
        return 0
    unchanged = {
        name for name, pair in synced.items() if local.get(name) == pair.local and stored.get(name) == pair.remote
    }
    changed = [name for name in stored if name not in unchanged]
    for name in _states_first(removed):
        (folder / name).unlink(missing_ok=True)

    def copy(name: str) -> None:
        content = (remote / name).read()
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(folder / name) as temporary:
            temporary.write_bytes(content)

    _copy_states_last(copy, changed)
    local = _local_files(folder, wanted)
    new = {name: SyncedPair(local[name], stored[name]) for name in changed}
    _save_sync_state(folder, uri, {name: pair for name, pair in synced.items() if name not in removed} | new)
    return len(changed)


def is_in_sync(folder: Path, uri: str, name: str) -> bool:
    """Returns whether a file of `folder` is the same as at the last sync with `uri` (or missing then and now).

    Returns False if the two were never synced.
    """
    synced, local = _load_sync_state(folder, uri), _local_files(folder, name.__eq__)
    return bool(synced) and local.get(name) == (synced[name].local if name in synced else None)


def _copy_states_last(copy: Callable[[str], None], names: list[str]) -> None:
    """Copies the files, several at once; copies states after all other files."""
    states = [name for name in names if _is_state(name)]
    with ThreadPoolExecutor(PARALLEL_FILES, "sync") as pool:
        for group in ([name for name in names if name not in states], states):
            list(pool.map(copy, group))


def _states_first(names: list[str]) -> list[str]:
    return sorted(names, key=lambda name: not _is_state(name))


def _is_state(name: str) -> bool:
    return Path(name).name in (STATE, PREVIOUS_STATE)


def _local_files(folder: Path, wanted: FileFilter) -> dict[str, FileStat]:
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if LOCAL_FILES.search(name) or not wanted(name):
            continue
        try:
            stat = path.stat()
        except FileNotFoundError:  # a temporary file that was renamed since it was listed
            continue
        if path.is_file() and not path.is_symlink():
            found[name] = FileStat(stat.st_size, stat.st_mtime_ns)
    return found


def _remote_files(remote: RemotePath, wanted: FileFilter) -> dict[str, FileStat]:
    found = remote.entries()
    for name in found:
        if escapes_folder(name):
            raise InputError(f"{remote.uri}: '{name}' could lead out of its folder; remove the file")
    return {
        name: FileStat(int(each.size), int(each.mtime_ns or 0))
        for name, each in found.items()
        if not LOCAL_FILES.search(name) and wanted(name)
    }


def escapes_folder(name: str) -> bool:
    """Returns whether a file's name, relative to a folder, could lead out of that folder."""
    return bool(re.search(r"^/|(^|/)\.\.?(/|$)|[\\\0]", name))


def _content(path: Path) -> bytes:
    if path.suffix != DATABASE:
        return path.read_bytes()
    with closing(sqlite3.connect(path, timeout=LOCKED_SECONDS)) as source, closing(sqlite3.connect(":memory:")) as copy:
        source.backup(copy)
        return copy.serialize()


def _load_sync_state(folder: Path, uri: str) -> _Synced:
    """Returns the files that were the same on both sides; none if the folder was last synced with another URI."""
    try:
        content = json.loads((folder / SYNC_STATE).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    if content.get("uri") != without_query(uri):
        return {}
    return {
        name: SyncedPair(FileStat(*stats[:2]), FileStat(*stats[2:]))
        for name, stats in content["files"].items()
        if not escapes_folder(name)
    }


def _save_sync_state(folder: Path, uri: str, synced: _Synced) -> None:
    files = {
        name: [pair.local.size, pair.local.changed, pair.remote.size, pair.remote.changed]
        for name, pair in synced.items()
    }
    write_text(folder / SYNC_STATE, json.dumps({"uri": without_query(uri), "files": files}))
