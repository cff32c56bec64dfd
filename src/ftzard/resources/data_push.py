"""Data to DVC's remote: also what an earlier commit could not push, and after a push that was killed."""

import json
import logging
import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ftzard.core.file_digests import md5_of
from ftzard.errors import PushError, RemoteUnavailableError
from ftzard.resources.credentials import refuse_secret_in_dvc_remote
from ftzard.resources.git import redact

_LOGGER = logging.getLogger(__name__)
_LISTING = re.compile(r"[0-9a-f]{32}\.dir")


def default_remote(repo: Any) -> str | None:
    """The name of DVC's default remote; None where there is none.

    Raises:
        PushError: It is named and nowhere defined, is of an unknown kind, or the package for its kind is missing.
        SecretExposedError: Its URL, or the configuration that git keeps, holds a secret.
    """
    name = repo.config["core"].get("remote")
    if not name:
        return None
    if name not in repo.config["remote"]:
        raise PushError(
            f"DVC's default remote {name!r} is not defined, in .dvc/config or elsewhere, so nothing was committed",
            fix=f"define it with `dvc remote add {name} URL`, or take it away with `dvc remote default --unset`",
        )
    committed = repo.config.read("repo").get("remote", {}).get(name, {})
    refuse_secret_in_dvc_remote(name, repo.config["remote"][name], committed)
    try:
        repo.cloud.get_remote(name)
    except sqlite3.DatabaseError:
        # DVC's own, which can be made again.
        raise
    # Nothing is asked of the remote yet. The chain is cut, here and below: DVC's text may show a URL with a password.
    except Exception as error:  # noqa: BLE001 - each kind of remote has its own way to refuse a configuration
        raise PushError(
            f"DVC cannot use its remote {name!r}, so nothing was committed: {redact(str(error))}",
            fix=f"make `dvc push --remote {name}` work, or set versioning.push_data to false, then run again",
        ) from None
    return str(name)


def push_data(repo: Any, remote: str, data_hash: str, target: str, complaints: list[str]) -> None:
    """Push the data folder as it is now, and first repair what a killed push left.

    Args:
        repo: An open DVC repository.
        remote: The remote's name.
        data_hash: DVC's hash of the folder.
        target: The folder's `.dvc` file.
        complaints: The errors that the session collected.

    Raises:
        RemoteUnavailableError: The remote did not take it.
        dvc.lock.LockError: The person's own DVC command is at work.
    """

    def push() -> None:
        # DVC notes which files a folder holds, and takes for whole a note that a full disk cut short: it then pushes
        # the listing of the folder, and after it for ever none of the files that the note lacks.
        repo.drop_data_index()
        repo.push(targets=[target], remote=remote)

    _push(repo, remote, data_hash, push, complaints)


def push_queued_data(repo: Any, remote: str, data_hash: str, complaints: list[str]) -> None:
    """Push the data of an earlier commit by its hash, out of DVC's cache; arguments and errors as in `push_data`.

    Where the cache no longer has it nothing can push it any more; a warning says so.
    """
    _push(repo, remote, data_hash, lambda: _transfer(repo, remote, data_hash), complaints)


def _transfer(repo: Any, remote: str, data_hash: str) -> None:
    from dvc.exceptions import UploadError
    from dvc_data.hashfile.hash_info import HashInfo
    from dvc_data.hashfile.transfer import transfer

    cache, store = repo.cache.local, repo.cloud.get_remote_odb(remote, "push")
    # Each file by its name: given a listing alone, DVC pushes that alone. And without the index in which DVC notes what
    # a remote has, because the remote is asked.
    objects = [HashInfo("md5", name) for name in _objects(repo, data_hash)]
    with repo.lock:
        result = transfer(cache, store, objects, cache_odb=cache)
    if result.failed:
        raise UploadError(len(result.failed))
    if not store.exists(data_hash):
        # DVC pushes a listing last, and not while a file in it is missing here and there.
        _LOGGER.warning(
            "the data %s was not pushed and is no longer whole in DVC's cache, so it cannot be: push it from a machine "
            "that has it",
            data_hash,
        )


def _push(repo: Any, remote: str, data_hash: str, push: Callable[[], object], complaints: list[str]) -> None:
    from dvc.lock import LockError

    complaints.clear()
    try:
        with _repaired(repo, remote, data_hash):
            push()
    except (LockError, sqlite3.DatabaseError):
        raise
    # A remote fails in the ways of its driver: boto's, paramiko's, the system's.
    except Exception as error:  # noqa: BLE001 - see above
        said = redact("; ".join(dict.fromkeys([f"{type(error).__name__}: {error}", *complaints])))
        raise RemoteUnavailableError(
            f"DVC could not push the data {data_hash} to its remote {remote!r}: {said}",
            fix=f"the next data commit, or `ftzard push`, tries again; `dvc push -r {remote}` shows why",
        ) from None


@contextmanager
def _repaired(repo: Any, remote: str, data_hash: str) -> Iterator[None]:
    """A push with a note beside it, which tells the next one that this one did not come to its end.

    Into a remote that is a folder, DVC writes an object's name before its content, and takes an object that is there
    for whole ever after. So what the unfinished push had to do with is checked, and broken objects are pushed again.
    """
    note = Path(repo.tmp_dir) / "ftzard-pushing"
    if note.is_file():
        unfinished = note.read_text(encoding="utf-8", errors="replace").strip()
        for name in {data_hash, unfinished}:
            _remove_broken_objects(repo, remote, name)
    note.write_text(data_hash, encoding="utf-8")
    yield
    note.unlink()


def _remove_broken_objects(repo: Any, remote: str, data_hash: str) -> None:
    from dvc_objects.fs.local import LocalFileSystem

    store = repo.cloud.get_remote_odb(remote, "push")
    # Others, such as S3, show an object when it is whole.
    if not _LISTING.fullmatch(data_hash) or not isinstance(store.fs, LocalFileSystem):
        return
    broken = []
    for name in _objects(repo, data_hash):
        path = Path(store.oid_to_path(name))
        if path.is_file() and md5_of(path) != name.removesuffix(".dir"):
            _LOGGER.warning("a killed push left %s broken in the remote %s: pushed again", name, remote)
            broken.append(path)
            path.unlink()
    if broken:
        # While the listing is there, DVC asks for none of its files.
        Path(store.oid_to_path(data_hash)).unlink(missing_ok=True)


def _objects(repo: Any, data_hash: str) -> Iterator[str]:
    """The listing of a folder and the files in it."""
    yield data_hash
    listing = Path(repo.cache.local.oid_to_path(data_hash))
    try:
        yield from (str(entry["md5"]) for entry in json.loads(listing.read_bytes()))
    except (OSError, ValueError):
        # Never committed, or its cache was cleared: nothing names those files.
        return
