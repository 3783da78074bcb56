"""Tells a full or read-only disk from other errors."""

import errno
import sqlite3

STORAGE_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
SQLITE_ERRORS = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY)


def out_of_room(error: BaseException) -> str | None:
    """Why nothing can be written, where that is what `error` or an error behind it says; None where it is another."""
    behind: BaseException | None = error
    while behind:
        if isinstance(behind, OSError) and behind.errno in STORAGE_ERRORS:
            return behind.strerror
        if isinstance(behind, sqlite3.Error) and getattr(behind, "sqlite_errorcode", None) in SQLITE_ERRORS:
            return str(behind)
        behind = behind.__cause__ or behind.__context__
    return None
