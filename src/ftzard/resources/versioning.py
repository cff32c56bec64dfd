"""The project's data folder under DVC, and its commits to git."""

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from ftzard.config import VersioningConfig
from ftzard.core.disk_failures import disk_failures_explained
from ftzard.errors import (
    DataCommitError,
    PushError,
    PushPendingError,
    StorageError,
)
from ftzard.resources.arrived_data import note_arrived, require_arrived
from ftzard.resources.branch_push import BRANCHES, require_branch, require_git_remote
from ftzard.resources.branch_target import branch_tip
from ftzard.resources.commit_journal import JournalEntry
from ftzard.resources.data_commit import BranchCommit, DataCommit, commit_edits
from ftzard.resources.data_folder import DataFolder, commit_changes, find_dvc_root, require_data, require_unambiguous
from ftzard.resources.data_pointer import read_hash, read_pointer
from ftzard.resources.data_push import default_remote
from ftzard.resources.dvc_listing import remove_broken_listing
from ftzard.resources.dvc_operation import with_dvc
from ftzard.resources.dvc_session import cached_object
from ftzard.resources.git import Git
from ftzard.resources.interrupted_commit import journalled, mend_pointer, settle
from ftzard.resources.linked_files import drop_edited_objects
from ftzard.resources.pending_pushes import PendingPushes
from ftzard.resources.project_lock import only_process
from ftzard.resources.push_queue import PushQueue, QueuedBranch
from ftzard.resources.stored_files import changed_files, stored_contents

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class PushedPending:
    """What was waiting and is pushed now.

    Attributes:
        num_data: How many commits' data.
        branches: The branches, each with its remote and newest commit.
        recovered: As in `DataCommit`.
    """

    num_data: int
    branches: tuple[QueuedBranch, ...]
    recovered: str | None = None


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
            DataCommitError: git refuses to work in the repository, the configured branch or folder is impossible, or
                git has moved the `.dvc` file and the data did not follow.
        """
        folder = self._find()
        branch_tip(folder.git, self.config.branch)
        self._read_hash(folder)
        require_arrived(folder)

    def head(self) -> str | None:
        """The commit the next data commit is built on (40 hexadecimal digits); None before the first commit."""
        return branch_tip(Git.find(self.project_dir), self.config.branch)

    def data_hash(self) -> str | None:
        """DVC's MD5 of the data folder as its `.dvc` file in the work tree has it; None where there is none yet.

        Raises:
            DataCommitError: The file is not one that `dvc add` wrote.
        """
        return self._read_hash(self._find())

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
        folder = self._find()
        listing = cached_object(folder.dvc_root, self._read_hash(folder) or "")
        # The file itself may be a link to DVC's cache.
        place = path.parent.resolve() / path.name
        if changed := changed_files(place, folder.on_disk(folder.data).resolve(), listing):
            raise StorageError(
                f"{changed[0]} is not what {folder.pointer} says was committed",
                # Of this file alone: of everything it would remove the batches that are not committed yet.
                fix=f"bring it back with `dvc checkout --force {os.path.relpath(changed[0], folder.dvc_root)}` in "
                f"{folder.dvc_root}, or materialize the asset that it belongs to",
            )

    def stored_contents(self, path: Path, data_hash: str | None = None) -> dict[str, str]:
        """What stands for the content of each file and folder that lies directly in one, by its name without ending.

        Args:
            path: A folder in the data folder.
            data_hash: As in `DataCommit`; None: the data that the `.dvc` file in the work tree stands for.

        Returns:
            Empty where DVC's cache does not know that data.
        """
        folder = self._find()
        listing = cached_object(folder.dvc_root, data_hash or self._read_hash(folder) or "")
        inside = path.resolve().relative_to(folder.on_disk(folder.data).resolve())
        return stored_contents(listing, PurePosixPath(inside.as_posix()))

    def commit(self, message: str, record: Callable[[DataCommit], object] | None = None) -> DataCommit:
        """Hash and cache the data folder, push it, and commit its hash; other files stay as the person has them.

        Processes that commit at the same time wait for each other. The order is cache, push, commit, so a commit that
        can be seen can be restored. Where the data is as the branch has it no commit is made, but what an earlier call
        left undone (pushes, index entries) is done. A remote that is down does not stop a commit: what it did not take
        is queued, told in `DataCommit.pending`, and pushed by the next commit or `push_pending`.

        A journal is kept from before the first change until the commit is recorded. What a killed call left is finished
        or undone by the next, and told in `DataCommit.recovered`.

        Args:
            message: The commit message.
            record: Writes down elsewhere that the commit was made; until it returns the commit counts as under way.

        Raises:
            NotAGitRepositoryError, NotADvcRepositoryError: As in `check`.
            DataCommitError: There is no data, or DVC or git refused; the data on disk is untouched.
            SecretExposedError: A remote's URL, or DVC's configuration in git, holds a password or a token.
            PushError: A remote that is configured does not exist, or DVC cannot use it; nothing was committed.
        """
        folder = self._find()
        if self.config.git_remote is not None:
            require_git_remote(folder.git, self.config.git_remote)
        with disk_failures_explained(), only_process(folder.private):
            require_data(folder)
            require_unambiguous(folder)
            recovered = settle(folder, self.config.branch)
            # Once more: a person may have pulled during the step that made this.
            require_arrived(folder)
            with journalled(folder, JournalEntry.of(folder, message, self.config.git_remote)) as note:
                commit = self._commit(folder, message, note)
                found = [text for text in (recovered, commit.recovered) if text is not None]
                commit = replace(commit, recovered="; ".join(found) or None)
                note_arrived(folder, commit.data_hash)
                if record is not None:
                    record(commit)
        return commit

    def _commit(self, folder: DataFolder, message: str, note: Callable[..., None]) -> DataCommit:
        before = read_pointer(folder)
        pushed_data, pending, edited = self._add_and_push(folder)
        data_hash = read_hash(folder)
        if data_hash is None:
            raise DataCommitError(f"DVC wrote no {folder.pointer}", fix=f"run `dvc add {folder.data}` and look")
        if read_pointer(folder) != before:
            note(data_hash=data_hash)
        commit = commit_edits(
            folder.git,
            self.config.branch,
            commit_changes(folder),
            message,
            announce=lambda ref, commit_id: note(data_hash=data_hash, ref=ref, commit_id=commit_id),
        )
        pushed_git, pending = self._push_branch(folder, commit, pending)
        _LOGGER.info("data %s is %s on %s", data_hash, commit.commit_id[:12], commit.ref)
        if pending is not None:
            _LOGGER.warning("the data commit %s is not pushed: %s", commit.commit_id, pending)
        return DataCommit(commit.commit_id, data_hash, commit.created, pushed_data, pushed_git, pending, edited)

    def push_pending(self) -> PushedPending:
        """Push what earlier commits could not: their data in order, then their branches.

        A commit that was killed is finished or undone first, as in `commit`.

        Raises:
            NotAGitRepositoryError, NotADvcRepositoryError, SecretExposedError: As in `commit`.
            PushError: A remote is not there any more.
            PushPendingError: A remote still does not take it; it stays queued.
        """
        folder = self._find()
        pushes = self._pushes(folder)
        with disk_failures_explained(), only_process(folder.private):
            recovered = settle(folder, self.config.branch)
            num_data = 0
            if pushes.queue.data():
                num_data = with_dvc(folder, lambda repo, complaints: _push_queued(pushes, repo, complaints))
            return PushedPending(num_data, tuple(pushes.push_branches(folder.git)), recovered)

    def _pushes(self, folder: DataFolder) -> PendingPushes:
        return PendingPushes(PushQueue(folder.private), self.config.push_attempts)

    def _add_and_push(self, folder: DataFolder) -> tuple[bool, str | None, str | None]:
        """Hash and cache the data folder and push it to DVC's default remote, where there is one and it is wanted.

        In one session, because opening DVC once more would be a fifth of the cost of a commit without a change.

        Returns:
            Whether the remote holds the data, why it does not though it should, and what edits in place had broken.
        """
        data = folder.on_disk(folder.data)
        edited: list[str] = []

        def work(repo: Any, complaints: list[str]) -> tuple[bool, str | None]:
            remote = default_remote(repo) if self.config.push_data else None
            _let_git_say_what_is_tracked(repo, folder.git)
            edited.extend(drop_edited_objects(repo, data))
            repo.add(os.fspath(data))
            if remove_broken_listing(repo, read_hash(folder)):
                repo.add(os.fspath(data))
            if remote is None:
                return False, None
            present = (read_hash(folder) or "", os.fspath(folder.on_disk(folder.pointer)))
            try:
                self._pushes(folder).push_data(repo, remote, complaints, present=present)
            except PushPendingError as error:
                return False, str(error)
            return True, None

        return *with_dvc(folder, work), "; ".join(edited) or None

    def _push_branch(self, folder: DataFolder, commit: BranchCommit, pending: str | None) -> tuple[bool, str | None]:
        """Queue a branch where it has a remote, and push it unless data is pending, which comes first.

        Returns:
            Whether the remote has the branch's commit, and what is pending by now.
        """
        if self.config.git_remote is None:
            return False, pending
        branch = QueuedBranch(self.config.git_remote, commit.ref, commit.commit_id)
        pushes = self._pushes(folder)
        try:
            require_branch(branch.ref, branch.commit_id, branch.remote)
            pushes.queue.add_branch(branch)
            if pending is None:
                pushes.push_branches(folder.git, branch.remote)
        except PushPendingError as error:
            pending = pending or str(error)
            return branch.ref.startswith(BRANCHES) and branch not in pushes.queue.branches(), pending
        return pending is None, pending

    def _read_hash(self, folder: DataFolder) -> str | None:
        """The `.dvc` file's hash; one that is just being written is waited for, one that a kill cut short is mended."""
        try:
            return read_hash(folder)
        except DataCommitError:
            with disk_failures_explained(), only_process(folder.private):
                if said := mend_pointer(folder, self.config.branch):
                    _LOGGER.warning("%s", said)
            return read_hash(folder)

    def _find(self) -> DataFolder:
        git = Git.find(self.project_dir)
        folder = self.project_dir.resolve()
        data = PurePosixPath(folder.relative_to(git.top_level).as_posix()) / self.config.data_dir
        if data.name in {"", ".git", ".dvc"} or folder == git.top_level / data:
            raise DataCommitError(
                f"versioning.data_dir: {self.config.data_dir!r} is not a folder of its own in {folder}",
                fix="name a folder below the project folder, such as `data`",
            )
        return DataFolder(git, find_dvc_root(folder, git.top_level), data)


def _let_git_say_what_is_tracked(repo: Any, git: Git) -> None:
    """DVC refuses what git tracks, and would look into an index that it cannot read where it is split or sparse."""

    def is_tracked(path: str) -> bool:
        # The folder itself may be a link to elsewhere.
        place = Path(path).parent.resolve() / Path(path).name
        return bool(git.run("ls-files", "--", os.path.relpath(place, git.top_level)))

    repo.scm.is_tracked = is_tracked


def _push_queued(pushes: PendingPushes, repo: Any, complaints: list[str]) -> int:
    remote = default_remote(repo)
    if remote is None:
        raise PushError(
            "DVC has no default remote any more, and data is waiting for one",
            fix="make one with `dvc remote add --default NAME URL`",
        )
    return pushes.push_data(repo, remote, complaints, present=None)
