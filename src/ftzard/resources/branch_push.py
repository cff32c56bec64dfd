"""A branch to a git remote: never forced, and what is refused is told with the commands that solve it."""

from ftzard.errors import DataCommitError, PushError, PushPendingError, RemoteUnavailableError
from ftzard.resources.credentials import refuse_secret_in_git_remote
from ftzard.resources.git import Git, GitResult
from ftzard.resources.push_queue import QueuedBranch

_PUSH_TIMEOUT_S = 600.0
BRANCHES = "refs/heads/"


def require_git_remote(git: Git, remote: str) -> None:
    """Refuse a remote to which nothing can ever be pushed.

    Raises:
        PushError: The repository has no remote of this name.
        SecretExposedError: Its URL holds a password or a token.
    """
    if remote not in git.run("remote").splitlines():
        raise PushError(
            f"versioning.git_remote names {remote!r}, which is not a remote of {git.top_level}",
            fix=f"add it with `git remote add {remote} URL`, or set versioning.git_remote to one of `git remote`",
        )
    refuse_secret_in_git_remote(git, remote)


def require_branch(ref: str, commit_id: str, remote: str) -> None:
    """Refuse a commit that no branch holds.

    Raises:
        PushPendingError: HEAD is detached.
    """
    if not ref.startswith(BRANCHES):
        raise PushPendingError(
            f"the data commit {commit_id} is on no branch (HEAD is detached), so {remote} cannot take it",
            fix=f"run `git branch NAME {commit_id}`, then `git push {remote} NAME`, or name a branch in "
            "versioning.branch",
        )


def push_branch(git: Git, branch: QueuedBranch) -> None:
    """Push a commit to its branch in a git remote.

    Where the remote has moved on, and the person has merged that into the local branch, the branch is pushed as it is.

    Raises:
        PushPendingError: The remote has commits that are not here.
        RemoteUnavailableError: It did not answer, or did not accept the commit for another reason.
    """
    result = _push(git, branch, branch.commit_id)
    if _is_behind(result):
        tip = git.commit_at(branch.ref)
        if tip is not None and tip != branch.commit_id and holds_commit(git, branch):
            result = _push(git, branch, tip)
    if result.code != 0:
        raise _failure(git, branch, result)


def holds_commit(git: Git, branch: QueuedBranch) -> bool:
    """Whether the local branch still holds the commit; not so where the person has removed it or rewritten it."""
    return git.attempt("merge-base", "--is-ancestor", branch.commit_id, branch.ref).code == 0


def _push(git: Git, branch: QueuedBranch, commit_id: str) -> GitResult:
    # The one commit and its ancestors: tags and other branches are the person's to publish.
    # Not signed, because that would be in the person's name, and their key may ask for its password.
    arguments = ("push", "--quiet", "--no-signed", "--no-follow-tags", branch.remote, f"{commit_id}:{branch.ref}")
    try:
        return git.attempt(*arguments, timeout_s=_PUSH_TIMEOUT_S, runs_hooks=True)
    except DataCommitError as error:
        # Once more would wait as long again.
        raise PushPendingError(error.what, fix=_keeps_trying(branch)) from None


def _is_behind(result: GitResult) -> bool:
    return result.code != 0 and ("non-fast-forward" in result.stderr or "fetch first" in result.stderr)


def _failure(git: Git, branch: QueuedBranch, result: GitResult) -> PushPendingError:
    name = branch.ref.removeprefix(BRANCHES)
    if _is_behind(result):
        switch = "" if git.current_branch() == branch.ref else f"`git switch {name}`, "
        # A merge and not a rebase: MLflow runs already name the commit by its id.
        return PushPendingError(
            f"{branch.remote} has commits on {name} that are not here, so it refused {branch.commit_id}: "
            f"{result.stderr}",
            fix=f"run {switch}`git pull --no-rebase {branch.remote} {name}`, `dvc checkout`, "
            f"then `git push {branch.remote} {name}`; the local commit stands",
        )
    return RemoteUnavailableError(
        f"git could not push {branch.commit_id} to {name} on {branch.remote}: {result.stderr}",
        fix=_keeps_trying(branch),
    )


def _keeps_trying(branch: QueuedBranch) -> str:
    name = branch.ref.removeprefix(BRANCHES)
    return (
        f"the next data commit, or `ftzard push`, tries again; until then the local commit stands, and "
        f"`git push {branch.remote} {name}` shows what git says"
    )
