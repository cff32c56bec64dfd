"""Files of the data folder written and removed together with the data commit that says so: all of it or nothing.

What is to happen is written down first. A call that fails takes back what it did; one that was killed is finished by
the next, which finds the note.
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ftzard.core.annotation_store import write_whole
from ftzard.core.disk_failures import disk_failures_explained
from ftzard.errors import StorageError
from ftzard.resources.data_commit import DataCommit
from ftzard.resources.versioning import DvcRepository

_NOTE: Final = ".ftzard/file-changes.json"
# Where files are until the commit is made.
_ASIDE: Final = ".ftzard/file-changes"


@dataclass(frozen=True)
class FileChanges:
    """What becomes of which files.

    Attributes:
        written: POSIX path relative to the project folder -> what it shall hold.
        removed: Paths likewise.
        message: Of the data commit.
    """

    written: Mapping[str, str]
    removed: tuple[str, ...]
    message: str


def commit_file_changes(repository: DvcRepository, changes: FileChanges) -> DataCommit:
    """Write and remove files, and commit the data folder.

    The caller sees to it that nobody else does so at the same time.

    Raises:
        FtzardError: As `DvcRepository.commit` and `write_whole`; every file is as it was.
    """
    project, head = repository.project_dir, repository.head()
    with disk_failures_explained():
        # A rest of what was finished.
        shutil.rmtree(project / _ASIDE, ignore_errors=True)
        note = {"written": dict(changes.written), "removed": list(changes.removed), "message": changes.message}
        write_whole(project / _NOTE, json.dumps(note, ensure_ascii=False).encode(), replace=True)
        try:
            _apply(project, changes)
            done = repository.commit(changes.message)
        except BaseException:
            # Where the branch has moved on, what it holds now stands; the note says what is still to do.
            if repository.head() == head:
                _take_back(project, changes)
                _clear(project)
            raise
        _clear(project)
    return done


def finish_file_changes(repository: DvcRepository) -> DataCommit | None:
    """Finish what a killed process began; None where there is nothing to finish.

    Raises:
        StorageError: The note is damaged.
        FtzardError: As `DvcRepository.commit`.
    """
    project = repository.project_dir
    note = project / _NOTE
    if not note.exists():
        return None
    try:
        fields = json.loads(note.read_text(encoding="utf-8"))
        changes = FileChanges(fields["written"], tuple(fields["removed"]), fields["message"])
    except (ValueError, LookupError, TypeError) as error:
        raise StorageError(
            f"{note} is no note of changes that were begun: {error}",
            fix="look with `dvc status` what has changed in the data, bring it back with `dvc checkout`, and delete it",
        ) from error
    with disk_failures_explained():
        _apply(project, changes)
        done = repository.commit(changes.message)
        _clear(project)
    return done


def _apply(project: Path, changes: FileChanges) -> None:
    """Again and again with the same outcome; what is replaced is kept aside."""
    for name, text in changes.written.items():
        if (project / name).exists() and not (project / _ASIDE / name).exists():
            _aside(project, name)
        write_whole(project / name, text.encode(), replace=True)
    for name in changes.removed:
        if (project / name).exists():
            _aside(project, name)


def _aside(project: Path, name: str) -> None:
    target = project / _ASIDE / name
    target.parent.mkdir(parents=True, exist_ok=True)
    (project / name).rename(target)


def _take_back(project: Path, changes: FileChanges) -> None:
    for name in changes.written:
        (project / name).unlink(missing_ok=True)
    for name in (*changes.written, *changes.removed):
        if (project / _ASIDE / name).exists():
            (project / _ASIDE / name).rename(project / name)


def _clear(project: Path) -> None:
    """The note last: while it is there, what lies aside is known."""
    shutil.rmtree(project / _ASIDE, ignore_errors=True)
    (project / _NOTE).unlink(missing_ok=True)
