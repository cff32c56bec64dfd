"""The project's data folder under DVC, and its commits to git."""

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import filelock
import yaml

from ftzard.config import VersioningConfig
from ftzard.core.disk_failures import disk_failures_explained
from ftzard.errors import DataCommitError, FtzardError, NotADvcRepositoryError, PushError, StorageError
from ftzard.resources.credentials import refuse_secret_in_dvc_remote, refuse_secret_in_git_remote
from ftzard.resources.data_commit import DataCommit, Edit, branch_tip, commit_edits, push_branch
from ftzard.resources.data_push import push_data
from ftzard.resources.dvc_session import cached_object, open_dvc, remove_broken_listing, retry_while_locked
from ftzard.resources.git import Git, redact
from ftzard.resources.stored_files import changed_files

_LOGGER = logging.getLogger(__name__)
_LOCK_NOTICE_S = 10.0


@dataclass(frozen=True)
class _Project:
    """Where things are: the git repository, the DVC repository in it, and the data folder from git's top level."""

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

    def on_disk(self, path: str | PurePosixPath) -> Path:
        """A path from the top level as a path on disk."""
        return self.git.top_level / path


@dataclass(frozen=True)
class DvcRepository:
    """The data folder of a project: hashed and cached by DVC as a whole, committed to git.

    Attributes:
        project_dir: The project folder; the git and the DVC repository may begin at it or above it.
        config: What is the data folder, which branch gets the commits, and what is pushed.
    """

    project_dir: Path
    config: VersioningConfig

    def check(self) -> None:
        """Look whether data can be committed here at all.

        Raises:
            NotAGitRepositoryError: git is missing, or the project is not in a git repository.
            NotADvcRepositoryError: The git repository has no DVC.
            DataCommitError: git refuses to work in the repository, or the configured branch or folder is impossible.
        """
        project = self._find()
        branch_tip(project.git, self.config.branch)

    def head(self) -> str | None:
        """The commit the next data commit is built on (40 hexadecimal digits); None before the first commit."""
        return branch_tip(Git.find(self.project_dir), self.config.branch)

    def data_hash(self) -> str | None:
        """DVC's MD5 of the data folder as its `.dvc` file in the work tree has it; None where there is none yet.

        Raises:
            DataCommitError: The file is not one that `dvc add` wrote.
        """
        return _read_hash(self._find())

    def require_committed(self, path: Path) -> None:
        """Refuse files that are not what the `.dvc` file in the work tree stands for; new ones are let through.

        Args:
            path: A file or folder in the data folder.

        Raises:
            StorageError: A file was damaged or changed, or the data is that of another commit.
        """
        data = self.project_dir / self.config.data_dir
        if not data.with_name(f"{data.name}.dvc").is_file():
            return
        project = self._find()
        listing = cached_object(project.dvc_root, _read_hash(project) or "")
        if changed := changed_files(path.resolve(), project.on_disk(project.data).resolve(), listing):
            raise StorageError(
                f"{changed[0]} is not what {project.pointer} says was committed",
                fix="bring the committed data back with `dvc checkout`, or materialize the asset that it belongs to",
            )

    def commit(self, message: str) -> DataCommit:
        """Hash and cache the data folder, push it, and commit its hash; other files stay as the person has them.

        Processes that commit at the same time wait for each other. The order is cache, push, commit, so a commit that
        can be seen can be restored. Where the data is as the branch has it no commit is made, but what an earlier,
        interrupted call left undone (pushes, index entries) is done.

        Args:
            message: The commit message.

        Raises:
            NotAGitRepositoryError, NotADvcRepositoryError: As in `check`.
            DataCommitError: There is no data, or DVC or git refused; the data on disk is untouched.
            SecretExposedError: A remote's URL, or DVC's configuration in git, holds a password or a token.
            PushError: A remote refused. Data is pushed before the commit is made, git after it.
        """
        project = self._find()
        if self.config.git_remote is not None:
            refuse_secret_in_git_remote(project.git, self.config.git_remote)
        with disk_failures_explained(), _only_process(project.dvc_root / ".dvc" / "tmp" / "ftzard.lock"):
            _require_data(project)
            _require_unambiguous(project)
            pushed_data = _add_and_push(project, push=self.config.push_data)
            data_hash = _read_hash(project)
            if data_hash is None:
                raise DataCommitError(f"DVC wrote no {project.pointer}", fix=f"run `dvc add {project.data}` and look")
            commit = commit_edits(project.git, self.config.branch, _edits(project), message)
            if self.config.git_remote is not None:
                push_branch(project.git, self.config.git_remote, commit)
        _LOGGER.info("data %s is %s on %s", data_hash, commit.commit_id[:12], commit.ref)
        return DataCommit(
            commit.commit_id, data_hash, commit.created, pushed_data, pushed_git=self.config.git_remote is not None
        )

    def _find(self) -> _Project:
        git = Git.find(self.project_dir)
        folder = self.project_dir.resolve()
        data = PurePosixPath(folder.relative_to(git.top_level).as_posix()) / self.config.data_dir
        if data.name in {"", ".git", ".dvc"} or folder == git.top_level / data:
            raise DataCommitError(
                f"versioning.data_dir: {self.config.data_dir!r} is not a folder of its own in {folder}",
                fix="name a folder below the project folder, such as `data`",
            )
        return _Project(git, find_dvc_root(folder, git.top_level), data)


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


