"""The journal of data commits: a note in DVC's ignored folder, written before anything is changed and then removed.

It holds what was there before, and the commit's id before the branch is moved to it. How far a killed commit
got is then looked up in the work tree and in git, and never taken from the note alone.
"""

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from ftzard.resources.data_folder import DataFolder

_NAME = "ftzard-commit.json"


@dataclass(frozen=True)
class JournalEntry:
    """A data commit under way.

    Attributes:
        message: The commit message.
        started: When it began, in UTC.
        pid: The process.
        pointer: The `.dvc` file before; None where there was none.
        ignore_size: Bytes of the `.gitignore` beside it before; None where there was none.
        ignore_sha256: Its hash; empty where there was none.
        git_remote: The git remote that is to get the commit.
        ref: What is moved, once there is a commit.
        commit_id: The commit, from before the branch is moved to it.
        data_hash: DVC's hash of the folder, once it is in the cache and the `.dvc` file.
    """

    message: str
    started: str
    pid: int
    pointer: str | None
    ignore_size: int | None
    ignore_sha256: str
    git_remote: str | None
    ref: str | None = None
    commit_id: str | None = None
    data_hash: str | None = None

    @classmethod
    def of(cls, folder: DataFolder, message: str, git_remote: str | None) -> Self:
        """The entry for a commit that begins now."""
        pointer, ignored = (_content(folder.on_disk(name)) for name in (folder.pointer, folder.ignore_file))
        return cls(
            message=message,
            started=datetime.now(UTC).isoformat(timespec="seconds"),
            pid=os.getpid(),
            pointer=None if pointer is None else os.fsdecode(pointer),
            ignore_size=None if ignored is None else len(ignored),
            ignore_sha256="" if ignored is None else hashlib.sha256(ignored).hexdigest(),
            git_remote=git_remote,
        )

    @property
    def pointer_before(self) -> bytes | None:
        """The `.dvc` file's bytes before."""
        return None if self.pointer is None else os.fsencode(self.pointer)

    @property
    def subject(self) -> str:
        """The first line of the message."""
        return self.message.partition("\n")[0]

    def has_ignored(self, content: bytes | None) -> bool:
        """Whether this was the `.gitignore` before."""
        if content is None or self.ignore_size is None:
            return content is None and self.ignore_size is None
        return hashlib.sha256(content).hexdigest() == self.ignore_sha256


@dataclass(frozen=True)
class CommitJournal:
    """The journal of one project; whoever uses it holds the project's lock.

    Attributes:
        folder: DVC's own folder for what git ignores, `.dvc/tmp`.
    """

    folder: Path

    @property
    def path(self) -> Path:
        """The note."""
        return self.folder / _NAME

    def read(self) -> JournalEntry | None:
        """The commit that was under way; None where there is no note, or none that can be read."""
        try:
            entry = JournalEntry(**json.loads(self.path.read_bytes()))
            datetime.fromisoformat(entry.started)
        except (FileNotFoundError, ValueError, TypeError, AttributeError):
            return None
        return entry

    def write(self, entry: JournalEntry) -> None:
        """Put a note in its place, whole and on the disk."""
        new = self.path.with_suffix(".new")
        with new.open("w", encoding="utf-8") as file:
            json.dump(asdict(entry), file, indent=2)
            file.flush()
            os.fsync(file.fileno())
        new.replace(self.path)

    def remove(self) -> None:
        """The commit is done, or undone."""
        self.path.unlink(missing_ok=True)


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None
