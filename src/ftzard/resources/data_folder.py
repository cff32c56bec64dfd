"""The project's data folder: where it is, what must hold before it is committed, and what a commit changes."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ftzard.core.batch_folder import is_cached_object, is_hidden
from ftzard.errors import DataCommitError, NotADvcRepositoryError
from ftzard.resources.data_commit import Edit
from ftzard.resources.git import Git


@dataclass(frozen=True)
class DataFolder:
    """Where things are.

    Attributes:
        git: The git repository.
        dvc_root: The folder that holds `.dvc`.
        data: The data folder, relative to git's top level.
    """

    git: Git
    dvc_root: Path
    data: PurePosixPath

    @property
    def pointer(self) -> str:
        """The `.dvc` file that stands for the data folder in git."""
        return str(self.data.with_name(f"{self.data.name}.dvc"))

    @property
    def ignore_file(self) -> str:
        """The `.gitignore` in which DVC keeps the data folder out of git."""
        return str(self.data.with_name(".gitignore"))

    @property
    def private(self) -> Path:
        """DVC's folder for what git ignores, where FTzard keeps its lock and its notes."""
        return self.dvc_root / ".dvc" / "tmp"

    def on_disk(self, path: str | PurePosixPath) -> Path:
        """A path from the top level as a path on disk."""
        return self.git.top_level / path


def find_dvc_root(folder: Path, top_level: Path) -> Path:
    """The folder that holds `.dvc`: the project folder or one above it, up to git's top level.

    Raises:
        NotADvcRepositoryError: There is none.
    """
    for candidate in (folder, *folder.parents):
        if (candidate / ".dvc").is_dir():
            return candidate
        if candidate == top_level:
            break
    option = "" if folder == top_level else " --subdir"
    raise NotADvcRepositoryError(
        f"the project folder {folder} is not a DVC repository", fix=f"run `dvc init{option}` in {folder}"
    )


def require_data(folder: DataFolder) -> None:
    """Refuse a data folder that holds no file, or something that is none.

    DVC would wait for a pipe for ever, and store and push what a link leads to, whatever that is.

    Raises:
        DataCommitError: It is missing or empty; or holds a pipe, a socket, a device, or a link to nothing, out of the
            repository or to what is hidden there.
    """
    path = folder.on_disk(folder.data)
    if not path.is_dir():
        raise DataCommitError(f"the data folder {path} does not exist", fix="put data there, or set its name right")
    if not any(files for _, _, files in os.walk(path)):
        raise DataCommitError(f"the data folder {path} holds no files", fix="put data there, then run again")
    for odd, what in _not_data(path, (folder.git.top_level.resolve(), path.resolve())):
        raise DataCommitError(
            f"{str(odd)!r} in the data folder is {what}",
            fix="move it out of the data folder; what it stands for can be copied there as a file",
        )


def require_merged(folder: DataFolder) -> None:
    """Refuse a merge conflict, which only the person can resolve.

    Raises:
        DataCommitError: FTzard's files are in one.
    """
    unmerged = folder.git.run("ls-files", "--unmerged", "--", folder.pointer, folder.ignore_file)
    if unmerged:
        raise DataCommitError(
            f"a merge left {folder.pointer} or {folder.ignore_file} in conflict",
            fix=f"of {folder.pointer} keep one side whole (`git checkout --ours` or `--theirs`), `git add` it, end "
            "the merge and run `dvc pull`, or without a remote `dvc checkout`; `ftzard checkout COMMIT --to FOLDER` "
            "writes the other side's files to a folder, from which to copy the batches that "
            f"{folder.data} lacks; then run again",
        )


def require_unambiguous(folder: DataFolder) -> None:
    """Refuse what only the person can resolve.

    Raises:
        DataCommitError: FTzard's files are in a merge conflict, or `.gitignore` is a link.
    """
    require_merged(folder)
    if folder.on_disk(folder.ignore_file).is_symlink():
        raise DataCommitError(
            f"{folder.ignore_file} is a symbolic link, which git does not read and DVC would write through",
            fix="replace it by a file of its own",
        )


def commit_changes(folder: DataFolder) -> dict[str, Edit]:
    """What a data commit changes, by path: the `.dvc` file, and `.gitignore` where it needs the folder's line."""
    pointer = folder.on_disk(folder.pointer).read_bytes()
    edits: dict[str, Edit] = {folder.pointer: lambda _: pointer}
    ignore = _ignore_edit(folder)
    return edits if ignore is None else {**edits, folder.ignore_file: ignore}


def ignore_line(folder: DataFolder) -> bytes:
    """The line that DVC writes to `.gitignore`."""
    return os.fsencode("/" + re.sub(r"[\[\]!*#?]", r"\\\g<0>", folder.data.name))


def _ignore_edit(folder: DataFolder) -> Edit | None:
    """Add the data folder to a version of `.gitignore` that lacks it; None where another file ignores it.

    The work tree's file says by now what ignores the folder: DVC's line, which may be new, or a pattern of the person,
    which may be uncommitted. A version with either is left as it is.
    """
    source, pattern = folder.git.ignoring_pattern(str(folder.data))
    if source != folder.ignore_file or pattern.startswith(b"!"):
        return None
    line = ignore_line(folder)

    def add_line(content: bytes | None) -> bytes | None:
        content = content or b""
        if not {line, pattern}.isdisjoint(content.splitlines()):
            return None
        separator = b"" if not content or content.endswith(b"\n") else b"\n"
        return content + separator + line + b"\n"

    return add_line


def _not_data(folder: Path, inside: tuple[Path, Path]) -> Iterator[tuple[Path, str]]:
    """What below a folder cannot be committed, and what it is."""
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            path = Path(entry.path)
            if entry.is_symlink():
                if what := _wrong_link(path, inside):
                    yield path, what
            elif entry.is_dir():
                yield from _not_data(path, inside)
            elif not entry.is_file():
                yield path, "a pipe, a socket or a device"


def _wrong_link(path: Path, inside: tuple[Path, Path]) -> str | None:
    """What is wrong with a link, by the repository's top level and the data folder; one into DVC's cache is DVC's."""
    try:
        target = path.resolve(strict=True)
    except (OSError, RuntimeError):
        return "a link that leads nowhere"
    top_level, data = inside
    if not target.is_relative_to(data) and not is_cached_object(target):
        if not target.is_relative_to(top_level):
            return "a link that leads out of the repository"
        # Such as `.env` and `.git/config`, which git does not keep for good reasons.
        if is_hidden(target, top_level):
            return "a link to what is hidden in the repository"
    return None if target.is_file() or target.is_dir() else "a link to a pipe, a socket or a device"
