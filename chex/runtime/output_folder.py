"""Output folders: which folders a command may write into, and which it may empty.

A command writes the file MARK, with the kind of its output, into each folder that it makes. It never writes a MARK into
a folder with other content, and empties only folders with a MARK. So it deletes nothing that this program did not make.
"""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Literal, get_args

from filelock import FileLock, Timeout

from chex.errors import InputError
from chex.runtime.atomic_io import write_text

MARK = ".chexpert-search.json"
"""The file that marks an output folder: the kind of output and the version of this program, as JSON."""
LOCK = "running.lock"
"""The lock file of a process that trains in a folder. It is never removed, else two processes could hold the lock."""
Kind = Literal[
    "run", "teacher", "relabel forest", "evaluation", "overlays", "exploration", "lr-find", "forest", "phantom",
    "search", "export", "staged tree",
]  # fmt: skip
KINDS: tuple[Kind, ...] = get_args(Kind)
LOCK_TIMEOUT_SECONDS = 0.2
"""How long to wait for a lock, because another process may test it for a moment."""


def folder_kind(folder: Path) -> Kind | None:
    """Returns the kind of output in `folder`, from its MARK; None if there is no MARK or it cannot be read."""
    try:
        content = json.loads((folder / MARK).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    marked = content.get("kind") if isinstance(content, dict) else None
    return next((kind for kind in KINDS if kind == marked), None)


def check_claim(folder: Path, kind: Kind, option: str = "--out", tree: Path | None = None) -> None:
    """Raises InputError unless a command may write `kind` into `folder`. Writes nothing.

    A command may write if the folder is missing, empty, or has a MARK of the same kind. It must also be writable, and
    must not overlap the data `tree`. `option` is the option that gave the folder, "" for a positional argument.
    """
    name = f"{option} {folder}".strip()
    check_writable(folder, name)
    if tree is not None and _overlap(folder, tree):
        raise InputError(f"{name}: overlaps the data tree {tree}, where nothing is written; give a folder outside it")
    kind_there = folder_kind(folder)
    if kind_there is None and not _is_empty(folder):
        raise InputError(
            f"{name}: holds files that this program did not write (there is no {MARK} in it); "
            "give a new or empty folder"
        )
    if kind_there not in (None, kind):
        raise InputError(f"{name}: holds another kind of output ({kind_there}, not {kind}); give a new or empty folder")


def check_writable(folder: Path, name: str) -> None:
    """Raises InputError if `folder` cannot be made or written into. `name` begins the message. Writes nothing."""
    first = _first_existing(folder)
    if not first.is_dir():
        which = "is a file" if first == folder else f"{first} is a file"
        raise InputError(f"{name}: {which}; give a new or empty folder")
    if not os.access(first, os.W_OK | os.X_OK):
        raise InputError(f"{name}: {first} cannot be written (permission denied); give a folder elsewhere")


def claim(folder: Path, kind: Kind, option: str = "--out", tree: Path | None = None) -> None:
    """Makes `folder` with a MARK of this `kind`. Raises InputError as `check_claim` does, before it writes anything."""
    check_claim(folder, kind, option, tree)
    if folder_kind(folder) is None:
        folder.mkdir(parents=True, exist_ok=True)
        write_mark(folder, kind)


def write_mark(folder: Path, kind: Kind) -> None:
    """Writes a MARK of this `kind` into a `folder` that this process has just made."""
    write_text(folder / MARK, json.dumps({"kind": kind, "version": version("chexpert-search")}) + "\n")


def check_can_empty(folder: Path, option: str = "--out", needed: Mapping[str, Path | None] | None = None) -> None:
    """Raises InputError unless --overwrite may empty `folder`. Writes nothing.

    It may be emptied if it has a MARK, is empty or is missing, and does not contain the current folder, the user's home
    or a path of `needed`, which maps a name for the message to a path or None. `option` is as in `check_claim`.
    """
    if folder_kind(folder) is None and not _is_empty(folder):
        raise InputError(
            f"{option} {folder}: holds files that this program did not write (there is no {MARK} in it), and "
            "--overwrite does not delete them; give a new or empty folder, or empty this one yourself"
        )
    for name, path in {"the current folder": Path.cwd(), "your home": Path.home(), **(needed or {})}.items():
        if path is not None and path.expanduser().resolve().is_relative_to(folder.resolve()):
            raise InputError(
                f"{option} {folder}: holds {name} ({path}), which --overwrite would delete; give another folder, or "
                "move that elsewhere"
            )


def empty_folder(folder: Path, keep: tuple[str, ...] = (LOCK,)) -> None:
    """Removes everything in `folder` except its MARK and the files `keep`. Removes links, not their targets.

    Raises InputError if `folder` has no MARK.
    """
    check_can_empty(folder, "")
    if folder.is_dir():
        for path in folder.iterdir():
            if path.name in (MARK, *keep):
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Locks the existing `folder` while the block runs. Raises InputError if another process trains in it."""
    message = f"{folder}: another process trains in this folder; wait until it ends, or give another folder with --out"
    with lock_file(folder / LOCK, message):
        yield


@contextmanager
def lock_file(path: Path, message: str) -> Iterator[None]:
    """Locks the file `path` while the block runs. Raises InputError(`message`) if another process has locked it."""
    lock = FileLock(path)
    try:
        lock.acquire(timeout=LOCK_TIMEOUT_SECONDS)
    except Timeout:
        raise InputError(message) from None
    try:
        yield
    finally:
        lock.release()


def default_folder(command: str, path: Path) -> Path:
    """Returns the default output folder of `command` for the file or tree `path`: results/<command>-<name of path>.

    For a config in the output folder of another command the name includes that folder, and the result lies beside it:
    results/<command>-demo-best for results/demo/best.yaml.
    """
    absolute = Path(os.path.abspath(path))
    names = [absolute.stem]
    parent = absolute.parent
    while folder_kind(parent) is not None:
        names.insert(0, parent.name)
        parent = parent.parent
    name = "-".join([command, *names])
    if len(names) == 1:
        return Path("results", name)
    return (parent / name).relative_to(Path.cwd()) if parent.is_relative_to(Path.cwd()) else parent / name


def _first_existing(folder: Path) -> Path:
    """Returns `folder`, or the nearest folder above it that exists."""
    while not os.path.lexists(folder) and folder.parent != folder:
        folder = folder.parent
    return folder


def _is_empty(folder: Path) -> bool:
    """Returns whether `folder` is empty or missing, apart from the temporary MARK that a killed process leaves."""
    return not folder.exists() or all(path.name.startswith(f".{MARK}.") for path in folder.iterdir())


def _overlap(one: Path, other: Path) -> bool:
    first, second = one.resolve(), other.resolve()
    return first.is_relative_to(second) or second.is_relative_to(first)
