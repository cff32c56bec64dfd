"""Pushing what the queue holds: each commit's data in order, then the branches, each tried a few times."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from time import sleep
from typing import Any

from ftzard.errors import PushPendingError, RemoteUnavailableError
from ftzard.resources.branch_push import holds_commit, push_branch, require_git_remote
from ftzard.resources.data_push import push_data, push_queued_data
from ftzard.resources.git import Git
from ftzard.resources.push_queue import PushQueue, QueuedBranch

_LOGGER = logging.getLogger(__name__)
_FIRST_PAUSE_S = 0.5


@dataclass(frozen=True)
class PendingPushes:
    """How what is in a queue gets out of it.

    Attributes:
        queue: The queue; whoever pushes holds the project's lock.
        attempts: How often each push is tried.
    """

    queue: PushQueue
    attempts: int

    def push_data(self, repo: Any, remote: str, complaints: list[str], *, present: tuple[str, str] | None) -> int:
        """Push the queued data to a DVC remote, oldest first, and stop at the first that it does not take.

        Args:
            repo: An open DVC repository.
            remote: The remote's name.
            complaints: The errors that the session collects.
            present: The hash and the `.dvc` file of the data folder as it is now, which is pushed last whether it is
                queued or not; None for the queue alone.

        Returns:
            How many data folders the remote has now.

        Raises:
            RemoteUnavailableError: The remote did not take one; it and what follows stays queued.
        """
        if present is not None:
            # Before anything is pushed, and so before the commit: a kill from here on leaves it in the queue.
            self.queue.add_data(present[0])
        queued = self.queue.data()
        for data_hash in queued:
            if present is not None and data_hash == present[0]:
                continue
            self._attempt(partial(push_queued_data, repo, remote, data_hash, complaints))
            self.queue.drop_data(data_hash)
        if present is not None:
            data_hash, target = present
            self._attempt(partial(push_data, repo, remote, data_hash, target, complaints))
            self.queue.drop_data(data_hash)
        return len(queued)

    def push_branches(self, git: Git, remote: str | None = None) -> list[QueuedBranch]:
        """Push the queued branches of a git remote, or of every one; returns those that are pushed.

        Raises:
            PushError, SecretExposedError: As `require_git_remote`.
            PushPendingError: The remote did not take one; it stays queued, and the others were tried.
        """
        pushed, refusals = [], []
        for branch in self.queue.branches():
            if remote not in {None, branch.remote}:
                continue
            if not holds_commit(git, branch):
                _LOGGER.warning(
                    "%s no longer holds the data commit %s, so it was not pushed", branch.ref, branch.commit_id
                )
                self.queue.drop_branch(branch)
                continue
            require_git_remote(git, branch.remote)
            try:
                self._attempt(partial(push_branch, git, branch))
            except PushPendingError as error:
                # The others may still be taken: one that the person has to merge would keep them back for long.
                refusals.append(error)
                continue
            self.queue.drop_branch(branch)
            pushed.append(branch)
        if refusals:
            raise refusals[0]
        return pushed

    def _attempt(self, push: Callable[[], None]) -> None:
        for attempt in range(self.attempts - 1):
            try:
                return push()
            except RemoteUnavailableError as error:
                _LOGGER.info("tried again: %s", error.what)
                sleep(_FIRST_PAUSE_S * 2**attempt)
        return push()
