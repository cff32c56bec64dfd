"""The data commits of a project: what each says of itself, and which files its data has."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path

import yaml

from ftzard.config import VersioningConfig
from ftzard.resources.branch_target import branch_tip
from ftzard.resources.data_folder import find_dvc_root
from ftzard.resources.dvc_session import cached_object
from ftzard.resources.git import Git

_FORMAT = "%H%x00%cI%x00%an%x00%s%x00%(trailers:only,unfold)%x1e"


@dataclass(frozen=True)
class LoggedCommit:
    """A commit that changed the data.

    Attributes:
        commit_id: In full.
        at: When it was made.
        author: By whom.
        subject: The first line of its message.
        trailers: What its message ends with, such as `MLflow-Run`.
    """

    commit_id: str
    at: datetime
    author: str
    subject: str
    trailers: Mapping[str, str]


@dataclass(frozen=True)
class Presence:
    """The data commits that have a file: how many, and the ids of the first and of the newest."""

    num_commits: int
    first: str
    newest: str


@dataclass(frozen=True)
class DataLog:
    """The history of one data folder.

    Args:
        project_dir: The project folder.
        config: What is the data folder, and which branch has its commits.
    """

    project_dir: Path
    config: VersioningConfig

    @cached_property
    def commits(self) -> tuple[LoggedCommit, ...]:
        """Every commit of the branch that changed the data, oldest first."""
        tip = branch_tip(self._git, self.config.branch)
        if tip is None:
            return ()
        text = self._git.run("log", "--reverse", f"--format={_FORMAT}", tip, "--", self._pointer)
        return tuple(_logged(record) for record in text.split("\x1e") if record.strip())

    def commit(self, commit_id: str) -> LoggedCommit:
        """What any commit says of itself, also one that did not change the data."""
        text = self._git.run("log", "--max-count=1", f"--format={_FORMAT}", commit_id)
        return _logged(text.partition("\x1e")[0])

    def data_hash(self, commit_id: str) -> str | None:
        """DVC's hash of the data that a commit holds; None where it holds none."""
        result = self._git.attempt("cat-file", "blob", f"{commit_id}:{self._pointer}")
        return _hash(result.stdout) if result.code == 0 else None

    def files(self, commit_id: str) -> Mapping[str, str] | None:
        """Path relative to the project -> MD5 of each data file of a commit; None where DVC's cache lacks the list."""
        data_hash = self.data_hash(commit_id)
        try:
            entries = json.loads(cached_object(self._dvc_root, data_hash or "").read_bytes())
            return {f"{self.config.data_dir}/{entry['relpath']}": str(entry["md5"]) for entry in entries}
        except (OSError, ValueError, LookupError, TypeError):
            return None

    def is_unlisted(self, commit_id: str) -> bool:
        """Whether a commit holds data whose list of files is not in the cache."""
        return self.data_hash(commit_id) is not None and self.files(commit_id) is None

    @property
    def presence(self) -> Mapping[str, Presence]:
        """Path -> the commits that have it, as far as the cache has their lists of files."""
        return self._walked[0]

    @property
    def num_unlisted(self) -> int:
        """Commits whose list of files is not in the cache."""
        return self._walked[1]

    @cached_property
    def _walked(self) -> tuple[dict[str, Presence], int]:
        found: dict[str, Presence] = {}
        num_unlisted = 0
        for commit in self.commits:
            files = self.files(commit.commit_id)
            num_unlisted += files is None
            for path in files or ():
                before = found.get(path, Presence(0, commit.commit_id, ""))
                found[path] = Presence(before.num_commits + 1, before.first, commit.commit_id)
        return found, num_unlisted

    @cached_property
    def _git(self) -> Git:
        return Git.find(self.project_dir)

    @cached_property
    def _dvc_root(self) -> Path:
        return find_dvc_root(self.project_dir.resolve(), self._git.top_level)

    @property
    def _pointer(self) -> str:
        folder = self.project_dir.resolve() / self.config.data_dir
        return f"{folder.relative_to(self._git.top_level).as_posix()}.dvc"


def _logged(record: str) -> LoggedCommit:
    commit_id, at, author, subject, trailers = record.strip("\n").split("\0")
    pairs = (line.partition(": ") for line in trailers.splitlines())
    known = {key: value for key, _, value in pairs if key}
    return LoggedCommit(commit_id, datetime.fromisoformat(at), author, subject, known)


def _hash(pointer: bytes) -> str | None:
    try:
        return str(yaml.safe_load(pointer)["outs"][0]["md5"])
    except (yaml.YAMLError, LookupError, TypeError):
        return None
