"""What a kill or a full disk leaves broken of DVC's own notes, found by DVC's refusal and put right.

`.dvc/tmp/rwlock` is written in place: cut short, it blocks every command of DVC. The databases in DVC's site cache are
only a memory of hashes and links, which DVC makes again.
"""

import json
import logging
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dvc.repo import Repo

_LOGGER = logging.getLogger(__name__)
_CORRUPT = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_DATABASES = ("hashes", "links", "index")


def is_broken_database(error: BaseException) -> bool:
    """Whether SQLite says that a file is not, or not all of, a database."""
    return isinstance(error, sqlite3.DatabaseError) and getattr(error, "sqlite_errorcode", None) in _CORRUPT


def repair(repo: "Repo", error: BaseException) -> bool:
    """Remove what an operation of an open DVC repository failed on, if that is a broken note.

    Returns:
        Whether it is worth to open the repository afresh and do the operation again.
    """
    from dvc.rwlock import RWLockFileCorruptedError

    for cause in _causes(error):
        if isinstance(cause, RWLockFileCorruptedError):
            return _remove_rwlock(repo)
        if is_broken_database(cause):
            return _remove_databases(repo)
    return False


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _remove_rwlock(repo: "Repo") -> bool:
    from dvc.lock import make_lock
    from dvc.rwlock import RWLOCK_FILE, RWLOCK_LOCK

    path, folder = Path(str(repo.tmp_dir), RWLOCK_FILE), str(repo.tmp_dir)
    guard = make_lock(str(path.with_name(RWLOCK_LOCK)), folder, hardlink_lock=repo.config["core"]["hardlink_lock"])
    # Both: a process that holds either may be about to write it.
    with repo.lock, guard:
        try:
            json.loads(path.read_bytes())
        except FileNotFoundError:
            pass
        except ValueError:
            path.unlink()
            _LOGGER.warning("%s was cut short, as a killed process leaves it, and was removed", path)
    return True


def _remove_databases(repo: "Repo") -> bool:
    with repo.lock:
        for name in _DATABASES:
            shutil.rmtree(Path(repo.site_cache_dir, name), ignore_errors=True)
    _LOGGER.warning("DVC's memory of hashes in %s was broken and was removed; DVC makes it again", repo.site_cache_dir)
    return True
