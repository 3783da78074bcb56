"""The image cache in a bucket: decoded by one machine, brought to the others as it is.

It lies in a folder of the array's own name, in pieces; `manifest.json`, written when all pieces are there, names them
with their SHA-256. Without a manifest there is no cache.
"""

import hashlib
import json
import secrets
import shutil
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np

from chex.blocks import BlockFile, bytes_to_go, read_array
from chex.cache import BLOCK, ImageConfig, Progress, alone, array_path, open_images
from chex.errors import InputError
from search.bucket import Place, reach

MANIFEST = "manifest.json"
PIECE = 32 * 2**20
"""Bytes of a piece, about."""
AT_ONCE = 8


def shared_images(
    root: Path, paths: np.ndarray, config: ImageConfig, uri: str, progress: Progress | None = None
) -> np.ndarray:
    """What `open_images` gives, bit for bit, brought from the caches below `uri` where one of these images is there.

    Where none is, decodes them and puts them there. A machine that has them asks nobody. Raises Unreachable, and what
    `open_images` raises.
    """
    array = array_path(root, paths, config)
    if (images := read_array(array, _shape(paths, config))) is not None:
        return images
    place = reach(uri) / array.stem
    if (place / MANIFEST).is_file():
        return _fetched(place, array, _shape(paths, config), progress)
    images = open_images(root, paths, config, progress)
    _send(images, place)
    return images


def _shape(paths: np.ndarray, config: ImageConfig) -> tuple[int, int, int]:
    return len(paths), config.size, config.size


def _send(images: np.ndarray, place: Place) -> None:
    """Puts the pieces under a name of their own, and then the manifest, unless another machine was first."""
    rows, own = _rows_of_a_piece(images.shape), secrets.token_hex(4)

    def put(first: int) -> list[str]:
        content = images[first : first + rows].tobytes()
        name = f"{own}/{first:09d}"
        (place / name).write(content)
        return [name, hashlib.sha256(content).hexdigest()]

    with ThreadPoolExecutor(AT_ONCE, "send") as pool:
        pieces = list(pool.map(put, range(0, len(images), rows)))
    if (place / MANIFEST).is_file():
        for name, _ in pieces:
            (place / name).remove()
        return
    manifest = {"shape": images.shape, "rows": rows, "pieces": pieces}
    (place / MANIFEST).write(json.dumps(manifest).encode())


def _fetched(place: Place, array: Path, shape: tuple[int, int, int], progress: Progress | None) -> np.ndarray:
    """The array, put together from its pieces; those that an earlier call brought are kept."""
    manifest = json.loads((place / MANIFEST).read())
    if manifest["shape"] != list(shape) or manifest["rows"] % BLOCK:
        raise _damaged(place, f"its shape is {manifest['shape']} and should be {list(shape)}")
    with alone(array, lambda: None):
        if (images := read_array(array, shape)) is not None:  # another process brought it meanwhile
            return images
        _check_room(array, shape, place)
        with BlockFile(array, shape, BLOCK) as part, ThreadPoolExecutor(AT_ONCE, "fetch") as pool:
            firsts = range(0, shape[0], manifest["rows"])
            missing = [
                (blocks, *piece)
                for first, piece in zip(firsts, manifest["pieces"], strict=True)
                if not all(map(part.has, blocks := _blocks(part, first, manifest["rows"])))
            ]
            done = len(manifest["pieces"]) - len(missing)
            work = iter(missing)
            while some := list(islice(work, AT_ONCE)):  # so many pieces in memory, and no more
                for (blocks, _, _), content in zip(
                    some, pool.map(lambda each: _piece(place, *each[1:]), some), strict=True
                ):
                    _write(part, blocks, content, shape)
                done += len(some)
                if progress:
                    progress(min(done * manifest["rows"], shape[0]), shape[0])
            return part.finish()


def _piece(place: Place, name: str, digest: str) -> bytes:
    for _ in range(2):
        content = (place / name).read()
        if hashlib.sha256(content).hexdigest() == digest:
            return content
    raise _damaged(place, f"the SHA-256 of its piece {name} is another")


def _write(part: BlockFile, blocks: range, content: bytes, shape: tuple[int, int, int]) -> None:
    pixels = np.frombuffer(content, dtype=np.uint8).reshape(-1, *shape[1:])
    first = part.rows(blocks.start).start
    for block in blocks:
        rows = part.rows(block)
        part.write(block, pixels[rows.start - first : rows.stop - first])


def _blocks(part: BlockFile, first: int, rows: int) -> range:
    return range(first // BLOCK, min((first + rows) // BLOCK, part.count))


def _rows_of_a_piece(shape: tuple[int, ...]) -> int:
    """A multiple of BLOCK."""
    return BLOCK * max(1, PIECE // (BLOCK * shape[1] * shape[2]))


def _check_room(array: Path, shape: tuple[int, ...], place: Place) -> None:
    needed, free = bytes_to_go(array, shape), shutil.disk_usage(array.parent).free
    if needed > free:
        raise InputError(
            f"{array.parent}: the image cache {place.uri} needs {needed:,} bytes more and {free:,} are free; make "
            "room, give a folder on another disk with image.cache, or lower image.size"
        )


def _damaged(place: Place, how: str) -> InputError:
    return InputError(f"{place.uri} is damaged, {how}; remove that folder, and the cache is made again")
