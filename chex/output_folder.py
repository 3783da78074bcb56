"""Folders that commands write into: which of them a command may use, and which it may empty.

A command puts the file MARK into each folder that it makes, with the kind of what it writes there. Only a folder with a
MARK is ever emptied, and a MARK is never put into a folder that holds something else. Nothing is deleted that this
program did not make.
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

from chex.atomic import write_text
from chex.errors import InputError

MARK = ".chexpert-search.json"
"""The file that says what made a folder: its kind and the version of this program, as JSON."""
LOCK = "running.lock"
"""The file that a process holds while it trains in a folder. It stays: who removes it lets two others in at once."""
Kind = Literal[
    "run", "teacher", "relabel forest", "evaluation", "overlays", "exploration", "lr-find", "forest", "phantom",
    "search", "export", "staged tree",
]  # fmt: skip
KINDS: tuple[Kind, ...] = get_args(Kind)
PATIENCE_SECONDS = 0.2
"""How long a lock is waited for: somebody may look for a moment whether a folder is in use."""


def kind_of(folder: Path) -> Kind | None:
    """What made `folder`, by its MARK; None where it has none, or one that cannot be read."""
    try:
        content = json.loads((folder / MARK).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    found = content.get("kind") if isinstance(content, dict) else None
    return next((kind for kind in KINDS if kind == found), None)


def check_claim(folder: Path, kind: Kind, option: str = "--out", tree: Path | None = None) -> None:
    """Raises InputError unless a command may write `kind` into `folder`. Writes nothing.

    It may where `folder` does not exist, is empty, or has the MARK of the same kind. It may not where `folder` is a
    file, lies below a file, cannot be written, or is the data `tree`, lies in it or holds it. `option` is what the user
    gave the folder with ("" where it stands alone).
    """
    name = f"{option} {folder}".strip()
    check_place(folder, name)
    if tree is not None and _overlap(folder, tree):
        raise InputError(f"{name}: overlaps the data tree {tree}, where nothing is written; give a folder outside it")
    found = kind_of(folder)
    if found is None and not _is_empty(folder):
        raise InputError(
            f"{name}: holds files that this program did not write (there is no {MARK} in it), and they stay as they "
            "are; give a new or empty folder"
        )
    if found not in (None, kind):
        raise InputError(f"{name}: holds another kind of output ({found}, not {kind}); give a new or empty folder")


def check_place(folder: Path, name: str) -> None:
    """Raises InputError, which begins with `name`, where `folder` cannot be made, or written into. Writes nothing."""
    first = _existing(folder)
    if not first.is_dir():
        which = "is a file" if first == folder else f"{first} is a file"
        raise InputError(f"{name}: {which}; give a new or empty folder")
    if not os.access(first, os.W_OK | os.X_OK):
        raise InputError(f"{name}: {first} cannot be written (permission denied); give a folder elsewhere")


def claim(folder: Path, kind: Kind, option: str = "--out", tree: Path | None = None) -> None:
    """Makes `folder`, with a MARK of this `kind` in it. Raises InputError as `check_claim`, before it writes."""
    check_claim(folder, kind, option, tree)
    if kind_of(folder) is None:
        folder.mkdir(parents=True, exist_ok=True)
        mark(folder, kind)


def mark(folder: Path, kind: Kind) -> None:
    """Writes the MARK of this `kind` into a `folder` that this process has just made."""
    write_text(folder / MARK, json.dumps({"kind": kind, "version": version("chexpert-search")}) + "\n")


def check_emptying(folder: Path, option: str = "--out", needed: Mapping[str, Path | None] | None = None) -> None:
    """Raises InputError unless --fresh may empty `folder`, which `option` gave. Writes nothing.

    It may where `folder` has a MARK, is empty or does not exist, and holds neither the current folder nor the user's
    home nor one of the paths that are still `needed`: what the user knows each as, and where it is (None: nowhere).
    """
    if kind_of(folder) is None and not _is_empty(folder):
        raise InputError(
            f"{option} {folder}: holds files that this program did not write (there is no {MARK} in it), and --fresh "
            "does not delete them; give a new or empty folder, or empty this one yourself"
        )
    for what, path in {"the current folder": Path.cwd(), "your home": Path.home(), **(needed or {})}.items():
        if path is not None and path.expanduser().resolve().is_relative_to(folder.resolve()):
            raise InputError(
                f"{option} {folder}: holds {what} ({path}), which --fresh would delete; give another folder, or move "
                "that elsewhere"
            )


def empty(folder: Path, keep: tuple[str, ...] = (LOCK,)) -> None:
    """Removes all that is in `folder`, but for its MARK and the files `keep`. Links are removed, not what they lead to.

    Raises InputError where `folder` has no MARK.
    """
    check_emptying(folder, "")
    if folder.is_dir():
        for path in folder.iterdir():
            if path.name in (MARK, *keep):
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Keeps other processes from training in `folder`, which is there. Raises InputError where one does."""
    refusal = f"{folder}: another process trains in this folder; wait until it ends, or give another folder with --out"
    with locked(folder / LOCK, refusal):
        yield


@contextmanager
def locked(path: Path, refusal: str) -> Iterator[None]:
    """Holds the lock file `path` while the block runs. Raises InputError(`refusal`) where another process holds it."""
    lock = FileLock(path)
    try:
        lock.acquire(timeout=PATIENCE_SECONDS)
    except Timeout:
        raise InputError(refusal) from None
    try:
        yield
    finally:
        lock.release()


def default_folder(command: str, path: Path) -> Path:
    """Where `command` writes about the config or tree at `path` unless it is told: results/<command>-<name of path>.

    A config that lies in the output of another command, as a search's best.yaml does, is named after that too:
    `results/demo/best.yaml` has results/<command>-demo-best, beside results/demo.
    """
    whole = Path(os.path.abspath(path))
    names = [whole.stem]
    home = whole.parent
    while kind_of(home) is not None:
        names.insert(0, home.name)
        home = home.parent
    name = "-".join([command, *names])
    if len(names) == 1:
        return Path("results", name)
    return (home / name).relative_to(Path.cwd()) if home.is_relative_to(Path.cwd()) else home / name


def _existing(folder: Path) -> Path:
    """`folder`, or the nearest above it that exists."""
    while not os.path.lexists(folder) and folder.parent != folder:
        folder = folder.parent
    return folder


def _is_empty(folder: Path) -> bool:
    """Whether nothing lies in `folder`, but for a MARK that a process was killed over while it wrote it."""
    return not folder.exists() or all(path.name.startswith(f".{MARK}.") for path in folder.iterdir())


def _overlap(one: Path, other: Path) -> bool:
    first, second = one.resolve(), other.resolve()
    return first.is_relative_to(second) or second.is_relative_to(first)
