"""Where a data commit goes: a branch, a detached HEAD, or, while the person searches with `git bisect`, beside them.

A rebase detaches HEAD, and a data commit made meanwhile is built upon by `git rebase --continue`. But `--abort`, or
switching to another commit, would leave it on nothing, and git would remove it some day; so each commit on a detached
HEAD is also held by a reference of FTzard's own. A bisection judges the commit that HEAD is at, so its HEAD stays.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ftzard.errors import DataCommitError
from ftzard.resources.git import Git
from ftzard.resources.reference_transaction import ReferenceTransaction, prepared_transaction

DETACHED = "HEAD"
# Not below refs/heads: they are not branches of the person, and no push takes them along.
_KEPT = "refs/ftzard/detached/"
_BISECTION = "refs/ftzard/bisect/"


@dataclass(frozen=True)
class Target:
    """What a data commit moves.

    Attributes:
        ref: The branch's full name, `HEAD` when no branch is checked out, or a reference of FTzard's own.
        tip: The commit it is at; None where it does not exist yet.
        base: The commit that is built on; None before the first one.
        is_checked_out: Whether the person's work tree stands on it.
    """

    ref: str
    tip: str | None
    base: str | None
    is_checked_out: bool


def branch_tip(git: Git, branch: str | None) -> str | None:
    """The commit that the next data commit is built on; None before the first commit.

    Args:
        git: The repository.
        branch: A branch's short name, or None for what is checked out. A branch that does not exist yet begins at HEAD.
    """
    return find_target(git, branch).base


def find_target(git: Git, branch: str | None) -> Target:
    """What a commit to a branch, or to what is checked out, moves.

    Raises:
        DataCommitError: The name is no branch's, or another work tree has the branch checked out.
    """
    current = git.current_branch()
    head = git.commit_at("HEAD")
    if branch is None or f"refs/heads/{branch}" == current:
        if current is None and head is not None and _is_bisecting(git):
            return _beside(git, f"{_BISECTION}{head}", head)
        return Target(current or DETACHED, tip=head, base=head, is_checked_out=True)
    ref = f"refs/heads/{branch}"
    # With a branch called `HEAD`, which `git branch` refuses, too, git no longer knows which one is meant.
    if git.attempt("check-ref-format", ref).code != 0 or branch.startswith("-") or branch == DETACHED:
        raise DataCommitError(
            f"versioning.branch: {branch!r} is not a valid name of a branch", fix="choose one such as `ftzard/data`"
        )
    if f"branch {ref}" in git.run("worktree", "list", "--porcelain").splitlines():
        raise DataCommitError(
            f"versioning.branch: {branch!r} is checked out in another work tree, which a commit would pull away from",
            fix="run FTzard in that work tree, or choose another branch",
        )
    return _beside(git, ref, head)


def _beside(git: Git, ref: str, head: str | None) -> Target:
    tip = git.commit_at(ref)
    return Target(ref, tip=tip, base=tip or head, is_checked_out=False)


def _is_bisecting(git: Git) -> bool:
    return (git.top_level / git.run("rev-parse", "--git-path", "BISECT_START")).is_file()


@contextmanager
def prepared_move(git: Git, target: Target, commit_id: str) -> Iterator[ReferenceTransaction]:
    """Lock a target that is to be moved to another commit, and check that it is still what it was.

    Also that the person has checked out nothing else meanwhile; they cannot, as long as it is locked.
    """
    # As many zeros as an id has digits: there must be no such branch yet.
    changes = [f"update {target.ref} {commit_id} {target.tip or '0' * len(commit_id)}"]
    if target.ref == DETACHED:
        changes += _keeping(git, commit_id)
    with prepared_transaction(git, changes, "commit: ftzard") as transaction:
        if target.is_checked_out and (git.current_branch() or DETACHED) != target.ref:
            transaction.refusal = transaction.refusal or f"{target.ref} is no longer what is checked out"
        yield transaction


def _keeping(git: Git, commit_id: str) -> list[str]:
    """Hold a commit, and let go of those that it holds itself."""
    older = git.run("for-each-ref", f"--merged={commit_id}", "--format=%(refname)", _KEPT).splitlines()
    return [f"update {_KEPT}{commit_id} {commit_id}", *(f"delete {ref}" for ref in older)]


def keep_detached(git: Git, commit_id: str) -> None:
    """Hold a commit that a process killed in between may have left on HEAD alone.

    Raises:
        DataCommitError: git refused.
    """
    git.run("update-ref", f"{_KEPT}{commit_id}", commit_id)


def is_held(git: Git, commit_id: str) -> bool:
    """Whether a branch, HEAD or another reference holds a commit."""
    if git.attempt("merge-base", "--is-ancestor", commit_id, "HEAD").code == 0:
        return True
    result = git.attempt("for-each-ref", "--count=1", f"--contains={commit_id}")
    return result.code == 0 and bool(result.stdout)
