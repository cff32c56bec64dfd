"""Which batch files are the newest, which is what people mean by a batch that has just come."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from ftzard.config import DataConfig
from ftzard.core.batch_folder import list_batches
from ftzard.core.file_digests import sha256_of
from ftzard.errors import NoBatchesError


def newest_first(project_dir: Path, config: DataConfig) -> tuple[str, ...]:
    """The batch files in the project's data folders, by the time that they were last written, then by name.

    A checkout may give all files one time: then their names alone decide, the last one first.

    Returns:
        POSIX paths relative to the project folder; none where there is no file.

    Raises:
        FtzardError: A folder cannot be read, or a file's name.
    """
    try:
        paths = list_batches(project_dir, config)
    except NoBatchesError:
        return ()
    times = {path.relative_to(project_dir).as_posix(): _changed_at(path) for path in paths}
    return tuple(sorted(times, key=lambda name: (times[name], name), reverse=True))


def without_copies(project_dir: Path, names: Sequence[str]) -> tuple[str, ...]:
    """The files without those that hold the bytes of one that comes before by name, whose rows count once."""
    by_size: dict[int, list[str]] = {}
    for name in sorted(names):
        with suppress(OSError):
            by_size.setdefault((project_dir / name).stat().st_size, []).append(name)
    copies: set[str] = set()
    for alike in by_size.values():
        seen: set[str] = set()
        for name in alike if len(alike) > 1 else ():
            # One that is gone, or cannot be read, is told where it is read.
            with suppress(OSError):
                digest = sha256_of(project_dir / name)
                if digest in seen:
                    copies.add(name)
                seen.add(digest)
    return tuple(name for name in names if name not in copies)


def _changed_at(path: Path) -> int:
    """In ns since the epoch; 0 for a file that is gone by now."""
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0
