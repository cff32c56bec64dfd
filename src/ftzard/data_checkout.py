"""The data of any commit in a folder of its own; the work tree stays as it is."""

import hashlib
import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from ftzard.composition import compose
from ftzard.core.disk_failures import disk_failures_explained
from ftzard.core.file_digests import md5_of
from ftzard.errors import StorageError
from ftzard.resources.committed_data import fetch_committed
from ftzard.resources.data_folder import find_dvc_root
from ftzard.resources.git import Git

_CHECKOUTS = ".ftzard/checkouts"
_DIGITS = 12


@dataclass(frozen=True)
class DataCheckout:
    """Data that was brought back.

    Attributes:
        commit_id: The commit it belongs to, in full.
        folder: Where it is.
        num_files: How many files it has.
        was_there: Whether an earlier call had brought it back already.
    """

    commit_id: str
    folder: Path
    num_files: int
    was_there: bool


def checkout_data(
    project_dir: Path, revision: str, overrides: Sequence[str] = (), *, to: Path | None = None
) -> DataCheckout:
    """Write the data folder of a commit into a folder, from DVC's cache or its remote, and check it against its hash.

    Args:
        project_dir: The project folder.
        revision: Anything git takes for a commit: an id, the beginning of one, a branch, a tag.
        overrides: In Hydra's grammar.
        to: A folder that is empty or does not exist; by default one of the project's own, named by the commit.

    Raises:
        StorageError: There is no such commit, it holds no data, the data is not to be had or was changed, or the folder
            is not empty. Nothing half-written is ever in the folder.
        FtzardError: As `compose` and `DvcRepository.check`.
    """
    data_dir = compose(overrides, project_dir=project_dir).versioning.data_dir
    git = Git.find(project_dir)
    commit = _find_commit(git, revision)
    folder = project_dir.resolve() / data_dir
    expected = _committed_hash(git, commit, folder)
    target = to.resolve() if to else project_dir.resolve() / _CHECKOUTS / commit[:_DIGITS]
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        if target.is_dir() and _folder_hash(target) == expected:
            return DataCheckout(commit, target, _num_files(target), was_there=True)
        raise StorageError(f"{target} is not empty", fix="name a folder with --to that is empty or does not exist")
    root = find_dvc_root(project_dir.resolve(), git.top_level)
    unfinished = target.with_name(f".{target.name}.unfinished")
    with disk_failures_explained():
        # Left by a call that was killed.
        shutil.rmtree(unfinished, ignore_errors=True)
        try:
            # Before DVC, which tells of a folder that cannot be written as of data that cannot be read.
            unfinished.mkdir(parents=True)
            unfinished.rmdir()
            fetch_committed(root, commit, folder.relative_to(root).as_posix(), unfinished)
            _require_hash(unfinished, expected, commit)
            unfinished.replace(target)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    return DataCheckout(commit, target, _num_files(target), was_there=False)


def _find_commit(git: Git, revision: str) -> str:
    commit = None if revision.startswith("-") else git.commit_at(revision)
    if commit is None:
        raise StorageError(
            f"{git.top_level} has no commit {revision!r}, or more than one that begins so",
            fix="name one that `git log --oneline` lists",
        )
    return commit


def _committed_hash(git: Git, commit: str, folder: Path) -> str:
    """DVC's hash of the data folder in a commit."""
    pointer = f"{folder.relative_to(git.top_level).as_posix()}.dvc"
    result = git.attempt("cat-file", "blob", f"{commit}:{pointer}")
    if result.code != 0:
        raise StorageError(
            f"the commit {commit} holds no data: it has no {pointer}",
            fix=f"name a commit that `git log --oneline -- {pointer}` lists",
        )
    try:
        return str(yaml.safe_load(result.stdout)["outs"][0]["md5"])
    except (yaml.YAMLError, LookupError, TypeError) as error:
        raise StorageError(
            f"{pointer} of the commit {commit} is not a file that `dvc add` wrote: {type(error).__name__}",
            fix="name another commit",
        ) from error


def _require_hash(folder: Path, expected: str, commit: str) -> None:
    found = _folder_hash(folder)
    if found != expected:
        raise StorageError(
            f"the data of the commit {commit} came back with the hash {found} in the place of {expected}: "
            "the cache or the remote was changed",
            fix="remove the broken object from .dvc/cache, then `dvc fetch --all-commits` brings it from the remote",
        )


def _folder_hash(folder: Path) -> str:
    """The hash that DVC gives a folder: of a JSON list of its files and their MD5s."""
    listing = [{"md5": md5_of(path), "relpath": path.relative_to(folder).as_posix()} for path in _files(folder)]
    listing.sort(key=lambda entry: entry["relpath"])
    digest = hashlib.md5(json.dumps(listing, sort_keys=True).encode(), usedforsecurity=False).hexdigest()
    return f"{digest}.dir"


def _num_files(folder: Path) -> int:
    return sum(1 for _ in _files(folder))


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file())
