"""The image cache: all images, decoded and resized once into a memory-mapped uint8 array, shared by all runs."""

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

from chex.data.data_config import ImageConfig
from chex.data.decoding import DECODER_VERSION, UNDECODABLE, decode
from chex.errors import DiskFull, InputError
from chex.runtime.atomic_io import write_text
from chex.runtime.cpu_count import usable_cpus
from chex.runtime.resumable_memmap import ResumableMemmap, blocks_written, bytes_needed, read_array

BLOCK_IMAGES = 16
"""Images that a thread decodes, writes and marks together; a killed build loses at most this many per thread."""
POLL_SECONDS = 0.5
"""Seconds between checks of the progress of another process that builds the same cache."""
ProgressCallback = Callable[[int, int], None]
"""A function that is called with (images done, images in total)."""
BuiltCallback = Callable[[Path, np.ndarray], None]
"""A function that is called with the path of a finished array, and the array."""
Fingerprint = tuple[int, int]
"""The size of an image file in bytes, and the time of its last change in ns since 1970."""


def load_or_build(
    root: Path,
    paths: np.ndarray,
    config: ImageConfig,
    progress: ProgressCallback | None = None,
    built: BuiltCallback | None = None,
) -> np.ndarray:
    """Returns uint8 (N, size, size), read-only and memory-mapped: the images of `paths`, in that order.

    Decodes them on the first call; later calls open the same array. A changed file (size or time) makes a new array.
    Continues a build that was killed, and waits while another process builds the same array; `progress` is called in
    both cases, and `built` after this call has finished an array and released the lock. Raises InputError, before it
    decodes anything, for missing images, a folder that cannot be written and a disk that is too small; and, after it
    has tried all images, for undecodable ones, with a list of them beside the cache.
    """
    array, shape = array_path(root, paths, config), (len(paths), config.size, config.size)
    if (images := read_array(array, shape)) is not None:
        return images
    with build_lock(array, lambda: _report_progress(progress, BLOCK_IMAGES * blocks_written(array), len(paths))):
        if (images := read_array(array, shape)) is not None:  # another process has built it while this one waited
            return images
        images = _build(array, root, paths, config, progress)
    if built:
        built(array, images)
    return images


def array_path(
    root: Path, paths: np.ndarray, config: ImageConfig, fingerprints: Mapping[str, Fingerprint] | None = None
) -> Path:
    """Returns the path of the array of the decoded images of `paths`, which may not exist yet.

    Its name is a digest: the same images (path, size and time), decoded in the same way, have the same name on every
    machine. With `fingerprints`, by path, the images need not be below `root`. Raises InputError for missing images.
    """
    key = _digest(paths, _fingerprints(root, paths, fingerprints), config)
    return config.cache_dir.expanduser() / f"{key}-{config.size}px.npy"


def _fingerprints(root: Path, paths: np.ndarray, known: Mapping[str, Fingerprint] | None) -> list[Fingerprint]:
    names: list[str] = paths.tolist()  # strings: for 200,000 images `root / path` takes longer than the disk
    found = [known.get(name) if known is not None else _stat_fingerprint(f"{root}/{name}") for name in names]
    missing = [name for name, fingerprint in zip(names, found, strict=True) if fingerprint is None]
    if missing:
        raise InputError(
            f"{root}: {len(missing):,} of {len(paths):,} images that the CSVs list are missing, {_first(missing)}; "
            f"{_moved_remedy(root, missing[0]) or 'complete the download or remove their rows'}"
        )
    return [fingerprint for fingerprint in found if fingerprint]


def _moved_remedy(root: Path, name: str) -> str | None:
    """Returns the remedy if `name` is in a folder beside the tree, as in the portal's full dataset; else None."""
    split, _, inside = name.partition("/")
    for folder in sorted(root.absolute().parent.glob("*")):
        if inside and folder != root.absolute() and (folder / inside).is_file():
            return (
                f"the first is in {folder}: move the patients' folders of each such part of the dataset to "
                f"{root / split}"
            )
    return None


def _stat_fingerprint(path: str) -> Fingerprint | None:
    try:
        stat = os.stat(path)
    except OSError:
        return None
    return stat.st_size, stat.st_mtime_ns


def _digest(paths: np.ndarray, fingerprints: list[Fingerprint], config: ImageConfig) -> str:
    lines = "".join(f"{path} {fingerprint}\n" for path, fingerprint in zip(paths.tolist(), fingerprints, strict=True))
    return hashlib.sha256(f"{DECODER_VERSION} {config.resize} {config.size}\n{lines}".encode()).hexdigest()[:20]


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        reason = "" if os.access(folder, os.W_OK) else "permission denied"
    except OSError as error:
        reason = str(error.strerror).lower()
    if reason:
        raise DiskFull(f"image.cache_dir: {folder} cannot be written ({reason}); give a folder on a local disk")


@contextmanager
def build_lock(array: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """Locks `array` while the block runs; calls `waiting` every POLL_SECONDS while another process has the lock.

    Makes the array's folder. Raises InputError if it cannot be written.
    """
    _make_folder(array.parent)
    # The lock file is never removed: two processes could then lock at once.
    lock = FileLock(array.with_suffix(".lock"))
    while True:
        try:
            lock.acquire(timeout=POLL_SECONDS)
            break
        except Timeout:
            waiting()
    try:
        yield
    finally:
        lock.release()


def _build(
    array: Path, root: Path, paths: np.ndarray, config: ImageConfig, progress: ProgressCallback | None
) -> np.ndarray:
    shape = (len(paths), config.size, config.size)
    needed = bytes_needed(array, shape)
    if needed > shutil.disk_usage(array.parent).free:
        raise _disk_full(array.parent, root, needed)
    with ResumableMemmap(array, shape, BLOCK_IMAGES) as part:
        try:
            bad = _decode_missing(part, root, paths, config, progress)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            raise _disk_full(array.parent, root, bytes_needed(array, shape)) from error
        if bad:
            part.discard()
            raise _undecodable(array, root, bad, len(paths))
        return part.finish()


def _decode_missing(
    part: ResumableMemmap, root: Path, paths: np.ndarray, config: ImageConfig, progress: ProgressCallback | None
) -> dict[str, str]:
    """Decodes the blocks that are not written yet. Returns the images that cannot be decoded, with the reasons."""

    def decode_block(block: int) -> dict[str, str]:
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
        for block, found in enumerate(pool.map(decode_block, range(part.count))):
            bad |= found
            _report_progress(progress, part.rows(block).stop, len(paths))
    finally:
        pool.shutdown(cancel_futures=True)
    return bad


def _report_progress(progress: ProgressCallback | None, done: int, total: int) -> None:
    if progress:
        progress(min(done, total), total)


def _disk_full(folder: Path, root: Path, needed: int) -> DiskFull:
    return DiskFull(
        f"{folder}: the decoded images of {root} need {needed:,} bytes more and {shutil.disk_usage(folder).free:,} are "
        "free; free some space, give a folder on another disk with image.cache_dir, or lower image.size"
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


ImageLoader = Callable[[Path, np.ndarray, ImageConfig, ProgressCallback | None], np.ndarray]
"""Returns the decoded images of files: `load_or_build`, or a function that fetches them from elsewhere."""
