"""Data of an earlier commit, read beside the work tree."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ftzard.errors import FtzardError, StorageError
from ftzard.resources.dvc_listing import require_whole_listing
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
    with _explained(path, commit) as complaints, _opened(dvc_root, commit, complaints) as repo:
        repo.dvcfs.get(path, os.fspath(target), recursive=True)


def has_committed(dvc_root: Path, commit: str, path: str) -> bool:
    """Whether a commit's data has a file or folder; arguments and errors as of `fetch_committed`."""
    with _explained(path, commit) as complaints, _opened(dvc_root, commit, complaints) as repo:
        return bool(repo.dvcfs.exists(path))


@contextmanager
def _explained(path: str, commit: str) -> Iterator[list[str]]:
    complaints: list[str] = []
    try:
        yield complaints
    except FtzardError:
        raise
    # DVC, git and the drivers of remotes share no base class; the chain is cut, because it may show a password.
    except Exception as error:  # noqa: BLE001 - see above
        said = redact("; ".join([f"{type(error).__name__}: {error}", *complaints]))
        raise StorageError(
            f"{path} of the commit {commit} cannot be read: {said}",
            fix="get the commit with `git fetch` and its data with `dvc fetch --all-commits`, then run again",
        ) from None


@contextmanager
def _opened(dvc_root: Path, commit: str, complaints: list[str]) -> Iterator[Any]:
    """DVC as it is in a commit, also where it begins below git's top level: its own `rev` takes that."""
    from dvc.fs import GitFileSystem
    from dvc.repo import Repo
    from dvc.scm import SCM

    with quiet_dvc(complaints):
        scm = SCM(os.fspath(dvc_root), search_parent_directories=True)
        inside = dvc_root.resolve().relative_to(Path(scm.root_dir).resolve()).as_posix()
        files = GitFileSystem(scm=scm, rev=commit)
        root = f"/{inside}".removesuffix("/.") or "/"
        with Repo(root, fs=files, scm=scm, config=_present_remote(dvc_root)) as repo:
            for out in repo.index.outs:
                require_whole_listing(repo, out.hash_info.value)
            # DVC remembers what it once read in a list of files, also in one that was broken then.
            repo.drop_data_index()
            yield repo


def _present_remote(dvc_root: Path) -> dict[str, Any]:
    """The default remote of today: the commit may be older than the remote that holds its data."""
    with open_dvc(dvc_root) as repo:
        name = repo.config["core"].get("remote")
        return {"core": {"remote": name}, "remote": {name: dict(repo.config["remote"][name])}} if name else {}
