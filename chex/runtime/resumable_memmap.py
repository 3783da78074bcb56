"""A large uint8 array on disk, written block by block; a later process continues where a killed one stopped."""

import os
import zlib
from pathlib import Path
from typing import Self

import numpy as np

HEADER = 4096
"""Bytes before the first row: one memory page, so that rows of whole pages begin at the start of a page."""
_MARK = np.dtype("<u8")
"""The status of a block: 0 = not written, else 2**32 + the CRC-32 of its bytes."""


def read_array(path: Path, shape: tuple[int, ...]) -> np.ndarray | None:
    """Returns the array at `path`, read-only and memory-mapped; None if there is no such file.

    A file of another size or header counts as missing. The rows are not checked.
    """
    try:
        with path.open("rb") as file:
            complete = file.read(HEADER) == _header(shape) and os.fstat(file.fileno()).st_size == total_bytes(shape)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return _map(path, shape) if complete else None


def total_bytes(shape: tuple[int, ...]) -> int:
    """Returns the size of the finished file."""
    return HEADER + int(np.prod(shape, dtype=np.int64))


def bytes_needed(path: Path, shape: tuple[int, ...]) -> int:
    """Returns the bytes that the array at `path` still needs on the disk, less what an earlier process has written."""
    try:
        return max(0, total_bytes(shape) - 512 * os.stat(_data(path)).st_blocks)
    except FileNotFoundError:
        return total_bytes(shape)


def blocks_written(path: Path) -> int:
    """Returns the number of blocks written of the unfinished array at `path`; 0 if there is none."""
    try:
        return int(np.count_nonzero(np.fromfile(_marks(path), dtype=_MARK)))
    except FileNotFoundError:
        return 0


class ResumableMemmap:
    """The unfinished array for `path`: two files beside it, with its data and with a mark for each written block.

    One process may use it at a time; its threads may write different blocks at once. Leaving the context keeps both
    files for a later process, unless `finish` or `discard` was called before. A mark is the checksum of its block. So
    after a crash a block counts as written only if all its bytes are on the disk, in whatever order they got there.
    """

    def __init__(self, path: Path, shape: tuple[int, ...], rows: int):
        """Opens or makes the files. A block has `rows` rows; the last block may have fewer."""
        self.count = -(-shape[0] // rows)
        """The number of blocks."""
        self._path, self._shape, self._rows = path, shape, rows
        self._row_bytes = int(np.prod(shape[1:], dtype=np.int64))
        flags = os.O_RDWR | os.O_CREAT
        self._data, self._marks = os.open(_data(path), flags, 0o644), os.open(_marks(path), flags, 0o644)
        os.ftruncate(self._data, total_bytes(shape))
        os.ftruncate(self._marks, self.count * _MARK.itemsize)
        _write(self._data, _header(shape), 0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        os.close(self._data)
        os.close(self._marks)

    def rows(self, block: int) -> slice:
        """Returns the rows of `block`."""
        return slice(block * self._rows, min((block + 1) * self._rows, self._shape[0]))

    def has(self, block: int) -> bool:
        """Returns whether `block` is written and its bytes match its checksum."""
        mark = int.from_bytes(os.pread(self._marks, _MARK.itemsize, block * _MARK.itemsize), "little")
        rows = self.rows(block)
        length = (rows.stop - rows.start) * self._row_bytes
        return mark != 0 and mark == _mark(os.pread(self._data, length, self._offset(block)))

    def write(self, block: int, pixels: np.ndarray) -> None:
        """Writes uint8 `pixels`, the rows of `block`, and then its mark. Raises OSError if the disk is full."""
        content = pixels.tobytes()
        _write(self._data, content, self._offset(block))
        _write(self._marks, _mark(content).to_bytes(_MARK.itemsize, "little"), block * _MARK.itemsize)

    def finish(self) -> np.ndarray:
        """Moves the array to `path` and returns it as `read_array` does. Call it when all blocks are written."""
        os.fsync(self._data)
        os.replace(_data(self._path), self._path)
        _marks(self._path).unlink()
        return _map(self._path, self._shape)

    def discard(self) -> None:
        """Removes both files."""
        _data(self._path).unlink()
        _marks(self._path).unlink()

    def _offset(self, block: int) -> int:
        return HEADER + block * self._rows * self._row_bytes


def _map(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    return np.memmap(path, np.uint8, "r", HEADER, shape)


def _data(path: Path) -> Path:
    return path.with_name(f"{path.name}.part")


def _marks(path: Path) -> Path:
    return path.with_name(f"{path.name}.marks")


def _header(shape: tuple[int, ...]) -> bytes:
    """Returns the header of a .npy file, version 1.0, padded to HEADER bytes."""
    start = b"\x93NUMPY\x01\x00"
    length = HEADER - len(start) - 2
    text = repr({"descr": "|u1", "fortran_order": False, "shape": shape}).ljust(length - 1) + "\n"
    return start + length.to_bytes(2, "little") + text.encode("latin1")


def _mark(content: bytes) -> int:
    return 2**32 + zlib.crc32(content)


def _write(file: int, content: bytes, offset: int) -> None:
    remaining = memoryview(content)
    while remaining:
        written = os.pwrite(file, remaining, offset)
        remaining, offset = remaining[written:], offset + written
