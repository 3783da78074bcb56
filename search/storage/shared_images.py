"""Shares an image cache in a bucket: one machine decodes the images, the others download the array.

A cache is a folder with the name of the array. It holds the array in pieces, and `manifest.json`, which is written
after all pieces and lists them with their SHA-256. A folder without a manifest is not a cache. A damaged cache, or a
failed upload, is a warning on stderr and not an error: every machine can decode the images itself.
"""

import hashlib
import json
import re
import secrets
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from chex.data.data_config import ImageConfig
from chex.data.image_cache import BLOCK_IMAGES, ProgressCallback, array_path, build_lock, load_or_build
from chex.errors import DiskFull, InputError
from chex.runtime.resumable_memmap import ResumableMemmap, bytes_needed, read_array
from search.storage.dataset import list_dataset, stage
from search.storage.remote_path import RemotePath, connect
from search.storage.uri import Unreachable

MANIFEST = "manifest.json"
PIECE_BYTES = 32 * 2**20
"""Approximate size of a piece."""
PIECE_NAME = re.compile(r"(?P<sender>[0-9a-f]{8})/(?P<first>\d{9})")
PARALLEL_PIECES = 8
SENDER_TIMEOUT_SECONDS = 300
"""A machine that has uploaded no new piece for this long no longer counts as sending."""
Shape = tuple[int, int, int]


class DamagedCache(InputError):
    """A cache that differs from its manifest, or has an unreadable manifest."""


def load_shared_images(
    root: Path,
    paths: np.ndarray,
    config: ImageConfig,
    progress: ProgressCallback | None = None,
    *,
    uri: str,
    data_uri: str | None = None,
) -> np.ndarray:
    """Returns the same array as `load_or_build`, downloaded if there is a cache of these images below `uri`.

    Otherwise decodes the images and uploads them. On one machine only one process decodes; if several machines decode
    at once, only the first uploads. A dataset at `data_uri` is in `root` as `stage_list` leaves it; its images are
    staged only if they have to be decoded. A machine that has the array already does not contact the storage. Raises
    the errors of `stage` and `load_or_build`.
    """
    fingerprints = list_dataset(root) if data_uri else None
    array, shape = array_path(root, paths, config, fingerprints), (len(paths), config.size, config.size)
    if (images := read_array(array, shape)) is not None:
        return images
    damaged_manifest = None
    try:
        remote = connect(uri) / array.stem
        if manifest := _read_manifest(remote):
            damaged_manifest = manifest
            return _download(remote, manifest, array, shape, progress)
    except (DamagedCache, Unreachable) as error:
        _warn(f"{error}; decoding the images here")
    if data_uri:
        stage(data_uri, root)

    def send(built: Path, images: np.ndarray) -> None:
        try:
            # not `remote`: images may have changed since they were listed, and then the cache has another name
            _upload(images, connect(uri) / built.stem, damaged_manifest)
        except (DamagedCache, Unreachable) as error:
            _warn(f"{error}; the decoded images stay on this machine")

    return load_or_build(root, paths, config, progress, send)


def _warn(message: str) -> None:
    print(f"image cache: {message}", file=sys.stderr, flush=True)


def _read_manifest(remote: RemotePath) -> bytes | None:
    """Returns the content of the manifest; None without one. Raises DamagedCache."""
    try:
        return (remote / MANIFEST).read() if (remote / MANIFEST).is_file() else None
    except Unreachable:
        raise
    except InputError as error:
        raise _damaged(remote, "its manifest cannot be read completely") from error


def _upload(images: np.ndarray, remote: RemotePath, damaged_manifest: bytes | None) -> None:
    """Uploads the pieces into a folder of their own and then the manifest, unless another machine is or was first.

    Replaces a manifest only if it is the `damaged_manifest`.
    """
    if _read_manifest(remote) != damaged_manifest:
        return
    rows, sender = _rows_per_piece(images.shape), secrets.token_hex(4)

    def put(first: int) -> list[str]:
        content = images[first : first + rows].tobytes()
        name = f"{sender}/{first:09d}"
        (remote / name).write(content)
        return [name, hashlib.sha256(content).hexdigest()]

    pieces = [put(0)]
    if not _another_machine_sends(remote, sender):
        with ThreadPoolExecutor(PARALLEL_PIECES, "send") as pool:
            pieces += pool.map(put, range(rows, len(images), rows))
        if _read_manifest(remote) == damaged_manifest:
            manifest = {"shape": images.shape, "rows": rows, "pieces": pieces}
            (remote / MANIFEST).write(json.dumps(manifest).encode())
            return
    for name, _ in pieces:
        (remote / name).remove()


