"""Files that others read appear whole or not at all."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path beside `path` to write to; it becomes `path` when the block ends, and vanishes if the block raises."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield beside
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Writes `text` to `path`, whole."""
    with replacing(path) as beside:
        beside.write_text(text, encoding="utf-8")


@contextmanager
def replacing_folder(folder: Path) -> Iterator[Path]:
    """A new folder beside `folder` to fill; it takes its place when the block ends, or vanishes if the block raises."""
    beside = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    earlier = folder.with_name(f".{folder.name}.{os.getpid()}.earlier")
    beside.mkdir(parents=True)
    try:
        yield beside
        if folder.exists():
            os.rename(folder, earlier)
        try:
            os.rename(beside, folder)
        except OSError:
            if earlier.exists():
                os.rename(earlier, folder)
            raise
    finally:
        shutil.rmtree(beside, ignore_errors=True)
        shutil.rmtree(earlier, ignore_errors=True)
