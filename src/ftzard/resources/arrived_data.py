"""Whether the files in the data folder are those of its `.dvc` file, which git moves without them.

A pull, a checkout, a merge or a revert changes `data.dvc` and leaves the data folder as it is, until `dvc pull` or
`dvc checkout` follows. A data commit in between would take out of the branch what others have put into it.
"""

from contextlib import suppress
from pathlib import Path

from ftzard.core.file_digests import md5_of
from ftzard.errors import DataCommitError
from ftzard.resources.commit_journal import CommitJournal
from ftzard.resources.data_folder import DataFolder
from ftzard.resources.data_pointer import read_hash
from ftzard.resources.dvc_session import cached_object
from ftzard.resources.stored_files import listed_files


def require_arrived(folder: DataFolder) -> None:
    """Refuse a data folder in which nothing shows what its `.dvc` file brought, or dropped, since the last look.

    What was added, changed or removed by a person after the data arrived is let through, as is what `dvc add` wrote.

    Raises:
        DataCommitError: git has moved the `.dvc` file, and the data did not follow.
    """
    # Before the `.dvc` file: a commit that ends meanwhile then changes what stands there and not what was known.
    before = _read(folder)
    data_hash = read_hash(folder)
    # What a killed commit left is finished or undone by the next.
    if data_hash is None or data_hash == before or CommitJournal(folder.private).read() is not None:
        return
    listing = listed_files(cached_object(folder.dvc_root, data_hash))
    known = listed_files(cached_object(folder.dvc_root, before)) if before else {}
    if not listing:
        raise DataCommitError(
            f"{folder.pointer} stands for data that DVC's cache does not know, as after a clone or a pull",
            fix=_remedy(folder),
        )
    if not _has_followed(folder.on_disk(folder.data), known, listing):
        raise DataCommitError(
            f"{folder.pointer} stands for other data than {folder.data} holds: git has changed it, by a pull, a "
            "checkout, a merge or a revert, and the data did not follow",
            fix=_remedy(folder),
        )
    note_arrived(folder, data_hash)


def note_arrived(folder: DataFolder, data_hash: str) -> None:
    """Write down that the data folder holds the data of a hash, apart from what a person changes next.

    Where the disk does not take it, the next look finds out from the files themselves.
    """
    with suppress(OSError):
        _place(folder).write_text(data_hash, encoding="ascii")


def _remedy(folder: DataFolder) -> str:
    return (
        "bring the data with `dvc pull`; a file of yours that is not committed yet stops that, so move it out of "
        f"{folder.data} meanwhile. If what is there is what is meant, `dvc add {folder.data}` says so"
    )


def _read(folder: DataFolder) -> str | None:
    try:
        return _place(folder).read_text(encoding="ascii") or None
    except (OSError, UnicodeDecodeError):
        return None


def _place(folder: DataFolder) -> Path:
    # Several projects can share a DVC repository.
    return folder.private / f"ftzard-arrived-{folder.pointer.replace('/', '-')}"


def _has_followed(data: Path, before: dict[str, str], now: dict[str, str]) -> bool:
    """Whether a folder holds anything that is new, or lacks anything that is gone where nothing is new."""
    brought = {name: md5 for name, md5 in now.items() if before.get(name) != md5}
    dropped = {name: md5 for name, md5 in before.items() if name not in now}
    if brought:
        return any(_is_there(data / name, md5) for name, md5 in brought.items())
    return not dropped or not all(_is_there(data / name, md5) for name, md5 in dropped.items())


def _is_there(path: Path, md5: str) -> bool:
    return path.is_file() and md5_of(path) == md5
