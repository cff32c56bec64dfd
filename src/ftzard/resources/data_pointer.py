"""The `.dvc` file that stands for the data folder: read, and mended where a kill has cut it short.

DVC writes it in place, so a killed process leaves any first part of it, also none. Most of these DVC itself refuses to
read. What is recognised is a first part of what `dvc add` writes; a file that holds anything else is a person's.
"""

import os
import re
from contextlib import suppress

import yaml

from ftzard.errors import DataCommitError
from ftzard.resources.data_folder import DataFolder, require_merged
from ftzard.resources.git import Git

_HASH = re.compile(r"[0-9a-f]{32}\.dir")
# What `dvc add` writes, in pieces that are there or not.
_PIECES = (
    *"outs:\n- md5: ",
    *["[0-9a-f]"] * 32,
    *".dir\n  size: ",
    r"\d+",
    *"\n  nfiles: ",
    r"\d+",
    *"\n  hash: md5\n  path: ",
    r"(?P<path>[^\n]+)",
)


def read_hash(folder: DataFolder) -> str | None:
    """DVC's MD5 of the data folder, as its `.dvc` file in the work tree has it; None where there is no such file.

    Raises:
        DataCommitError: The file is not one that `dvc add` wrote, or not all of it, or a merge left it in conflict.
    """
    path = folder.on_disk(folder.pointer)
    if not path.is_file():
        return None
    try:
        return _hash_in(path.read_bytes())
    except (OSError, yaml.YAMLError, LookupError, TypeError, ValueError) as error:
        require_merged(folder)
        raise DataCommitError(
            f"{path} is not a file that `dvc add` wrote: {type(error).__name__}: {error}",
            fix=f"restore it (`git checkout -- {folder.pointer}`) or delete it, then run again",
        ) from error


def _hash_in(content: bytes) -> str:
    out = yaml.safe_load(content)["outs"][0]
    data_hash, _ = str(out["md5"]), out["path"]
    if not _HASH.fullmatch(data_hash):
        message = f"{data_hash!r} is not DVC's hash of a folder"
        raise ValueError(message)
    return data_hash


def read_pointer(folder: DataFolder) -> bytes | None:
    """The `.dvc` file's bytes; None where there is none."""
    path = folder.on_disk(folder.pointer)
    return path.read_bytes() if path.is_file() else None


def write_pointer(folder: DataFolder, content: bytes | None) -> None:
    """Replace the `.dvc` file, so that it is never seen in part; None removes it."""
    replace_file(folder, folder.pointer, content)


def replace_file(folder: DataFolder, name: str, content: bytes | None) -> None:
    """Replace a file, by its path from the top level, through one in DVC's ignored folder; None removes it."""
    path = folder.on_disk(name)
    if content is None:
        path.unlink(missing_ok=True)
        return
    new = folder.private / "ftzard-replacement"
    new.write_bytes(content)
    with suppress(FileNotFoundError):
        new.chmod(path.stat().st_mode & 0o777)
    new.replace(path)


def is_whole(folder: DataFolder, content: bytes) -> bool:
    """Whether a `.dvc` file has a folder's hash, and what follows it is not the beginning of the folder's name."""
    try:
        _hash_in(content)
        out = yaml.safe_load(content)["outs"][0]
    except (yaml.YAMLError, LookupError, TypeError, ValueError):
        return False
    return str(out["path"]) == folder.data.name or not is_cut_short(folder, content)


def is_cut_short(folder: DataFolder, content: bytes, *wholes: bytes | None) -> bool:
    """Whether content is a first part of what `dvc add` writes for the folder, or of one of some other contents."""
    text = content.replace(b"\r\n", b"\n")
    others = [whole.replace(b"\r\n", b"\n") for whole in wholes if whole is not None]
    if any(len(text) < len(whole) and whole.startswith(text) for whole in others):
        return True
    found = _FIRST_PART.fullmatch(text)
    if found is None:
        return False
    # DVC puts a name with special characters in quotes.
    return os.fsencode(folder.data.name).startswith((found["path"] or b"").lstrip(b"'\""))


def _first_part_of(pieces: tuple[str, ...]) -> re.Pattern[bytes]:
    pattern = ""
    for piece in reversed(pieces):
        pattern = f"(?:{piece if len(piece) > 1 else re.escape(piece)}{pattern})?"
    return re.compile(os.fsencode(pattern))


_FIRST_PART = _first_part_of(_PIECES)


def committed_pointer(git: Git, commit: str | None, folder: DataFolder) -> bytes | None:
    """The `.dvc` file as a commit has it; None where it has none."""
    if commit is None:
        return None
    result = git.attempt("cat-file", "blob", f"{commit}:{folder.pointer}")
    return result.stdout if result.code == 0 else None
