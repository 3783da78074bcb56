"""A search that is kept in a storage, brought to this machine, by whichever command is given its URI."""

import os
import shutil
from pathlib import Path

from chex.atomic import replacing_folder
from chex.checkpoint import EARLIER, STATE, WEIGHTS
from chex.errors import InputError
from chex.output_folder import check_claim, kind_of, mark
from search.book import BOOK
from search.bucket import is_uri, reach, shown
from search.confirm import FOLDER as CONFIRM
from search.lease import FOLDER as DRIVER
from search.mirror import KNOWN, Wanted, as_mirrored, pull
from search.search_config import check_name
from search.stored import CONFIG
from search.study import held, load_begun, storage_of


def folder_of(where: str, results: Path) -> Path:
    """The folder of the search at `where`: that path, or of a URI a copy below `results`, as the storage has it now.

    The states of trials are left out. Raises InputError where no search is kept there, where the folder is here already
    and is no copy of it or has gone on here, and Unreachable.
    """
    if not is_uri(where):
        return Path(os.path.abspath(where))  # its name is the search's, in its storage too: not `..`
    path, separator, query = where.partition("?")
    uri = f"{path.rstrip('/')}{separator}{query}"
    name = path.rstrip("/").rpartition("/")[2]
    check_name(name)
    folder = results.absolute() / name
    if (folder / CONFIG).exists() and not as_mirrored(folder, uri, BOOK):
        raise InputError(
            f"{folder} is here already, and not as it came from {shown(uri)}; give that folder, or move it away"
        )
    if not (reach(uri) / CONFIG).is_file():
        raise InputError(f"{shown(uri)} holds no search (no {CONFIG} in it); give the folder of one in its storage")
    if (folder / CONFIG).exists():
        _bring(uri, folder)
        return folder
    check_claim(folder, "search", "")
    with replacing_folder(folder) as part:
        if kind_of(folder):  # as `chex-search cluster submit` leaves it
            shutil.copytree(folder, part, symlinks=True, dirs_exist_ok=True)
        mark(part, "search")
        _pull(uri, part, _of_anyone)
    return folder


def bring_up_to_date(folder: Path) -> None:
    """Brings what other machines did since to a search's folder that came from its storage and has not gone on here.

    Raises Unreachable.
    """
    uri = storage_of(load_begun(folder), folder) if (folder / CONFIG).is_file() else None
    if uri and as_mirrored(folder, uri, BOOK):
        _bring(uri, folder)


def _bring(uri: str, folder: Path) -> None:
    confirmed_here = (folder / CONFIRM / KNOWN).exists()
    with held(folder):
        _pull(uri, folder, lambda name: _of_anyone(name) and not (confirmed_here and name.startswith(f"{CONFIRM}/")))


def _pull(uri: str, folder: Path, wanted: Wanted) -> None:
    """First who has the search, and how often it has been kept: what is kept meanwhile makes the copy fall behind."""
    pull(uri, folder, lambda name: name.startswith(f"{DRIVER}/"))
    pull(uri, folder, lambda name: wanted(name) and not name.startswith(f"{DRIVER}/"))


def _of_anyone(name: str) -> bool:
    """All but what trials fetch themselves, and what they do not need once they have ended."""
    return not name.endswith((STATE, EARLIER)) and not ("trials/" in name and name.endswith(WEIGHTS))
