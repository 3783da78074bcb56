"""Files that others read appear whole or not at all, also where the power fails."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NO_FOLDER_SYNC = (errno.EINVAL, errno.ENOTSUP)
"""What a file system answers that cannot sync a folder, as some that lie on another machine."""


@contextmanager
def replacing(path: Path, durable: bool = True) -> Iterator[Path]:
    """A path beside `path` to write to; it becomes `path` when the block ends, and vanishes if the block raises.

    When the block has ended the file is on the disk, under its name. Not so where it is not `durable`: then a crash of
    the machine may leave it empty or absent, which is for files whose caller syncs many at once.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield beside
        if durable:
            sync(beside)
        os.replace(beside, path)
        if durable:
            sync_folder(path.parent)
    finally:
        beside.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Writes `text` to `path`, whole; it is on the disk when this returns."""
    with replacing(path) as beside:
        beside.write_text(text, encoding="utf-8")


@contextmanager
def replacing_folder(folder: Path) -> Iterator[Path]:
    """A new folder beside `folder` to fill; it takes its place when the block ends, or vanishes if the block raises.

    When the block has ended all that it wrote is on the disk, under its name.
    """
    beside = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    earlier = folder.with_name(f".{folder.name}.{os.getpid()}.earlier")
    beside.mkdir(parents=True)
    try:
        yield beside
        _sync_all(beside)
        _put_in_place(beside, folder, earlier)
        sync_folder(folder.parent)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def sync(path: Path) -> None:
    """Returns when the content of a file is on the disk."""
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def sync_folder(folder: Path) -> None:
    """Returns when the names in `folder` are on the disk, on a file system that can do so."""
    try:
        sync(folder)
    except OSError as error:
        if error.errno not in NO_FOLDER_SYNC:
            raise


def _put_in_place(beside: Path, folder: Path, earlier: Path) -> None:
    """Renames `beside` to `folder`; what was there before is removed where that succeeds, and else stays."""
    if not folder.exists():
        os.rename(beside, folder)
        return
    os.rename(folder, earlier)
    try:
        os.rename(beside, folder)
    except OSError:
        os.rename(earlier, folder)
        raise
    shutil.rmtree(earlier, ignore_errors=True)


def _sync_all(folder: Path) -> None:
    for above, _, names in os.walk(folder):
        for name in names:
            sync(Path(above, name))
        sync_folder(Path(above))