@contextmanager
def _only_process(path: Path) -> Iterator[None]:
    """Hold the project's lock; the kernel frees it when a process dies, so waiting has no limit but is told."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(path)
        while not lock.is_locked:
            try:
                lock.acquire(timeout=_LOCK_NOTICE_S)
            except filelock.Timeout:
                _LOGGER.info("waiting for the process that commits data and holds %s", path)
    except OSError as error:
        raise DataCommitError(
            f"the lock {path} cannot be taken: {error}", fix="make the project's .dvc folder writable"
        ) from error
    try:
        yield
    finally:
        lock.release()


def _require_data(project: _Project) -> None:
    folder = project.on_disk(project.data)
    if not folder.is_dir():
        raise DataCommitError(f"the data folder {folder} does not exist", fix="put data there, or set its name right")
    if not any(files for _, _, files in os.walk(folder)):
        raise DataCommitError(f"the data folder {folder} holds no files", fix="put data there, then run again")


def _require_unambiguous(project: _Project) -> None:
    unmerged = project.git.run("ls-files", "--unmerged", "--", project.pointer, project.ignore_file)
    if unmerged:
        raise DataCommitError(
            f"a merge left {project.pointer} or {project.ignore_file} in conflict",
            fix="resolve it (`git status` shows how), `git add` the result, then run again",
        )
    if project.on_disk(project.ignore_file).is_symlink():
        raise DataCommitError(
            f"{project.ignore_file} is a symbolic link, which git does not read and DVC would write through",
            fix="replace it by a file of its own",
        )


def _add_and_push(project: _Project, *, push: bool) -> bool:
    """Hash and cache the data folder and push it to DVC's default remote, where there is one and it is wanted.

    In one session, because opening DVC once more would be a fifth of the cost of a commit without a change.
    """
    folder = project.on_disk(project.data)
    complaints: list[str] = []

    def work() -> bool:
        with open_dvc(project.dvc_root, complaints) as repo:
            repo.add(os.fspath(folder))
            if remove_broken_listing(repo, _read_hash(project)):
                repo.add(os.fspath(folder))
            remote = repo.config["core"].get("remote")
            if not push or not remote:
                return False
            committed = repo.config.read("repo").get("remote", {}).get(remote, {})
            refuse_secret_in_dvc_remote(remote, repo.config["remote"][remote], committed)
            _push_data(repo, project, remote, complaints)
            return True

    try:
        return retry_while_locked(work)
    except FtzardError:
        raise
    except Exception as error:
        raise DataCommitError(
            f"DVC could not record the data folder {folder}: {type(error).__name__}: {redact(str(error))}",
            fix=f"resolve what DVC says until `dvc add {project.data}` works; the data on disk is untouched",
        ) from error


def _push_data(repo: Any, project: _Project, remote: str, complaints: list[str]) -> None:
    from dvc.lock import LockError

    try:
        push_data(repo, remote, _read_hash(project) or "", os.fspath(project.on_disk(project.pointer)))
    except LockError:
        raise
    # A remote fails in the ways of its driver: boto's, paramiko's, the system's. The chain is cut, because DVC's own
    # text may show a URL with a password.
    except Exception as error:  # noqa: BLE001 - see above
        said = redact("; ".join([f"{type(error).__name__}: {error}", *complaints]))
        raise PushError(
            f"DVC could not push the data to its remote {remote!r}, so nothing was committed: {said}",
            fix=f"make `dvc push --remote {remote}` work, or set versioning.push_data to false, then run again",
        ) from None


def _read_hash(project: _Project) -> str | None:
    path = project.on_disk(project.pointer)
    if not path.is_file():
        return None
    try:
        return str(yaml.safe_load(path.read_bytes())["outs"][0]["md5"])
    except (OSError, yaml.YAMLError, LookupError, TypeError) as error:
        raise DataCommitError(
            f"{path} is not a file that `dvc add` wrote: {type(error).__name__}: {error}",
            fix=f"restore it (`git checkout -- {project.pointer}`) or delete it, then run again",
        ) from error


def _edits(project: _Project) -> dict[str, Edit]:
    pointer = project.on_disk(project.pointer).read_bytes()
    edits: dict[str, Edit] = {project.pointer: lambda _: pointer}
    ignore = _ignore_edit(project)
    return edits if ignore is None else {**edits, project.ignore_file: ignore}


def _ignore_edit(project: _Project) -> Edit | None:
    """Add the data folder to a version of `.gitignore` that lacks it; None where another file ignores it.

    The work tree's file says by now what ignores the folder: DVC's line, which may be new, or a pattern of the person,
    which may be uncommitted. A version with either is left as it is.
    """
    source, pattern = project.git.ignoring_pattern(str(project.data))
    if source != project.ignore_file or pattern.startswith(b"!"):
        return None
    line = os.fsencode("/" + re.sub(r"[\[\]!*#?]", r"\\\g<0>", project.data.name))

    def add_line(content: bytes | None) -> bytes | None:
        content = content or b""
        if not {line, pattern}.isdisjoint(content.splitlines()):
            return None
        separator = b"" if not content or content.endswith(b"\n") else b"\n"
        return content + separator + line + b"\n"

    return add_line
