"""Every image decoded and resized once into one memory-mapped uint8 array that all runs on a machine share."""

import errno
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout
from pydantic import Field

from chex.atomic import write_text
from chex.blocks import BlockFile, blocks_written, bytes_to_go, read_array
from chex.decoding import RULE, UNDECODABLE, Resize, decode
from chex.errors import InputError, NoRoom
from chex.processors import usable_cpus
from chex.strict import NodePath, Strict

BLOCK = 16
"""Films that are decoded, written and marked together: what a killed build loses, a thread."""
POLL = 0.5
"""Seconds between looks at how far another process is that builds the same cache."""
Progress = Callable[[int, int], None]
"""Called with what is done and the total."""
Built = Callable[[Path, np.ndarray], None]
"""Called with an array and where it lies."""
Fingerprint = tuple[int, int]
"""A film's size in bytes, and when it was last changed, in ns since 1970."""


class ImageConfig(Strict):
    """What an image looks like to the model, and where decoded images are kept."""

    size: int = Field(64, ge=32, le=2048)
    """Side of the square in pixels."""
    resize: Resize = "letterbox"
    """`letterbox`: the film keeps its proportions and the rest is black; `squash`: it fills the square."""
    cache: NodePath = Path("~/.cache/chexpert-search")
    """Folder of decoded images on a local disk, shared by all runs; it holds rows x size x size bytes a tree."""


def open_images(
    root: Path,
    paths: np.ndarray,
    config: ImageConfig,
    progress: Progress | None = None,
    built: Built | None = None,
) -> np.ndarray:
    """uint8 (N, size, size), read-only and memory-mapped: the images of `paths`, in that order.

    Decodes them on the first call and finds them again on later ones; a file that changes (size or time) makes another
    array. Goes on where a killed process stopped, and waits while another one builds the same array; `progress` hears
    of both, and `built` of an array that this call has finished, when others can have it already. Raises InputError,
    before anything is decoded, for missing images, a folder that cannot be written and a disk without room; and after
    all others are decoded for undecodable images, with a list of them beside the cache.
    """
    array, shape = array_path(root, paths, config), (len(paths), config.size, config.size)
    if (images := read_array(array, shape)) is not None:
        return images
    with alone(array, lambda: _tell(progress, BLOCK * blocks_written(array), len(paths))):
        if (images := read_array(array, shape)) is not None:  # another process has built it meanwhile
            return images
        images = _build(array, root, paths, config, progress)
    if built:
        built(array, images)
    return images


def array_path(
    root: Path, paths: np.ndarray, config: ImageConfig, films: Mapping[str, Fingerprint] | None = None
) -> Path:
    """The file that holds the decoded images of `paths`, or is to hold them.

    Its name is the array's identity: the same films (path, size and time), decoded in the same way, have the same one
    on every machine. The films need not be below `root` where their fingerprints are given as `films`, by path. Raises
    InputError for missing images.
    """
    key = _digest(paths, _fingerprints(root, paths, films), config)
    return config.cache.expanduser() / f"{key}-{config.size}px.npy"


def _fingerprints(root: Path, paths: np.ndarray, films: Mapping[str, Fingerprint] | None) -> list[Fingerprint]:
    names: list[str] = paths.tolist()  # plain strings: at 200,000 films `root / path` takes longer than the disk
    found = [films.get(name) if films is not None else _on_disk(f"{root}/{name}") for name in names]
    missing = [name for name, fingerprint in zip(names, found, strict=True) if fingerprint is None]
    if missing:
        raise InputError(
            f"{root}: {len(missing):,} of {len(paths):,} images that the CSVs list are missing, {_first(missing)}; "
            f"{_elsewhere(root, missing[0]) or 'complete the download or remove their rows'}"
        )
    return [fingerprint for fingerprint in found if fingerprint]


def _elsewhere(root: Path, name: str) -> str | None:
    """Where the image `name` lies in a folder beside the tree, as the portal hands out the full dataset."""
    split, _, inside = name.partition("/")
    for folder in sorted(root.absolute().parent.glob("*")):
        if inside and folder != root.absolute() and (folder / inside).is_file():
            return (
                f"the first lies in {folder}: move the patients' folders of each such part of the dataset to "
                f"{root / split}"
            )
    return None


