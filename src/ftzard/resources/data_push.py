"""Data to DVC's remote, also after a push that was killed."""

import hashlib
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_LOGGER = logging.getLogger(__name__)
_LISTING = re.compile(r"[0-9a-f]{32}\.dir")


def push_data(repo: Any, remote: str, data_hash: str, target: str) -> None:
    """Push a data folder's objects, and first repair what a killed push left.

    Into a remote that is a folder, DVC writes an object's name before its content, and takes an object that is there
    for whole ever after. A note says that a push is under way; where an earlier one did not come to its end, the
    objects that it had to do with are checked, and broken ones pushed again.

    Args:
        repo: An open DVC repository.
        remote: The remote's name.
        data_hash: DVC's hash of the folder.
        target: The folder's `.dvc` file.

    Raises:
        Exception: Whatever DVC and the remote's driver raise.
    """
    note = Path(repo.tmp_dir) / "ftzard-pushing"
    if note.is_file():
        unfinished = note.read_text(encoding="utf-8", errors="replace").strip()
        for name in {data_hash, unfinished}:
            _remove_broken_objects(repo, remote, name)
    note.write_text(data_hash, encoding="utf-8")
    repo.push(targets=[target])
    note.unlink()


def _remove_broken_objects(repo: Any, remote: str, data_hash: str) -> None:
    from dvc_objects.fs.local import LocalFileSystem

    store = repo.cloud.get_remote_odb(remote, "push")
    # Others, such as S3, show an object when it is whole.
    if not _LISTING.fullmatch(data_hash) or not isinstance(store.fs, LocalFileSystem):
        return
    for name in _objects(repo, data_hash):
        path = Path(store.oid_to_path(name))
        if path.is_file() and _md5(path) != name.removesuffix(".dir"):
            _LOGGER.warning("a killed push left %s broken in the remote %s: pushed again", name, remote)
            path.unlink()


def _objects(repo: Any, data_hash: str) -> Iterator[str]:
    """The listing of a folder and the files in it."""
    yield data_hash
    listing = Path(repo.cache.local.oid_to_path(data_hash))
    try:
        yield from (str(entry["md5"]) for entry in json.loads(listing.read_bytes()))
    except (OSError, ValueError):
        # Never committed, or its cache was cleared: nothing names those files.
        return


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
