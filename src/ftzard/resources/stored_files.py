"""What DVC's listing of the data says: whether files on disk are those of a commit, and what stands for each asset."""

import json
from pathlib import Path, PurePosixPath

from ftzard.core.file_digests import md5_of
from ftzard.core.versions import fingerprint

# Metadata key by which a materialization says what it stored, as `stored_contents` has it.
STORED_KEY = "ftzard/stored"


def changed_files(path: Path, data_folder: Path, listing: Path) -> list[Path]:
    """The files at or below a path that are other than the listing says.

    Args:
        path: A file or folder in the data folder.
        data_folder: The folder that DVC tracks.
        listing: DVC's list of its files, `<hash>.dir` in the cache. Where there is none, nothing is known to have
            changed; nor is a file that the list does not have, because it was never committed.

    Returns:
        In the order of their names.
    """
    expected = listed_files(listing)
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    names = {file: file.relative_to(data_folder).as_posix() for file in files}
    return [file for file, name in names.items() if name in expected and md5_of(file) != expected[name]]


def stored_contents(listing: Path, folder: PurePosixPath) -> dict[str, str]:
    """What stands for the content of each file and folder that lies directly in a folder, by its name without ending.

    Args:
        listing: As in `changed_files`.
        folder: Relative to the data folder.

    Returns:
        Equal for equal names and bytes; empty where there is no such listing.
    """
    found: dict[str, dict[str, str]] = {}
    for name, md5 in listed_files(listing).items():
        path = PurePosixPath(name)
        if path.is_relative_to(folder):
            inside = path.relative_to(folder)
            found.setdefault(inside.parts[0].partition(".")[0], {})[str(inside)] = md5
    return {name: fingerprint(files) for name, files in found.items()}


def listed_files(listing: Path) -> dict[str, str]:
    """The MD5 of each file; none where the listing is missing, or broken: DVC writes it again with the next commit."""
    try:
        entries = json.loads(listing.read_bytes())
        return {str(entry["relpath"]): str(entry["md5"]) for entry in entries}
    except (OSError, ValueError, LookupError, TypeError):
        return {}
