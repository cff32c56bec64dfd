"""Which files of the data folders are batches; what is left out is told."""

import logging
import os
import re
from collections.abc import Collection, Iterable, Iterator
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Final, NoReturn

from ftzard.config import DataConfig
from ftzard.core.batch_names import KNOWN_SUFFIXES, check_name, is_passed_over, kind_of, printable, remedy_for
from ftzard.errors import NoBatchesError, StorageError

_logger = logging.getLogger(__name__)

_NUM_OTHERS_SHOWN: Final = 5
# DVC's cache has a place of its own, or anywhere.
_CACHED_OBJECT: Final = re.compile(r"/\.dvc/cache/|/files/md5/[0-9a-f]{2}/[0-9a-f]{30}(?:\.dir)?$")


def list_batches(project_dir: Path, config: DataConfig) -> tuple[Path, ...]:
    """Find the batch files in the raw and the labelled folder and in the folders below them.

    Hidden and temporary files and folders are passed over. Links are followed to files inside the project folder that
    are not hidden, and to DVC's cache, as which it can place data; others are passed over with a warning, as are pipes,
    sockets and devices.

    Args:
        project_dir: The project folder.
        config: Names the folders; either may be missing.

    Returns:
        Paths below `project_dir` of files of a known kind, sorted by POSIX relative path.

    Raises:
        NoBatchesError: There is none.
        MalformedBatchError: A file's name is not valid UTF-8.
        StorageError: A folder cannot be read.
    """
    folders = (config.raw_dir, config.labelled_dir)
    found = {
        path.relative_to(project_dir).as_posix(): path for name in folders for path in files_below(project_dir, name)
    }
    batches = sorted(name for name in found if kind_of(name))
    if not batches:
        beside = f"; what is there: {_listed(found)}" if found else ""
        raise NoBatchesError(
            f"no batch of labelled text in {' or '.join(folders)} (of {project_dir}){beside}",
            fix=f"{_committed(project_dir, folders)}put a file there that ends in {KNOWN_SUFFIXES}, "
            "or set data.raw_dir",
        )
    _tell_of_others(project_dir, found.keys() - {*batches})
    for name in batches:
        check_name(name)
    return tuple(found[name] for name in batches)


def _tell_of_others(project_dir: Path, names: Collection[str]) -> None:
    """Say which files are of a kind that is not read, in as many messages as there are remedies."""
    for remedy in sorted({remedy_for(name) for name in names}):
        found = [name for name in names if remedy_for(name) == remedy]
        _tell_once(
            f"passed over in {printable(str(project_dir))}, of a kind that is not read: {_listed(found)}; {remedy}"
        )


def _listed(names: Collection[str]) -> str:
    more = f" and {len(names) - _NUM_OTHERS_SHOWN} more" if len(names) > _NUM_OTHERS_SHOWN else ""
    return f"{', '.join(map(printable, sorted(names)[:_NUM_OTHERS_SHOWN]))}{more}"


def files_below(project_dir: Path, folder: str) -> Iterator[Path]:
    """Yield the files below a folder of the project that are neither hidden, temporary nor outside of the project."""
    top = project_dir / folder
    if not top.exists() or not _is_inside(top, project_dir):
        return
    for parent, folder_names, file_names in os.walk(top, onerror=_raise_storage_error):
        folder_names[:] = [name for name in folder_names if not is_passed_over(name)]
        for name in folder_names:
            path = Path(parent) / name
            if path.is_symlink():
                _tell_once(f"passed over {printable(str(path))}: links to folders are not followed")
            elif kind_of(name):
                # As programs for big data write one table; a person may have meant a file.
                _tell_once(f"{printable(str(path))} is a folder: the files in it are read, each by its own name")
        for name in file_names:
            path = Path(parent) / name
            if not is_passed_over(name) and _is_inside(path, project_dir) and _is_regular(path):
                yield path


def _committed(project_dir: Path, folders: Iterable[str]) -> str:
    """What to do first where DVC knows of data and it is not there, as in a new clone or another work tree of git."""
    parents = {parent for folder in folders for parent in PurePosixPath(folder).parents if parent.name}
    pointers = sorted(f"{parent}.dvc" for parent in parents if not (project_dir / parent).exists())
    found = next((pointer for pointer in pointers if (project_dir / pointer).is_file()), None)
    return f"get the data that {found} stands for, with `dvc pull`; else " if found else ""


def is_below(name: str, folder: str) -> bool:
    """Whether a file lies in a folder or below it, both relative to the project folder."""
    return PurePosixPath(name).is_relative_to(PurePosixPath(folder))


def is_cached_object(target: Path) -> bool:
    """Whether a file lies in a cache of DVC, wherever that is, so that a link to it was made by DVC."""
    return bool(_CACHED_OBJECT.search(target.as_posix()))


def is_hidden(target: Path, top: Path) -> bool:
    """Whether a file below `top` is hidden, or in a hidden folder: settings and secrets are (`.env`, `.git/config`)."""
    return any(part.startswith(".") for part in target.relative_to(top).parts)


def _is_inside(path: Path, project_dir: Path) -> bool:
    top = project_dir.resolve()
    # Strict, so that a link to nothing and a ring of links are told as well.
    try:
        target = path.resolve(strict=True)
        is_inside = target.is_relative_to(top)
    except (OSError, RuntimeError):
        is_inside = False
    if is_inside and path.is_symlink() and is_hidden(target, top) and not is_cached_object(target):
        _tell_once(f"passed over {printable(str(path))}: it is a link to what is hidden in the project folder")
        return False
    if not is_inside:
        _tell_once(f"passed over {printable(str(path))}: it is a link that leads out of the project folder or nowhere")
    return is_inside


def _is_regular(path: Path) -> bool:
    if path.is_file():
        return True
    if path.exists():
        _tell_once(f"passed over {printable(str(path))}: it is a pipe, a socket or a device, not a file")
    return False


@lru_cache(maxsize=1000)
def _tell_once(message: str) -> None:
    """The folders are looked at several times in a run, and every few seconds by a sensor."""
    _logger.warning(message)


def _raise_storage_error(error: OSError) -> NoReturn:
    raise StorageError(
        f"the folder {printable(str(error.filename))} cannot be read: {error.strerror}", fix="look at its permissions"
    ) from error
