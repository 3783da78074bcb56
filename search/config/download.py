"""Downloads a search from its storage to this machine, for the commands that take a search's URI."""

import os
import shutil
from pathlib import Path

from chex.errors import InputError
from chex.runtime.atomic_io import atomic_folder
from chex.runtime.output_folder import check_claim, folder_kind, write_mark
from chex.runtime.run_folder import PREVIOUS_STATE, STATE, WEIGHTS
from search.config.search_config import check_name
from search.config.search_folder import load_search_folder, lock_search, storage_of
from search.storage.lease import LEASE_FOLDER as DRIVER
from search.storage.remote_path import connect
from search.storage.sync import SYNC_STATE, FileFilter, is_in_sync, pull
from search.storage.uri import is_uri, without_query
from search.trials.layout import CONFIG, STUDY
from search.trials.layout import CONFIRM_FOLDER as CONFIRM


def resolve_search_dir(where: str, results: Path) -> Path:
    """Returns the folder of the search at `where`, a path or a URI; downloads a search at a URI into `results`.

    Checkpoints of trials are not downloaded. Raises InputError if there is no search at the URI, or if the folder
    exists and is not an unchanged copy of it; raises Unreachable if the storage cannot be reached.
    """
    if not is_uri(where):
        return Path(os.path.abspath(where))  # not `..`: the folder's name is the search's name
    path, separator, query = where.partition("?")
    uri = f"{path.rstrip('/')}{separator}{query}"
    name = path.rstrip("/").rpartition("/")[2]
    check_name(name)
    folder = results.absolute() / name
    if (folder / CONFIG).exists() and not is_in_sync(folder, uri, STUDY):
        raise InputError(
            f"{folder} exists, and is not an unchanged copy of {without_query(uri)}; give that folder, or move it away"
        )
    if not (connect(uri) / CONFIG).is_file():
        raise InputError(
            f"{without_query(uri)} holds no search (no {CONFIG} in it); give the folder of one in its storage"
        )
    if (folder / CONFIG).exists():
        _update(uri, folder)
        return folder
    check_claim(folder, "search", "")
    with atomic_folder(folder) as part:
        if folder_kind(folder):  # `chex-search cluster submit` leaves such a folder
            shutil.copytree(folder, part, symlinks=True, dirs_exist_ok=True)
        write_mark(part, "search")
        _pull(uri, part, _is_wanted)
    return folder


def refresh(folder: Path) -> None:
    """Downloads what is new in the search's storage, if `folder` is an unchanged copy of it. Raises Unreachable."""
    uri = storage_of(load_search_folder(folder), folder) if (folder / CONFIG).is_file() else None
    if uri and is_in_sync(folder, uri, STUDY):
        _update(uri, folder)


def _update(uri: str, folder: Path) -> None:
    has_own_confirmation = (folder / CONFIRM / SYNC_STATE).exists()
    with lock_search(folder):
        _pull(
            uri, folder, lambda name: _is_wanted(name) and not (has_own_confirmation and name.startswith(f"{CONFIRM}/"))
        )


def _pull(uri: str, folder: Path, wanted: FileFilter) -> None:
    """Downloads the lease records first, so that the copy counts as older if another machine uploads in between."""
    pull(uri, folder, lambda name: name.startswith(f"{DRIVER}/"))
    pull(uri, folder, lambda name: wanted(name) and not name.startswith(f"{DRIVER}/"))


def _is_wanted(name: str) -> bool:
    """Returns whether to download a file: all but the checkpoints and weights of trials."""
    return not name.endswith((STATE, PREVIOUS_STATE)) and not ("trials/" in name and name.endswith(WEIGHTS))
