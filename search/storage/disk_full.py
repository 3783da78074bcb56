"""Detects disk-full and read-only errors."""

import errno
import sqlite3

STORAGE_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
SQLITE_ERRORS = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY)


def disk_full_reason(error: BaseException) -> str | None:
    """Returns the reason if `error` or one of its causes is a full or read-only disk; None for any other error."""
    cause: BaseException | None = error
    while cause:
        if isinstance(cause, OSError) and cause.errno in STORAGE_ERRORS:
            return cause.strerror
        if isinstance(cause, sqlite3.Error) and getattr(cause, "sqlite_errorcode", None) in SQLITE_ERRORS:
            return str(cause)
        cause = cause.__cause__ or cause.__context__
    return None
