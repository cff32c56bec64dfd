"""Data files that are one with their object in DVC's cache, and what an edit in place does to both.

Where the person has set DVC's `cache.type` to links, a data file and its object share their bytes. DVC makes such files
read-only, which root and `chmod` pass over. The object then no longer is what its name says, and DVC, which takes
read-only objects for whole, would hand it out for the version that was committed (docs/adr/0011).
"""

import logging
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ftzard.core.file_digests import md5_of

_LOGGER = logging.getLogger(__name__)


def drop_edited_objects(repo: Any, data: Path) -> list[str]:
    """Take out of DVC's cache the objects that were edited through a linked data file; the files themselves stay.

    An edit that leaves size and time of change as they were is seen by neither DVC nor this.

    Args:
        repo: An open DVC repository.
        data: The data folder.

    Returns:
        What was found and done, for each file; it is logged too.
    """
    linked: dict[int, list[Path]] = {}
    for path in _linked(data):
        linked.setdefault(path.stat().st_ino, []).append(path)
    objects = _by_inode(Path(repo.cache.local.path)) if linked else {}
    said = []
    for inode, paths in linked.items():
        if (cached := objects.get(inode)) is not None and not _is_whole(repo, cached):
            _part(cached, paths, Path(repo.tmp_dir, "ftzard-linked"))
            said += [_told(path.relative_to(data.parent), cached) for path in paths]
    for text in said:
        _LOGGER.warning("%s", text)
    return said


def _part(cached: Path, paths: list[Path], temporary: Path) -> None:
    """Take an object's name away; a symbolic link to it becomes the file that the person has edited."""
    for path in paths:
        if path.is_symlink():
            temporary.unlink(missing_ok=True)
            temporary.hardlink_to(cached)
            temporary.replace(path)
    cached.unlink()


def _told(path: Path, cached: Path) -> str:
    return (
        f"{path} was edited in place while it was linked to DVC's cache, so its committed version "
        f"{cached.parent.name}{cached.name} is lost here and was taken out of the cache; `dvc fetch --all-commits` "
        "brings it back from a remote that has it"
    )


def _linked(folder: Path) -> Iterator[Path]:
    """The files with more than one name, and the links that lead to one."""
    for parent, _, names in os.walk(folder):
        for name in names:
            path = Path(parent, name)
            status = path.lstat()
            is_link = stat.S_ISLNK(status.st_mode) and path.is_file()
            if is_link or (stat.S_ISREG(status.st_mode) and status.st_nlink > 1):
                yield path


def _by_inode(cache: Path) -> dict[int, Path]:
    folders = [entry.path for entry in os.scandir(cache) if entry.is_dir()] if cache.is_dir() else []
    return {entry.inode(): Path(entry.path) for folder in folders for entry in os.scandir(folder)}


def _is_whole(repo: Any, cached: Path) -> bool:
    from dvc_data.hashfile.hash_info import HashInfo
    from dvc_objects.fs.local import localfs

    name = HashInfo("md5", cached.parent.name + cached.name)
    # DVC's own memory of what a file of this size and time held.
    if repo.state.get(str(cached), localfs)[1] == name:
        return True
    if md5_of(cached) != name.value:
        return False
    repo.state.save(str(cached), localfs, name)
    return True
