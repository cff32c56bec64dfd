"""A temporary folder that does not stay for ever where the process in it is killed."""

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import filelock

_LOCK: Final = "lock"
# A folder is made before it is locked; nobody takes longer from the one to the other.
_MIN_AGE_S: Final = 600.0


@contextmanager
def scratch_folder(prefix: str) -> Iterator[Path]:
    """A folder of one's own below the system's temporary folder, which is removed in the end.

    Those with the same prefix that killed processes have left are removed first: the lock in them, which ends with the
    process that holds it, is nobody's. So it is wherever processes do not see each other's numbers, as in containers.

    Args:
        prefix: Of its name; nothing else in the temporary folder may begin so.
    """
    _remove_abandoned(prefix)
    with tempfile.TemporaryDirectory(prefix=prefix) as name, filelock.FileLock(Path(name) / _LOCK):
        yield Path(name)


def _remove_abandoned(prefix: str) -> None:
    for folder in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        try:
            if time.time() - folder.stat().st_mtime < _MIN_AGE_S or not (folder / _LOCK).is_file():
                continue
            with filelock.FileLock(folder / _LOCK, timeout=0):
                shutil.rmtree(folder, ignore_errors=True)
        # In use, another person's, or gone meanwhile.
        except (filelock.Timeout, OSError):
            continue
