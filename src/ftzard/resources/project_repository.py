"""A folder made a project: a git repository with DVC."""

import os
from pathlib import Path

from ftzard.errors import ConfigError, DataCommitError, NotAGitRepositoryError
from ftzard.resources.data_commit import Edit, commit_edits
from ftzard.resources.dvc_session import open_dvc, quiet_dvc
from ftzard.resources.git import Git, call_git

_REMOTE_NAME = "store"
_DVC_FILES = (".dvc/config", ".dvc/.gitignore", ".dvcignore")


def init_project_repository(project_dir: Path, *, remote: Path | str | None) -> None:
    """Make a folder a git repository with DVC, and commit the files that this needs.

    What is there already stays as it is, so a second call changes nothing. In an existing git repository only DVC's own
    files are committed; before its first commit also the folder's `.gitignore`.

    Args:
        project_dir: The folder; made if missing. It may be a subfolder of a git repository.
        remote: A folder, or a URL, to which data is pushed, unless DVC has a default remote already; None for no
            remote. A folder inside the project is written down relative to it, so that the project can be moved.

    Raises:
        NotAGitRepositoryError: git is not installed.
        DataCommitError: git or DVC refused.
    """
    project_dir.mkdir(parents=True, exist_ok=True)
    git = _open_git(project_dir)
    folder = project_dir.resolve()
    try:
        _set_up_dvc(folder, remote)
    except Exception as error:
        raise DataCommitError(
            f"DVC could not be set up in {folder}: {type(error).__name__}: {error}",
            fix="resolve what DVC says, then run again",
        ) from error
    edits = _edits(git, folder)
    if edits:
        commit_edits(git, None, edits, "Start an FTzard project: git and DVC")


def init_git(project_dir: Path) -> Git:
    """Make a folder a git repository of its own, also inside another one; one that is stays as it is.

    Raises:
        NotAGitRepositoryError: git is not installed.
        DataCommitError: git refused.
    """
    project_dir.mkdir(parents=True, exist_ok=True)
    # A fixed name, whatever the person's git calls a first branch: the demo reads the same everywhere.
    result = call_git(project_dir, "init", "--quiet", "--initial-branch=main")
    if result.code != 0:
        raise DataCommitError(f"`git init` failed: {result.stderr}", fix=f"make {project_dir} writable, then run again")
    return Git.find(project_dir)


def _open_git(project_dir: Path) -> Git:
    try:
        return Git.find(project_dir)
    except NotAGitRepositoryError:
        return init_git(project_dir)


def _set_up_dvc(folder: Path, remote: Path | str | None) -> None:
    from dvc.repo import Repo

    if not (folder / ".dvc").is_dir():
        with quiet_dvc([]):
            # With git, DVC stages its files in the person's index. Without it does not, and the session below, which
            # is with git again, writes the `.gitignore` that is then still missing.
            without_git = Repo.init(os.fspath(folder), no_scm=True)
            with without_git.config.edit() as config:
                del config["core"]["no_scm"]
                config["core"]["analytics"] = False
            without_git.close()
    with open_dvc(folder) as repo:
        if remote is not None and not repo.config["core"].get("remote"):
            with repo.config.edit() as config:
                config["core"]["remote"] = _REMOTE_NAME
                config["remote"][_REMOTE_NAME] = {"url": _remote_url(remote, folder)}


def _remote_url(remote: Path | str, folder: Path) -> str:
    if isinstance(remote, str):
        return remote
    remote = remote.resolve()
    # DVC writes a relative path, which it takes from the current directory, relative to its own configuration file.
    return os.path.relpath(remote) if remote.is_relative_to(folder) else str(remote)


def _edits(git: Git, folder: Path) -> dict[str, Edit]:
    """The files that no commit and no index has: what the person has staged or changed is theirs to commit."""
    is_first = git.commit_at("HEAD") is None
    edits: dict[str, Edit] = {}
    for name in (*_DVC_FILES, ".gitignore") if is_first else _DVC_FILES:
        path = (folder / name).relative_to(git.top_level).as_posix()
        is_known = git.run("ls-files", "--", path) or (not is_first and git.run("ls-tree", "HEAD", "--", path))
        if not is_known and (folder / name).is_file():
            edits[path] = _becomes((folder / name).read_bytes())
    return edits


def _becomes(content: bytes) -> Edit:
    return lambda _: content


def refuse_unknown_remote(url: str) -> None:
    """Refuse a URL of a kind that DVC cannot push to.

    Raises:
        ConfigError: It is one; the message does not repeat what stands after the scheme.
    """
    from dvc.config_schema import REMOTE_SCHEMAS

    scheme = url.partition("://")[0].lower()
    known = sorted(REMOTE_SCHEMAS.keys() - {"", "remote"})
    if scheme not in known:
        raise ConfigError(
            f"DVC cannot push to a URL that begins with {scheme}://",
            fix=f"give a folder, or a URL that begins with one of {', '.join(f'{name}://' for name in known)}",
        )


def missing_remote_package(project_dir: Path) -> str | None:
    """What DVC says it lacks for the default remote's kind of storage; None where it lacks nothing.

    DVC keeps the code for S3 and its like in packages of their own, and would only tell when it first pushes.
    """
    from dvc.fs import get_cloud_fs

    with open_dvc(project_dir) as repo:
        name = repo.config["core"].get("remote")
        if not name:
            return None
        try:
            get_cloud_fs(repo.config, name=name)
        except ImportError as error:
            return str(error)
    return None


def outer_repository(folder: Path) -> Path | None:
    """The git repository that a folder's own repository lies in, unless that one ignores the folder.

    git keeps nothing of a repository within another one, where `git add` records no more than its commit.

    Args:
        folder: The top level of the inner one.
    """
    try:
        git = Git.find(folder.parent)
    except (DataCommitError, NotAGitRepositoryError):
        return None
    _, pattern = git.ignoring_pattern(folder.relative_to(git.top_level).as_posix())
    return git.top_level if not pattern or pattern.startswith(b"!") else None
