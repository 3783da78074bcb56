"""The image cache in a bucket: decoded by one machine, brought to the others as it is.

It lies in a folder of the array's own name, in pieces; `manifest.json`, written when all pieces are there, names them
with their SHA-256. Without a manifest there is no cache. What is wrong with a cache, or keeps one from being put there,
is told on stderr and no error: every machine can decode for itself.
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

from chex.blocks import BlockFile, bytes_to_go, read_array
from chex.cache import BLOCK, ImageConfig, Progress, alone, array_path, open_images
from chex.errors import InputError, NoRoom
from search.bucket import Place, Unreachable, reach
from search.staging import listed, stage

MANIFEST = "manifest.json"
PIECE = 32 * 2**20
"""Bytes of a piece, about."""
PIECE_NAME = re.compile(r"(?P<sender>[0-9a-f]{8})/(?P<first>\d{9})")
AT_ONCE = 8
SILENT = 300
"""Seconds without a new piece after which a machine that was putting a cache there counts as gone."""
Shape = tuple[int, int, int]


class Damaged(InputError):
    """A cache that is not what its manifest says, or whose manifest says nothing."""


def shared_images(
    root: Path,
    paths: np.ndarray,
    config: ImageConfig,
    progress: Progress | None = None,
    *,
    uri: str,
    source: str | None = None,
) -> np.ndarray:
    """What `open_images` gives, bit for bit, brought from the caches below `uri` where one of these images is there.

    Where none is, decodes them and puts them there; so does only one of the processes that ask on a machine, and of
    machines that decode at once the first. Of a tree with a `source`, which is in `root` as `stage_list` leaves it, the
    films are staged when they have to be decoded, and not before. A machine that has the images asks nobody. Raises
    what `stage` and `open_images` raise.
    """
    films = listed(root) if source else None
    array, shape = array_path(root, paths, config, films), (len(paths), config.size, config.size)
    if (images := read_array(array, shape)) is not None:
        return images
    broken = None
    try:
        place = reach(uri) / array.stem
        if text := _manifest(place):
            broken = text
            return _fetched(place, text, array, shape, progress)
    except (Damaged, Unreachable) as error:
        _say(f"{error}; decoding the films here")
    if source:
        stage(source, root)

    def send(built: Path, images: np.ndarray) -> None:
        try:
            _send(images, reach(uri) / built.stem, broken)  # the films may have changed since they were listed
        except (Damaged, Unreachable) as error:
            _say(f"{error}; the decoded films stay on this machine")

    return open_images(root, paths, config, progress, send)


def _say(what: str) -> None:
    print(f"image cache: {what}", file=sys.stderr, flush=True)


def _manifest(place: Place) -> bytes | None:
    """What the manifest holds; None where there is none. Raises Damaged."""
    try:
        return (place / MANIFEST).read() if (place / MANIFEST).is_file() else None
    except Unreachable:
        raise
    except InputError as error:
        raise _damaged(place, "its manifest cannot be read whole") from error


def _send(images: np.ndarray, place: Place, broken: bytes | None) -> None:
    """Puts the pieces under a name of their own, and then the manifest, unless another machine is or was first.

    A manifest that is the `broken` one gives way.
    """
    if _manifest(place) != broken:
        return
    rows, own = _rows_of_a_piece(images.shape), secrets.token_hex(4)

    def put(first: int) -> list[str]:
        content = images[first : first + rows].tobytes()
        name = f"{own}/{first:09d}"
        (place / name).write(content)
        return [name, hashlib.sha256(content).hexdigest()]

    pieces = [put(0)]
    if not _another_is_first(place, own):
        with ThreadPoolExecutor(AT_ONCE, "send") as pool:
            pieces += pool.map(put, range(rows, len(images), rows))
        if _manifest(place) == broken:
            manifest = {"shape": images.shape, "rows": rows, "pieces": pieces}
            (place / MANIFEST).write(json.dumps(manifest).encode())
            return
    for name, _ in pieces:
        (place / name).remove()


def _another_is_first(place: Place, own: str) -> bool:
    """Whether another machine began to send before this one, and is still at it; all times are the store's."""
    times: dict[str, list[int]] = {}
    for name, about in place.entries().items():
        if piece := PIECE_NAME.fullmatch(name):
            times.setdefault(piece["sender"], []).append(int(about.mtime_ns or 0))
    began = min(times[own])
    return any(
        (min(theirs), sender) < (began, own) and max(theirs) > began - SILENT * 10**9
        for sender, theirs in times.items()
    )


