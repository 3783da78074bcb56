"""A results folder kept in a bucket too: what has changed goes up, and comes down on another machine.

`.mirror.json` in the folder holds what both sides had when they were last the same. A trial's state goes up, and comes
down, after all else, and is removed first: what it speaks of is there.
"""

import json
import re
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from chex.atomic import replacing, write_text
from chex.checkpoint import EARLIER, STATE
from chex.errors import InputError
from search.book import LOCKED_SECONDS
from search.bucket import Place, place_at, reach, shown

KNOWN = ".mirror.json"
LEFT_OUT = re.compile(r"(^|/)\.[^/]*\.part$|\.lock$|-(journal|wal|shm)$|(^|/)\.mirror\.json$")
"""Files that mean something on their own machine only."""
DATABASE = ".db"
AT_ONCE = 8
Wanted = Callable[[str], bool]
"""Whether a file is mirrored, by its path in the folder."""


def everything(name: str) -> bool:
    """Every file."""
    return True


@dataclass(frozen=True)
class _Side:
    """A file as it was on one side."""

    size: int
    changed: int
    """In ns since 1970."""


@dataclass(frozen=True)
class _Both:
    """A file that was the same on both sides."""

    here: _Side
    there: _Side


_Known = dict[str, _Both]


def nothing() -> None:
    """Checks nothing."""


def push(
    folder: Path,
    uri: str,
    wanted: Wanted = everything,
    patient: bool = False,
    check: Callable[[], None] = nothing,
) -> int:
    """Makes the files in `uri` what they are in `folder`; how many were copied or removed.

    Copies what has changed since the last push or pull between the two, and removes there what was mirrored and is
    gone here; what others put there stays. Databases are copied as SQLite's own backup sees them, in the middle of
    writing too. Every file appears whole. Raises Unreachable, within seconds where the store does not answer, or where
    it is `patient` after minutes; a later push then does the rest. What `check` raises before any file ends the push.
    """
    place, known = place_at(uri) if patient else reach(uri), _known(folder, uri)
    here = _here(folder, wanted)
    changed = [name for name, side in here.items() if name not in known or known[name].here != side]
    gone = [name for name in known if wanted(name) and name not in here]
    for name in _state_first(gone):
        check()
        (place / name).remove()

    def copy(name: str) -> None:
        check()
        with suppress(FileNotFoundError):  # tidied away since; the next push removes it there too
            (place / name).write(_content(folder / name))

    _in_order(copy, changed)
    if changed or gone:
        there = _there(place, wanted)
        fresh = {name: _Both(here[name], there[name]) for name in changed if name in there}
        _remember(folder, uri, {name: both for name, both in known.items() if name not in gone} | fresh)
    return len(changed) + len(gone)


def pull(uri: str, folder: Path, wanted: Wanted = everything, patient: bool = False) -> int:
    """Brings the files in `uri` to `folder`; how many were copied.

    Where anything there has changed since the two were last the same, another machine has gone on: every file that
    differs is then taken from there, and a mirrored file that is gone there is removed here. Where nothing has, or
    nothing is at `uri`, files stay as they are here. A file that cannot be copied whole stays as it was. Raises
    Unreachable, as `push`.
    """
    place = place_at(uri) if patient else reach(uri)
    known, here, there = _known(folder, uri), _here(folder, wanted), _there(place, wanted)
    gone = [name for name in known if wanted(name) and name not in there]
    if not there or (not gone and all(name in known and known[name].there == side for name, side in there.items())):
        return 0
    same = {name for name, both in known.items() if here.get(name) == both.here and there.get(name) == both.there}
    taken = [name for name in there if name not in same]
    for name in _state_first(gone):
        (folder / name).unlink(missing_ok=True)

    def copy(name: str) -> None:
        content = (place / name).read()
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        with replacing(folder / name) as beside:
            beside.write_bytes(content)

    _in_order(copy, taken)
    here = _here(folder, wanted)
    fresh = {name: _Both(here[name], there[name]) for name in taken}
    _remember(folder, uri, {name: both for name, both in known.items() if name not in gone} | fresh)
    return len(taken)


def as_mirrored(folder: Path, uri: str, name: str) -> bool:
    """Whether a file is here as it was when `folder` and `uri` were last the same, or was not there and is not now.

    False where the two have never been the same.
    """
    known, here = _known(folder, uri), _here(folder, name.__eq__)
    return bool(known) and here.get(name) == (known[name].here if name in known else None)


def _in_order(copy: Callable[[str], None], names: list[str]) -> None:
    """Several at once; states when all others are done."""
    states = [name for name in names if _is_state(name)]
    with ThreadPoolExecutor(AT_ONCE, "mirror") as pool:
        for part in ([name for name in names if name not in states], states):
            list(pool.map(copy, part))


def _state_first(names: list[str]) -> list[str]:
    return sorted(names, key=lambda name: not _is_state(name))


def _is_state(name: str) -> bool:
    return Path(name).name in (STATE, EARLIER)


def _here(folder: Path, wanted: Wanted) -> dict[str, _Side]:
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if LEFT_OUT.search(name) or not wanted(name):
            continue
        try:
            stat = path.stat()
        except FileNotFoundError:  # a file beside another, renamed meanwhile
            continue
        if path.is_file() and not path.is_symlink():
            found[name] = _Side(stat.st_size, stat.st_mtime_ns)
    return found


def _there(place: Place, wanted: Wanted) -> dict[str, _Side]:
    found = place.entries()
    for name in found:
        if leads_out(name):
            raise InputError(f"{place.uri}: '{name}' could lead out of its folder; remove the file")
    return {
        name: _Side(int(each.size), int(each.mtime_ns or 0))
        for name, each in found.items()
        if not LEFT_OUT.search(name) and wanted(name)
    }


def leads_out(name: str) -> bool:
    """Returns whether a file's name, relative to a folder, could lead out of that folder."""
    return bool(re.search(r"^/|(^|/)\.\.?(/|$)|[\\\0]", name))


def _content(path: Path) -> bytes:
    if path.suffix != DATABASE:
        return path.read_bytes()
    with closing(sqlite3.connect(path, timeout=LOCKED_SECONDS)) as book, closing(sqlite3.connect(":memory:")) as copy:
        book.backup(copy)
        return copy.serialize()


def _known(folder: Path, uri: str) -> _Known:
    """What both sides had in common; nothing where the folder was last mirrored elsewhere."""
    try:
        content = json.loads((folder / KNOWN).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    if content.get("uri") != shown(uri):
        return {}
    return {
        name: _Both(_Side(*sides[:2]), _Side(*sides[2:]))
        for name, sides in content["files"].items()
        if not leads_out(name)
    }


def _remember(folder: Path, uri: str, known: _Known) -> None:
    files = {
        name: [both.here.size, both.here.changed, both.there.size, both.there.changed] for name, both in known.items()
    }
    write_text(folder / KNOWN, json.dumps({"uri": shown(uri), "files": files}))
