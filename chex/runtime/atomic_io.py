"""Atomic writes: a file appears whole or not at all, even if the power fails."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


NO_FOLDER_SYNC = (errno.EINVAL, errno.ENOTSUP)
"""The errors of file systems that cannot sync a folder, such as some network file systems."""


@contextmanager
def atomic_write(path: Path, durable: bool = True) -> Iterator[Path]:
    """Yields a temporary path beside `path`: renamed to `path` when the block ends, removed if the block raises.

    After the block the file is on the disk. If `durable` is False, a crash of the machine can still leave it empty or
    missing; use that for many files that the caller syncs together.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield temporary
        if durable:
            fsync_file(temporary)
        os.replace(temporary, path)
        if durable:
            fsync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Writes `text` to `path` atomically; it is on the disk when the function returns."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


@contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """Yields a new folder beside `folder`; it replaces `folder` when the block ends and is removed if the block raises.

    After the block all files in it are on the disk.
    """
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    earlier = folder.with_name(f".{folder.name}.{os.getpid()}.earlier")
    temporary.mkdir(parents=True)
    try:
        yield temporary
        _sync_all(temporary)
        _replace_folder(temporary, folder, earlier)
        fsync_folder(folder.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def fsync_file(path: Path) -> None:
    """Syncs the content of a file to the disk."""
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def fsync_folder(folder: Path) -> None:
    """Syncs the names in `folder` to the disk, if the file system can."""
    try:
        fsync_file(folder)
    except OSError as error:
        if error.errno not in NO_FOLDER_SYNC:
            raise


def _replace_folder(temporary: Path, folder: Path, earlier: Path) -> None:
    """Renames `temporary` to `folder` and removes the earlier folder; if the rename fails, the earlier folder stays."""
    if not folder.exists():
        os.rename(temporary, folder)
        return
    os.rename(folder, earlier)
    try:
        os.rename(temporary, folder)
    except OSError:
        os.rename(earlier, folder)
        raise
    shutil.rmtree(earlier, ignore_errors=True)


def _sync_all(folder: Path) -> None:
    for above, _, names in os.walk(folder):
        for name in names:
            fsync_file(Path(above, name))
        fsync_folder(Path(above))


def write_csv(path: Path, table: "pd.DataFrame") -> None:
    """Writes a CSV atomically."""
    with atomic_write(path) as temporary:
        table.to_csv(temporary, index=False)
