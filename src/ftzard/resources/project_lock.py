"""One process at a time changes what a project has committed."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock

from ftzard.errors import DataCommitError

_LOGGER = logging.getLogger(__name__)
_LOCK_NOTICE_S = 10.0


@contextmanager
def only_process(folder: Path) -> Iterator[None]:
    """Hold the project's lock; the kernel frees it when a process dies, so waiting has no limit but is told.

    Args:
        folder: Where the lock's file is; made if missing.

    Raises:
        DataCommitError: The file cannot be written.
    """
    path = folder / "ftzard.lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(path)
        while not lock.is_locked:
            try:
                lock.acquire(timeout=_LOCK_NOTICE_S)
            except filelock.Timeout:
                _LOGGER.info("waiting for the process that commits data and holds %s", path)
    except OSError as error:
        raise DataCommitError(
            f"the lock {path} cannot be taken: {error}", fix="make the project's .dvc folder writable"
        ) from error
    try:
        yield
    finally:
        lock.release()
