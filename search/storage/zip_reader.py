"""Reads parts of a zip archive in a storage, in blocks that are fetched ahead."""

import io
import shutil
import stat
import zipfile
import zlib
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from chex.errors import InputError
from search.storage.remote_path import RemotePath, errors_as_unreachable

BLOCK, SMALL_BLOCK = 8 * 2**20, 2**18
"""Bytes per request, if most members of an archive are wanted and if only a few are."""
UNSUPPORTED_METHODS = {9: "Deflate64, as Windows does above 2 GB,", 93: "Zstandard", 98: "PPMd"}
"""Compression methods of zip archives that Python's zipfile cannot unpack."""
PREFETCH_BLOCKS = 4
"""The number of blocks that are fetched ahead while one is unpacked."""


class BlockReader(io.RawIOBase):
    """A seekable file in a storage, read in blocks; the blocks after the current one are fetched ahead."""

    def __init__(self, remote: RemotePath, block: int):
        self.uri, self.file, self.block = remote.uri, remote.open(), block
        self.size, self.position = int(self.file.size()), 0
        self.pool = ThreadPoolExecutor(PREFETCH_BLOCKS + 1, "zip")
        self.blocks: dict[int, Future[bytes]] = {}
        self.bytes_requested = 0
        """Bytes requested from the storage so far."""

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self.position = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self.position, io.SEEK_END: self.size}[whence]
        return self.position

    def read(self, count: int | None = -1) -> bytes:
        end = self.size if count is None or count < 0 else min(self.position + count, self.size)
        parts = []
        while self.position < end:
            number, start = divmod(self.position, self.block)
            part = self._block(number)[start : start + end - self.position]
            parts.append(part)
            self.position += len(part)
        return b"".join(parts)

    def clear(self) -> None:
        """Drops the fetched blocks: the next read requests them again."""
        self.blocks.clear()

    def close(self) -> None:
        if not self.closed:
            self.pool.shutdown(cancel_futures=True)
            self.file.close()
        super().close()

    def _block(self, number: int) -> bytes:
        wanted = range(number, min(number + 1 + PREFETCH_BLOCKS, -(-self.size // self.block)))
        self.blocks = {
            number_: self.blocks.get(number_) or self.pool.submit(self._fetch, number_) for number_ in wanted
        }
        return self.blocks[number].result()

    def _fetch(self, number: int) -> bytes:
        length = min(self.block, self.size - number * self.block)
        self.bytes_requested += length
        with errors_as_unreachable(self.uri):
            return self.file.read_at(length, number * self.block)


class ZipArchive:
    """Reads members of a zip archive; `most` says whether most of them are wanted, or a few.

    Raises InputError if the file is not a zip archive or has members that are not plain files.
    """

    def __init__(self, remote: RemotePath, most: bool = True):
        self.uri = remote.uri
        self.reader = BlockReader(remote, BLOCK if most else SMALL_BLOCK)
        try:
            self.zip = zipfile.ZipFile(self.reader)
        except (zipfile.BadZipFile, OSError, NotImplementedError) as error:
            self.reader.close()
            raise InputError(f"{self.uri} is not a whole zip archive ({error}); upload it again") from error
        members = [member for member in self.zip.infolist() if not member.is_dir()]
        self.members = {member.filename: member for member in sorted(members, key=lambda member: member.header_offset)}
        for member in members:
            self._check(member)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.zip.close()
        self.reader.close()

    def size(self, name: str) -> int:
        """Returns the unpacked size of a member in bytes, as the archive states it."""
        return self.members[name].file_size

    def changed(self, name: str) -> int:
        """Returns when a member was last changed, in ns since 1970, with its time read as UTC."""
        return int(datetime(*self.members[name].date_time, tzinfo=UTC).timestamp()) * 10**9

    def copy(self, name: str, target: Path) -> None:
        """Unpacks a member to the file `target` and checks its size and CRC-32.

        Fetches a damaged member once more. Raises InputError if it is damaged again.
        """
        for tries_left in (1, 0):
            try:
                with self.zip.open(self.members[name]) as member, target.open("wb") as file:
                    shutil.copyfileobj(member, file, 2**20)
                return
            except (zipfile.BadZipFile, zlib.error, EOFError) as error:
                self.reader.clear()
                if not tries_left:
                    raise InputError(f"{self.uri}: '{name}' is damaged ({error}); upload the archive again") from error

    def _check(self, member: zipfile.ZipInfo) -> None:
        if stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG):
            raise InputError(f"{self.uri}: '{member.filename}' is a link or a device; pack only plain files")
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
            method = UNSUPPORTED_METHODS.get(member.compress_type, "a method")
            raise InputError(
                f"{self.uri}: '{member.filename}' is compressed with {method} that Python cannot unpack (method "
                f"{member.compress_type}); unpack the archive and pack it again, for example with `zip -r`"
            )
        if member.flag_bits & 1:
            raise InputError(f"{self.uri}: '{member.filename}' is encrypted; pack the files without a password")
        if self.members[member.filename] is not member:
            raise InputError(f"{self.uri}: '{member.filename}' is in the archive twice; pack every file once")
