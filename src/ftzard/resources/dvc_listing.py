"""DVC's list of a folder's files: an object like any other, whose name DVC believes without a look at its content.

Broken by a kill or a failing disk it stands for another folder, and what DVC read in it once it remembers.
"""

import hashlib
import logging
from pathlib import Path
from typing import Any

from ftzard.errors import StorageError

_LOGGER = logging.getLogger(__name__)
_MARK = ".dir"


def remove_broken_listing(repo: Any, data_hash: str | None) -> bool:
    """Whether the cache's list of the folder's files was not what its name says, as a kill while it was written leaves.

    DVC writes it in place, and afterwards takes any file of that name for whole.
    """
    path = Path(repo.cache.local.oid_to_path(data_hash))
    if _is_whole(path.read_bytes() if path.is_file() else b"", data_hash):
        return False
    _LOGGER.warning("DVC's list of the data folder's files was broken, as a killed process leaves it: written again")
    path.unlink(missing_ok=True)
    return True


def require_whole_listing(repo: Any, data_hash: str | None) -> None:
    """See that the cache has a folder's list whole, or does not have it: a broken one is replaced by the remote's.

    Args:
        repo: An open repository.
        data_hash: DVC's hash of the folder; nothing is done for that of a file.

    Raises:
        StorageError: The remote's is broken too; neither is then in the cache.
    """
    if data_hash is None or not data_hash.endswith(_MARK):
        return
    path = Path(repo.cache.local.oid_to_path(data_hash))
    if path.is_file():
        if _is_whole(path.read_bytes(), data_hash):
            return
        _LOGGER.warning("%s in DVC's cache was broken, and was removed", path)
        path.unlink()
    if not repo.config["core"].get("remote"):
        return
    remote = repo.cloud.get_remote_odb()
    place = remote.oid_to_path(data_hash)
    if not remote.fs.exists(place):
        return
    with remote.fs.open(place, "rb") as file:
        content = file.read()
    if not _is_whole(content, data_hash):
        raise StorageError(
            f"DVC's list of the data folder's files is broken in the remote: {place}",
            fix="delete that file, and run `dvc push` in a clone whose DVC cache has the data of that commit, or bring "
            "it back from a copy of the remote",
        )
    repo.cache.local.add(place, remote.fs, data_hash)


def _is_whole(content: bytes, data_hash: str | None) -> bool:
    return f"{hashlib.md5(content, usedforsecurity=False).hexdigest()}{_MARK}" == data_hash
