"""DVC's databases on a disk that fails: an error, where DVC would try again for ever.

diskcache, which DVC keeps its memory of hashes and links in, takes every operational error of SQLite for the lock of
somebody else. On a disk that is full or read-only that lock is never free.
"""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ftzard.core.disk_failures import errno_of_database


@contextmanager
def failing_with_the_disk() -> Iterator[None]:
    """Within it diskcache does not wait for the disk; its class, which is the process's, is as it was afterwards."""
    import diskcache  # type: ignore[import-untyped]  # diskcache ships no types

    theirs = diskcache.Cache._sql  # noqa: SLF001 - where each of its statements goes through
    diskcache.Cache._sql = property(lambda cache: _telling(theirs.fget(cache), cache.directory))  # noqa: SLF001
    try:
        yield
    finally:
        diskcache.Cache._sql = theirs  # noqa: SLF001


def _telling(execute: Callable[..., Any], folder: str) -> Callable[..., Any]:
    def run(*arguments: Any) -> Any:
        try:
            return execute(*arguments)
        except sqlite3.OperationalError as error:
            number = errno_of_database(error)
            if number is None:
                raise
            raise OSError(number, str(error), folder) from error

    return run
