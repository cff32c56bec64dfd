"""What a kill or a full disk leaves broken of DVC's own notes, found by DVC's refusal and put right.

`.dvc/tmp/rwlock` is written in place: cut short, it blocks every command of DVC. The databases in DVC's site cache are
only a memory of hashes and links, which DVC makes again.
"""

import json
import logging
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import suppress
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


def repair(root: Path, error: BaseException) -> bool:
    """Remove what opening a DVC repository, or an operation of it, failed on, if that is a broken note.

    Args:
        root: The folder that holds `.dvc`.
        error: How it failed.

    Returns:
        Whether it is worth to open the repository afresh and do the operation again.
    """
    from dvc.rwlock import RWLockFileCorruptedError, RWLockFileFormatError

    for cause in _causes(error):
        if isinstance(cause, (RWLockFileCorruptedError, RWLockFileFormatError)):
            _remove_rwlock(_half_open(root))
            return True
        if isinstance(cause, sqlite3.DatabaseError) and getattr(cause, "sqlite_errorcode", None) in _CORRUPT:
            _remove_databases(_half_open(root))
            return True
    return False


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _half_open(root: Path) -> "Repo":
    """The repository with its configuration and its lock; its databases are opened after those, and may be broken."""
    from dvc.repo import Repo

    repo = Repo.__new__(Repo)
    with suppress(sqlite3.DatabaseError):
        Repo.__init__(repo, str(root))
        repo.close()
    return repo


def _remove_rwlock(repo: "Repo") -> None:
    from dvc.lock import make_lock
    from dvc.rwlock import RWLOCK_FILE, RWLOCK_LOCK, SCHEMA, Invalid

    path, folder = Path(str(repo.tmp_dir), RWLOCK_FILE), str(repo.tmp_dir)
    guard = make_lock(str(path.with_name(RWLOCK_LOCK)), folder, hardlink_lock=repo.config["core"]["hardlink_lock"])
    # Both: a process that holds either may be about to write it.
    with repo.lock, guard, suppress(FileNotFoundError):
        try:
            SCHEMA(json.loads(path.read_bytes()))
        except (ValueError, Invalid):
            path.unlink()
            _LOGGER.warning("%s was cut short, as a killed process leaves it, and was removed", path)


def _remove_databases(repo: "Repo") -> None:
    with repo.lock:
        for name in _DATABASES:
            shutil.rmtree(Path(repo.site_cache_dir, name), ignore_errors=True)
    _LOGGER.warning("DVC's memory of hashes in %s was broken and was removed; DVC makes it again", repo.site_cache_dir)