def _another_machine_sends(remote: RemotePath, sender: str) -> bool:
    """Returns whether another machine started to upload earlier and still uploads, by the times of the storage."""
    times: dict[str, list[int]] = {}
    for name, info in remote.entries().items():
        if match := PIECE_NAME.fullmatch(name):
            times.setdefault(match["sender"], []).append(int(info.mtime_ns or 0))
    started = min(times[sender])
    return any(
        (min(other_times), other) < (started, sender) and max(other_times) > started - SENDER_TIMEOUT_SECONDS * 10**9
        for other, other_times in times.items()
    )


@dataclass(frozen=True)
class _Piece:
    """A piece as the manifest lists it."""

    blocks: range
    name: str
    digest: str


def _parse_manifest(manifest_text: bytes, shape: Shape, remote: RemotePath) -> list[_Piece]:
    """Returns the pieces that a manifest lists. Raises DamagedCache."""
    try:
        manifest = json.loads(manifest_text)
        shape_found, rows = manifest["shape"], manifest["rows"]
        pieces = [(str(name), str(digest)) for name, digest in manifest["pieces"]]
        firsts = range(0, shape[0], rows)
        fits = (
            not rows % BLOCK_IMAGES
            and len(pieces) == len(firsts)
            and all(PIECE_NAME.fullmatch(name) for name, _ in pieces)
        )
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(remote, "its manifest is not valid") from error
    if shape_found != list(shape):
        raise _damaged(remote, f"its shape is {shape_found} and should be {list(shape)}")
    if not fits:
        raise _damaged(remote, "its manifest does not list the pieces of its shape")
    count = -(-shape[0] // BLOCK_IMAGES)
    return [
        _Piece(range(first // BLOCK_IMAGES, min((first + rows) // BLOCK_IMAGES, count)), *piece)
        for first, piece in zip(firsts, pieces, strict=True)
    ]


def _download(
    remote: RemotePath, manifest: bytes, array: Path, shape: Shape, progress: ProgressCallback | None
) -> np.ndarray:
    """Returns the array, assembled from its pieces; keeps the pieces that an earlier call downloaded."""
    pieces = _parse_manifest(manifest, shape, remote)
    with build_lock(array, lambda: None):
        if (images := read_array(array, shape)) is not None:  # another process has just downloaded it
            return images
        _check_disk_space(array, shape, remote)
        with (
            ResumableMemmap(array, shape, BLOCK_IMAGES) as partial,
            ThreadPoolExecutor(PARALLEL_PIECES, "fetch") as pool,
        ):

            def bring(piece: _Piece) -> None:
                if not all(map(partial.has, piece.blocks)):
                    _write_piece(partial, piece, _read_piece(remote, piece, shape))

            for done, _ in enumerate(pool.map(bring, pieces), start=1):
                if progress:
                    progress(shape[0] * done // len(pieces), shape[0])
            return partial.finish()


def _read_piece(remote: RemotePath, piece: _Piece, shape: Shape) -> np.ndarray:
    """Returns the images of a piece. Raises DamagedCache if the piece is missing or has another content."""
    for _ in range(2):
        try:
            content = (remote / piece.name).read()
        except InputError as error:
            if isinstance(error, Unreachable) and (remote / piece.name).is_file():
                raise
            raise _damaged(remote, f"its piece {piece.name} is missing or cannot be read completely") from error
        if hashlib.sha256(content).hexdigest() == piece.digest:
            rows = min(piece.blocks.stop * BLOCK_IMAGES, shape[0]) - piece.blocks.start * BLOCK_IMAGES
            if len(content) == rows * shape[1] * shape[2]:
                return np.frombuffer(content, dtype=np.uint8).reshape(rows, *shape[1:])
    raise _damaged(remote, f"its piece {piece.name} has another SHA-256")


def _write_piece(partial: ResumableMemmap, piece: _Piece, pixels: np.ndarray) -> None:
    first = partial.rows(piece.blocks.start).start
    for block in piece.blocks:
        rows = partial.rows(block)
        partial.write(block, pixels[rows.start - first : rows.stop - first])


def _rows_per_piece(shape: tuple[int, ...]) -> int:
    """Returns the number of images in a piece, a multiple of BLOCK_IMAGES."""
    return BLOCK_IMAGES * max(1, PIECE_BYTES // (BLOCK_IMAGES * shape[1] * shape[2]))


def _check_disk_space(array: Path, shape: tuple[int, ...], remote: RemotePath) -> None:
    needed, free = bytes_needed(array, shape), shutil.disk_usage(array.parent).free
    if needed > free:
        raise DiskFull(
            f"{array.parent}: the image cache {remote.uri} needs {needed:,} more bytes and {free:,} are free; "
            "free disk space, give a folder on another disk with image.cache_dir, or lower image.size"
        )


def _damaged(remote: RemotePath, problem: str) -> DamagedCache:
    return DamagedCache(f"{remote.uri} is damaged: {problem}")
