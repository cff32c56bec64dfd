"""What a full or failing disk does to a step, in words that say what to do."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

from ftzard.errors import StorageError

# Of the machine and not of the program: there is nothing else a person could do about the others.
_OF_THE_DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EFBIG})


@contextmanager
def disk_failures_explained() -> Iterator[None]:
    """Turn the errors of a disk that cannot be written, wherever they come from, into one that names the file.

    Raises:
        StorageError: The disk, or a quota, has no room, or the system cannot write to it or read from it.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _OF_THE_DISK:
            raise
        where = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else "a file"
        raise StorageError(
            f"{where} cannot be written or read: {os.strerror(error.errno)}",
            fix="make room, or look at the disk, then run again; what was stored before is still there",
        ) from error
