"""A zip archive read where it lies: only the parts that are asked for, in blocks fetched ahead."""

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
from search.bucket import Place, told

BLOCK, SMALL = 8 * 2**20, 2**18
"""Bytes that are asked for at once: where most of an archive is wanted, and where a few members are."""
METHODS = {9: "Deflate64, as Windows does above 2 GB,", 93: "Zstandard", 98: "PPMd"}
"""Methods of packing that a zip may have and Python's zipfile does not."""
AHEAD = 4
"""Blocks that are under way while one is unpacked."""


class BlockReader(io.RawIOBase):
    """A file in a bucket as a seekable one; reading on finds the next blocks already under way."""

    def __init__(self, place: Place, block: int):
        self.uri, self.file, self.block = place.uri, place.open(), block
        self.size, self.at = int(self.file.size()), 0
        self.pool = ThreadPoolExecutor(AHEAD + 1, "zip")
        self.blocks: dict[int, Future[bytes]] = {}
        self.asked = 0
        """Bytes asked of the store so far."""

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self.at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self.at, io.SEEK_END: self.size}[whence]
        return self.at

    def read(self, count: int | None = -1) -> bytes:
        end = self.size if count is None or count < 0 else min(self.at + count, self.size)
        pieces = []
        while self.at < end:
            number, start = divmod(self.at, self.block)
            piece = self._block(number)[start : start + end - self.at]
            pieces.append(piece)
            self.at += len(piece)
        return b"".join(pieces)

    def forget(self) -> None:
        """Drops what was fetched: the next read asks the store again."""
        self.blocks.clear()

    def close(self) -> None:
        if not self.closed:
            self.pool.shutdown(cancel_futures=True)
            self.file.close()
        super().close()

    def _block(self, number: int) -> bytes:
        wanted = range(number, min(number + 1 + AHEAD, -(-self.size // self.block)))
        self.blocks = {each: self.blocks.get(each) or self.pool.submit(self._fetch, each) for each in wanted}
        return self.blocks[number].result()

    def _fetch(self, number: int) -> bytes:
        length = min(self.block, self.size - number * self.block)
        self.asked += length
        with told(self.uri):
            return self.file.read_at(length, number * self.block)


class Archive:
    """The members of a zip archive, of which `most` are wanted, or a few.

    Raises InputError for a file that is not one, or whose members are not plain.
    """

    def __init__(self, place: Place, most: bool = True):
        self.uri = place.uri
        self.reader = BlockReader(place, BLOCK if most else SMALL)
        try:
            self.zip = zipfile.ZipFile(self.reader)
        except (zipfile.BadZipFile, OSError, NotImplementedError) as error:
            self.reader.close()
            raise InputError(f"{self.uri} is not a whole zip archive ({error}); upload it again") from error
        members = [each for each in self.zip.infolist() if not each.is_dir()]
        self.members = {each.filename: each for each in sorted(members, key=lambda each: each.header_offset)}
        for each in members:
            self._check(each)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.zip.close()
        self.reader.close()

    def size(self, name: str) -> int:
        """Bytes of a member once it is unpacked, as the archive declares it."""
        return self.members[name].file_size

    def changed(self, name: str) -> int:
        """When a member was last changed, in ns since 1970: its clock's time taken as UTC."""
        return int(datetime(*self.members[name].date_time, tzinfo=UTC).timestamp()) * 10**9

    def copy(self, name: str, target: Path) -> None:
        """Unpacks a member to the file `target`; its size and CRC-32 are checked.

        A damaged one is fetched once more; then InputError is raised.
        """
        for left in (1, 0):
            try:
                with self.zip.open(self.members[name]) as member, target.open("wb") as file:
                    shutil.copyfileobj(member, file, 2**20)
                return
            except (zipfile.BadZipFile, zlib.error, EOFError) as error:
                self.reader.forget()
                if not left:
                    raise InputError(f"{self.uri}: '{name}' is damaged ({error}); upload the archive again") from error

    def _check(self, member: zipfile.ZipInfo) -> None:
        if stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG):
            raise InputError(f"{self.uri}: '{member.filename}' is a link or a device; pack plain files only")
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
            raise InputError(
                f"{self.uri}: '{member.filename}' is packed by {METHODS.get(member.compress_type, 'a method')} that "
                f"Python cannot unpack (method {member.compress_type}); unpack it and pack it anew, for example with "
                "`zip -r`"
            )
        if member.flag_bits & 1:
            raise InputError(f"{self.uri}: '{member.filename}' is encrypted; pack the files without a password")
        if self.members[member.filename] is not member:
            raise InputError(f"{self.uri}: '{member.filename}' is there twice; pack every file once")
