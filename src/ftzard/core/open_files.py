"""Files that another program may still be writing: noticed, and never read half."""

import fcntl
import os
import signal
import stat
from pathlib import Path
from typing import Final

from ftzard.core.batch_names import printable
from ftzard.core.byte_sizes import in_words
from ftzard.errors import MalformedBatchError, StorageError

# A file may be put in the place of another just then; one that is being written changes each time.
_NUM_TRIES: Final = 3


def read_settled(path: Path, name: str, max_bytes: int) -> bytes:
    """Read a file that nobody is writing.

    Args:
        path: The file.
        name: What to call it.
        max_bytes: The largest that is read.

    Raises:
        MalformedBatchError: It is larger.
        StorageError: It is no regular file, cannot be opened, is open for writing, or changed while it was read.
    """
    for _ in range(_NUM_TRIES):
        try:
            found = _read_once(path, name, max_bytes)
        except OSError as error:
            raise StorageError(
                f"{printable(name)} cannot be read: {error.strerror}", fix="look at the file and its permissions"
            ) from error
        if found is not None:
            return found
    raise StorageError(
        f"{printable(name)} changed each of the {_NUM_TRIES} times while it was read",
        fix="wait until it is written; a program that writes under a name that ends in .part and then renames the file "
        "is never met half-way",
    )


def is_being_written(path: Path) -> bool:
    """Whether somebody has the file open for writing: only then does the kernel refuse a read lease.

    File systems without leases and other people's files leave the question open; there the time since the last change
    has to do.
    """
    with path.open("rb") as file:
        return _is_open_elsewhere(file.fileno())


def state_of(status: os.stat_result) -> tuple[int, int, int]:
    """Size, time of change in ns, inode: what changes when somebody writes."""
    return status.st_size, status.st_mtime_ns, status.st_ino


def too_large(name: str, num_bytes: int | None, max_bytes: int) -> MalformedBatchError:
    """The error for a file above the limit; None: nobody knows by how much."""
    has = f"has {in_words(num_bytes)}" if num_bytes is not None else "has more when it is unpacked"
    return MalformedBatchError(
        f"{printable(name)} {has}, and the limit is {in_words(max_bytes)} (data.max_file_bytes={max_bytes})",
        fix="split the file; or raise data.max_file_bytes, if the machine has several times that memory",
    )


def _read_once(path: Path, name: str, max_bytes: int) -> bytes | None:
    """The file's bytes; None where it changed meanwhile."""
    # Without waiting: whoever opens a pipe for reading would wait for a writer for ever.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        before = os.fstat(descriptor)
        _check(descriptor, before, name, max_bytes)
        # One byte more than there was, to see whether there is.
        with open(descriptor, "rb", closefd=False) as file:
            data = file.read(before.st_size + 1)
        is_unchanged = state_of(before) == state_of(os.fstat(descriptor)) == state_of(path.stat())
    finally:
        os.close(descriptor)
    return data if is_unchanged and len(data) == before.st_size else None


def _check(descriptor: int, status: os.stat_result, name: str, max_bytes: int) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise StorageError(
            f"{printable(name)} is a {_kind(status.st_mode)}, not a file",
            fix="move it out of the data folder, and give a file with the rows",
        )
    if _is_open_elsewhere(descriptor):
        raise StorageError(
            f"{printable(name)} is open for writing in another program, so that it may not be complete",
            fix="wait until that program has closed it",
        )
    if status.st_size > max_bytes:
        raise too_large(name, status.st_size, max_bytes)


def _is_open_elsewhere(descriptor: int) -> bool:
    try:
        # Whoever opens the file for writing just now makes the kernel signal us; by default a signal that kills.
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except BlockingIOError:
        return True
    except OSError:
        return False
    fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return False


def _kind(mode: int) -> str:
    if stat.S_ISDIR(mode):
        return "folder"
    return "pipe" if stat.S_ISFIFO(mode) else "device"