def _on_disk(path: str) -> Fingerprint | None:
    try:
        stat = os.stat(path)
    except OSError:
        return None
    return stat.st_size, stat.st_mtime_ns


def _digest(paths: np.ndarray, fingerprints: list[Fingerprint], config: ImageConfig) -> str:
    films = "".join(f"{path} {fingerprint}\n" for path, fingerprint in zip(paths.tolist(), fingerprints, strict=True))
    return hashlib.sha256(f"{RULE} {config.resize} {config.size}\n{films}".encode()).hexdigest()[:20]


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        reason = "" if os.access(folder, os.W_OK) else "permission denied"
    except OSError as error:
        reason = str(error.strerror).lower()
    if reason:
        raise NoRoom(f"image.cache: {folder} cannot be written ({reason}); give a folder on a local disk")


@contextmanager
def alone(array: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """Waits until no other process makes `array`, and keeps others from it; `waiting` is called now and then.

    Makes the folder. Raises InputError where it cannot be written.
    """
    _make(array.parent)
    # The lock file stays: who removes it lets two others in at once.
    lock = FileLock(array.with_suffix(".lock"))
    while True:
        try:
            lock.acquire(timeout=POLL)
            break
        except Timeout:
            waiting()
    try:
        yield
    finally:
        lock.release()


def _build(array: Path, root: Path, paths: np.ndarray, config: ImageConfig, progress: Progress | None) -> np.ndarray:
    shape = (len(paths), config.size, config.size)
    needed = bytes_to_go(array, shape)
    if needed > shutil.disk_usage(array.parent).free:
        raise _no_room(array.parent, root, needed)
    with BlockFile(array, shape, BLOCK) as part:
        try:
            bad = _fill(part, root, paths, config, progress)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            raise _no_room(array.parent, root, bytes_to_go(array, shape)) from error
        if bad:
            part.discard()
            raise _undecodable(array, root, bad, len(paths))
        return part.finish()


def _fill(
    part: BlockFile, root: Path, paths: np.ndarray, config: ImageConfig, progress: Progress | None
) -> dict[str, str]:
    """Decodes the blocks that are not written yet; which films cannot be decoded comes back, and why."""

    def fill(block: int) -> dict[str, str]:
        if part.has(block):
            return {}
        names, bad = paths[part.rows(block)], {}
        pixels = np.empty((len(names), config.size, config.size), dtype=np.uint8)
        for row, name in enumerate(names):
            try:
                pixels[row] = decode(root / name, config.size, config.resize)
            except UNDECODABLE as error:
                bad[str(name)] = " ".join(str(error).split())
        if not bad:
            part.write(block, pixels)
        return bad

    pool = ThreadPoolExecutor(usable_cpus(), "decode")
    bad: dict[str, str] = {}
    try:
        for block, found in enumerate(pool.map(fill, range(part.count))):
            bad |= found
            _tell(progress, part.rows(block).stop, len(paths))
    finally:
        pool.shutdown(cancel_futures=True)
    return bad


def _tell(progress: Progress | None, done: int, total: int) -> None:
    if progress:
        progress(min(done, total), total)


def _no_room(folder: Path, root: Path, needed: int) -> NoRoom:
    return NoRoom(
        f"{folder}: the decoded images of {root} need {needed:,} bytes more and {shutil.disk_usage(folder).free:,} are "
        "free; make room, give a folder on another disk with image.cache, or lower image.size"
    )


def _undecodable(array: Path, root: Path, bad: dict[str, str], count: int) -> InputError:
    listed = array.with_suffix(".undecodable.txt")
    write_text(listed, "".join(f"{path}\t{reason}\n" for path, reason in bad.items()))
    return InputError(
        f"{root}: {len(bad):,} of {count:,} images cannot be decoded, {_first(list(bad))} (all of them, with reasons: "
        f"{listed}); replace the files or remove their rows"
    )


def _first(paths: list[str]) -> str:
    return f"first {', '.join(paths[:3])}"
