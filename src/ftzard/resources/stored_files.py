"""Whether the files on disk are those of the data's last commit, as DVC's listing has them."""

import json
from pathlib import Path

from ftzard.core.file_digests import md5_of


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
    try:
        entries = json.loads(listing.read_bytes())
        expected = {str(entry["relpath"]): str(entry["md5"]) for entry in entries}
    except (OSError, ValueError, LookupError, TypeError):
        # DVC writes a broken one again with the next commit.
        return []
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    names = {file: file.relative_to(data_folder).as_posix() for file in files}
    return [file for file, name in names.items() if name in expected and md5_of(file) != expected[name]]
