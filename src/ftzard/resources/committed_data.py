"""Data of an earlier commit, read beside the work tree."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ftzard.errors import StorageError
from ftzard.resources.dvc_session import open_dvc, quiet_dvc
from ftzard.resources.git import redact


def fetch_committed(dvc_root: Path, commit: str, path: str, target: Path) -> None:
    """Copy a folder of a commit out of DVC's cache, or its remote; the work tree stays as it is.

    Args:
        dvc_root: The folder that holds `.dvc`.
        commit: A git commit.
        path: Of the folder in the data, relative to `dvc_root`.
        target: A folder that does not exist yet.

    Raises:
        StorageError: The commit, or its data, is not to be had.
    """
    with _explained(path, commit) as complaints, quiet_dvc(complaints):
        _open(dvc_root, commit).get(path, os.fspath(target), recursive=True)


def has_committed(dvc_root: Path, commit: str, path: str) -> bool:
    """Whether a commit's data has a file or folder; arguments and errors as of `fetch_committed`."""
    with _explained(path, commit) as complaints, quiet_dvc(complaints):
        return bool(_open(dvc_root, commit).exists(path))


@contextmanager
def _explained(path: str, commit: str) -> Iterator[list[str]]:
    complaints: list[str] = []
    try:
        yield complaints
    # DVC, git and the drivers of remotes share no base class; the chain is cut, because it may show a password.
    except Exception as error:  # noqa: BLE001 - see above
        said = redact("; ".join([f"{type(error).__name__}: {error}", *complaints]))
        raise StorageError(
            f"{path} of the commit {commit} cannot be read: {said}",
            fix="get the commit with `git fetch` and its data with `dvc fetch --all-commits`, then run again",
        ) from None


def _open(dvc_root: Path, commit: str) -> Any:
    """DVC's files as they are in a commit, also where it begins below git's top level: its own `rev` takes that."""
    from dvc.api import DVCFileSystem
    from dvc.fs import GitFileSystem
    from dvc.repo import Repo
    from dvc.scm import SCM

    scm = SCM(os.fspath(dvc_root), search_parent_directories=True)
    inside = dvc_root.resolve().relative_to(Path(scm.root_dir).resolve()).as_posix()
    files = GitFileSystem(scm=scm, rev=commit)
    root = f"/{inside}".removesuffix("/.") or "/"
    return DVCFileSystem(repo=Repo(root, fs=files, scm=scm, config=_present_remote(dvc_root)))


def _present_remote(dvc_root: Path) -> dict[str, Any]:
    """The default remote of today: the commit may be older than the remote that holds its data."""
    with open_dvc(dvc_root) as repo:
        name = repo.config["core"].get("remote")
        return {"core": {"remote": name}, "remote": {name: dict(repo.config["remote"][name])}} if name else {}
