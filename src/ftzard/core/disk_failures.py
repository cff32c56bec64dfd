"""What a disk that is full, failing or not to be written does to a step, in words that say what to do."""

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from ftzard.errors import FtzardError, StorageError

# Of the machine and not of the program: there is nothing else a person could do about the others.
_OF_THE_DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EFBIG, errno.EACCES, errno.EPERM})
_OF_A_DATABASE = {
    sqlite3.SQLITE_FULL: errno.ENOSPC,
    sqlite3.SQLITE_READONLY: errno.EROFS,
    sqlite3.SQLITE_IOERR: errno.EIO,
    sqlite3.SQLITE_CANTOPEN: errno.EIO,
}
# Of an extended code of SQLite the lowest byte is what kind of error it is.
_KIND = 0xFF


def errno_of_database(error: sqlite3.Error) -> int | None:
    """What the operating system would have said, where SQLite met a disk that is full, failing or read-only."""
    return _OF_A_DATABASE.get(getattr(error, "sqlite_errorcode", 0) & _KIND)


@contextmanager
def disk_failures_explained() -> Iterator[None]:
    """Turn the errors of a disk that cannot be written, wherever they come from, into one that names the file.

    Raises:
        StorageError: There is no room, or the system or permissions keep something from being written or read.
    """
    try:
        yield
    except FtzardError:
        raise
    except OSError as error:
        if error.errno not in _OF_THE_DISK:
            raise
        where = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else "a file"
        raise _explained(where, error.errno) from error
    except Exception as error:
        # Dagster and MLflow keep their databases with SQLAlchemy, each in errors of its own.
        for cause in _causes(error):
            number = errno_of_database(cause) if isinstance(cause, sqlite3.Error) else None
            if number is not None:
                raise _explained("a database of Dagster or MLflow", number) from error
        raise


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    cause: BaseException | None = error
    # An error raised again while it is handled can be its own context.
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        cause = cause.__cause__ or cause.__context__


def _explained(where: str, number: int) -> StorageError:
    return StorageError(
        f"{where} cannot be written or read: {os.strerror(number)}",
        fix="make room, or look at the permissions and the disk, then run again; what was stored before is still there",
    )