@dataclass(frozen=True)
class _Piece:
    """What the manifest says of one."""

    blocks: range
    name: str
    digest: str


def _pieces(text: bytes, shape: Shape, place: Place) -> list[_Piece]:
    """What a manifest says. Raises Damaged."""
    try:
        manifest = json.loads(text)
        there, rows, pieces = manifest["shape"], manifest["rows"], [(str(a), str(b)) for a, b in manifest["pieces"]]
        firsts = range(0, shape[0], rows)
        fits = not rows % BLOCK and len(pieces) == len(firsts) and all(PIECE_NAME.fullmatch(name) for name, _ in pieces)
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(place, "its manifest is none") from error
    if there != list(shape):
        raise _damaged(place, f"its shape is {there} and should be {list(shape)}")
    if not fits:
        raise _damaged(place, "its manifest names other pieces than its shape has")
    count = -(-shape[0] // BLOCK)
    return [
        _Piece(range(first // BLOCK, min((first + rows) // BLOCK, count)), *piece)
        for first, piece in zip(firsts, pieces, strict=True)
    ]


def _fetched(place: Place, manifest: bytes, array: Path, shape: Shape, progress: Progress | None) -> np.ndarray:
    """The array, put together from its pieces; those that an earlier call brought are kept."""
    pieces = _pieces(manifest, shape, place)
    with alone(array, lambda: None):
        if (images := read_array(array, shape)) is not None:  # another process has brought it meanwhile
            return images
        _check_room(array, shape, place)
        with BlockFile(array, shape, BLOCK) as part, ThreadPoolExecutor(AT_ONCE, "fetch") as pool:

            def bring(piece: _Piece) -> None:
                if not all(map(part.has, piece.blocks)):
                    _write(part, piece, _content(place, piece, shape))

            for done, _ in enumerate(pool.map(bring, pieces), start=1):
                if progress:
                    progress(shape[0] * done // len(pieces), shape[0])
            return part.finish()


def _content(place: Place, piece: _Piece, shape: Shape) -> np.ndarray:
    """The films of a piece. Raises Damaged where it is gone, or another."""
    for _ in range(2):
        try:
            content = (place / piece.name).read()
        except InputError as error:
            if isinstance(error, Unreachable) and (place / piece.name).is_file():
                raise
            raise _damaged(place, f"its piece {piece.name} is gone, or cannot be read whole") from error
        if hashlib.sha256(content).hexdigest() == piece.digest:
            rows = min(piece.blocks.stop * BLOCK, shape[0]) - piece.blocks.start * BLOCK
            if len(content) == rows * shape[1] * shape[2]:
                return np.frombuffer(content, dtype=np.uint8).reshape(rows, *shape[1:])
    raise _damaged(place, f"the SHA-256 of its piece {piece.name} is another")


def _write(part: BlockFile, piece: _Piece, pixels: np.ndarray) -> None:
    first = part.rows(piece.blocks.start).start
    for block in piece.blocks:
        rows = part.rows(block)
        part.write(block, pixels[rows.start - first : rows.stop - first])


def _rows_of_a_piece(shape: tuple[int, ...]) -> int:
    """A multiple of BLOCK."""
    return BLOCK * max(1, PIECE // (BLOCK * shape[1] * shape[2]))


def _check_room(array: Path, shape: tuple[int, ...], place: Place) -> None:
    needed, free = bytes_to_go(array, shape), shutil.disk_usage(array.parent).free
    if needed > free:
        raise NoRoom(
            f"{array.parent}: the image cache {place.uri} needs {needed:,} bytes more and {free:,} are free; make "
            "room, give a folder on another disk with image.cache, or lower image.size"
        )


def _damaged(place: Place, how: str) -> Damaged:
    return Damaged(f"{place.uri} is damaged, {how}")
