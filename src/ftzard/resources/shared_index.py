"""The person's index, changed so that a kill leaves nothing that blocks them for good.

A git that is killed while it writes the index leaves `index.lock`, and every later command refuses to work, theirs and
ours. Nobody can tell such a lock from one that is held. Here the lock is a hard link to a file of our own: a left-over
one is known by its inode, and that its owner is dead by a lock on that file, which the kernel frees.
"""

import errno
import fcntl
import logging
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ftzard.errors import DataCommitError
from ftzard.resources.git import Git

_LOGGER = logging.getLogger(__name__)

_OWN = "ftzard-index"
_NO_LINKS = frozenset({errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.EMLINK})
_ATTEMPTS = 8
_FIRST_PAUSE_S = 0.05


@dataclass(frozen=True)
class EditedIndex:
    """A copy of the index, while git's lock of the index is held.

    Attributes:
        variables: With these git commands see the copy.
    """

    variables: Mapping[str, str]
    _index: Path
    _copy: Path
    _before: Path

    def put_in_place(self) -> None:
        """Let the copy take the index's place."""
        if self._index.exists():
            try:
                self._before.hardlink_to(self._index)
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
                shutil.copy2(self._index, self._before)
        self._copy.replace(self._index)

    def put_back(self) -> None:
        """Take that back."""
        if self._before.exists():
            self._before.replace(self._index)
        else:
            self._index.unlink(missing_ok=True)


@contextmanager
def edited_index(git: Git) -> Iterator[EditedIndex]:
    """Hold git's lock of the index and give a copy to edit, which has to be put in place.

    Args:
        git: The repository.

    Raises:
        DataCommitError: Somebody else holds the lock, or the index cannot be written.
    """
    index, own, lock = _places(git)
    copy, before = (index.with_name(f"{_OWN}.{name}") for name in ("new", "before"))
    try:
        descriptor = os.open(own, os.O_CREAT | os.O_RDWR, 0o666)
    except OSError as error:
        raise _refused(own, error) from error
    try:
        _take(descriptor, own, lock)
        try:
            _remove(copy, copy.with_name(f"{copy.name}.lock"), before)
            if index.exists():
                # With its times, by which git knows what it has to look at again.
                shutil.copy2(index, copy)
            yield EditedIndex({"GIT_INDEX_FILE": str(copy)}, index, copy, before)
        except OSError as error:
            raise _refused(index, error) from error
        finally:
            _remove(copy, before, lock)
    finally:
        os.close(descriptor)


def free_left_lock(git: Git) -> None:
    """Remove a lock of the index that a killed process of ours has left, where nothing else will take it over.

    Raises:
        DataCommitError: It cannot be removed.
    """
    _, own, lock = _places(git)
    if not lock.exists() or not own.exists():
        return
    try:
        descriptor = os.open(own, os.O_RDWR)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _remove_left(own, lock)
        except BlockingIOError:
            # It is held, by a process of ours that is at work.
            pass
        finally:
            os.close(descriptor)
    except OSError as error:
        raise _refused(lock, error) from error


def _places(git: Git) -> tuple[Path, Path, Path]:
    """The index, the file that stands for us, and git's lock of the index."""
    index = git.top_level / git.run("rev-parse", "--git-path", "index")
    return index, index.with_name(_OWN), index.with_name(f"{index.name}.lock")


def _remove_left(own: Path, lock: Path) -> None:
    """Remove git's lock if it is ours; the caller has the kernel's lock on our file, so that nobody holds it."""
    if lock.exists() and lock.samefile(own):
        _LOGGER.warning("%s was left by a killed process of ours, and was removed", lock)
        lock.unlink()


def _take(descriptor: int, own: Path, lock: Path) -> None:
    for attempt in range(_ATTEMPTS):
        if attempt:
            # The person's own `git add` holds it for a moment.
            time.sleep(_FIRST_PAUSE_S * 2 ** (attempt - 1))
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _remove_left(own, lock)
            _make(lock, own)
        except (BlockingIOError, FileExistsError):
            continue
        except OSError as error:
            raise _refused(lock, error) from error
        return
    raise DataCommitError(
        f"another process holds {lock}", fix="when no git command runs, remove a left-over index.lock, then run again"
    )


def _make(lock: Path, own: Path) -> None:
    """The lock, as git makes one where the file system has no hard links."""
    try:
        os.link(own, lock)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        os.close(os.open(lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))


def _remove(*paths: Path) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


def _refused(path: Path, error: OSError) -> DataCommitError:
    return DataCommitError(
        f"{error.filename or path} cannot be written: {error.strerror or error}",
        fix="make git's folder writable and see to free space, then run again",
    )
