"""A dataset of the Hugging Face hub, or of a folder, as a batch: streamed into a Parquet file, its revision pinned.

Only data is loaded. `datasets` no longer runs scripts that come with a dataset, and no option of ours would let it.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ftzard.config import DataConfig
from ftzard.core.batch_names import PARQUET_SUFFIX
from ftzard.core.batch_objects import write_batch
from ftzard.core.reading import read_batch
from ftzard.core.row_columns import row_columns
from ftzard.errors import DatasetNotFoundError, FtzardError, MissingColumnError, OutputExistsError

if TYPE_CHECKING:
    from datasets import IterableDataset

HUB_PREFIX: Final = "hub:"
# What the Parquet file says of its origin.
SOURCE_KEY: Final = "ftzard.source"
_NUM_REVISION_DIGITS: Final = 12
_HUB_NAME: Final = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
_NOT_IN_A_FILE_NAME: Final = re.compile(r"[^\w.-]+")


@dataclass(frozen=True)
class ImportedDataset:
    """A dataset that became a batch.

    Attributes:
        path: The file.
        num_rows: Its rows.
        source: What it was made from, with the revision that was taken.
    """

    path: Path
    num_rows: int
    source: str


def import_dataset(
    project_dir: Path,
    config: DataConfig,
    source: str,
    *,
    split: str,
    subset: str | None = None,
    revision: str | None = None,
) -> ImportedDataset:
    """Write one split of a dataset into `data.raw_dir`, and see that it can be read as it is configured.

    Args:
        project_dir: The project folder.
        config: Names the folder, and the columns that the dataset has to have.
        source: `hub:ORG/NAME`, or a folder with files that `datasets` can load.
        split: The split, such as `train`.
        subset: Which of several datasets under one name (`datasets` calls it a configuration).
        revision: A commit, branch or tag of the hub; None for the newest.

    Raises:
        DatasetNotFoundError: It, or what was asked for of it, cannot be loaded.
        MissingColumnError: It lacks a column that the task needs.
        OutputExistsError: It was imported before.
        FtzardError: As `write_batch` and `read_batch`.
    """
    where, pinned = _pin(source, revision)
    described = f"{source}{f'@{pinned}' if pinned else ''} split {split}{f' of {subset}' if subset else ''}"
    path = project_dir / config.raw_dir / _file_name(where, split, subset, pinned)
    if path.exists():
        raise OutputExistsError(
            f"{path} exists: {described} was imported before", fix="remove it first, if it shall be imported again"
        )
    try:
        dataset = _load(where, split, subset, pinned)
        _check_columns(dataset, described, config)
        num_rows = write_batch(dataset, path, metadata={SOURCE_KEY: described})
    except FtzardError:
        raise
    except Exception as error:
        raise DatasetNotFoundError(
            f"{described} cannot be loaded: {type(error).__name__}: {error}",
            fix="look at the name, the split (--split) and the subset (--subset), and at the network",
        ) from error
    try:
        read_batch(path, path.relative_to(project_dir).as_posix(), config)
    except FtzardError:
        # Nobody else knows of it yet, and it would stop `raw_data`.
        path.unlink()
        raise
    return ImportedDataset(path, num_rows, described)


def _pin(source: str, revision: str | None) -> tuple[str, str | None]:
    """What `datasets` loads it by, and the commit that a dataset of the hub has now."""
    if not source.startswith(HUB_PREFIX):
        folder = Path(source).expanduser().resolve()
        if not folder.is_dir() or revision is not None:
            what = "is no folder" if revision is None else "is none of the hub, and only those have revisions"
            raise DatasetNotFoundError(f"{source} {what}", fix=f"give {HUB_PREFIX}ORG/NAME, or a folder")
        return str(folder), None
    from huggingface_hub import HfApi

    name = source.removeprefix(HUB_PREFIX)
    # By another name `datasets` would load something of this machine.
    if not _HUB_NAME.fullmatch(name) or Path(name).exists():
        what = "is also a file or folder here" if _HUB_NAME.fullmatch(name) else "is no name of a dataset"
        raise DatasetNotFoundError(
            f"{name!r} {what}", fix=f"give {HUB_PREFIX}ORG/NAME, in a folder that has no ORG/NAME in it"
        )
    try:
        found = HfApi().dataset_info(name, revision=revision).sha
    except Exception as error:
        raise DatasetNotFoundError(
            f"the hub does not give the dataset {name!r} at {revision or 'its newest revision'}: "
            f"{type(error).__name__}: {error}",
            fix="look at the name, the revision and the network; for a private one, log in with `hf auth login`",
        ) from error
    if found is None:
        raise DatasetNotFoundError(f"the hub names no commit of the dataset {name!r}", fix="give --revision")
    return name, str(found)


def _load(where: str, split: str, subset: str | None, revision: str | None) -> "IterableDataset":
    from datasets import load_dataset_builder

    builder = load_dataset_builder(where, name=subset, revision=revision)
    for files in (builder.config.data_files or {}).values():
        for file in map(str, files):
            if not _is_of(file, where, revision):
                raise DatasetNotFoundError(
                    f"{where} says that its data is in {file}, which is not its own",
                    fix="look at the `data_files` in its README.md; import what it names by itself, if you want that",
                )
    return builder.as_streaming_dataset(split=split)


def _is_of(file: str, where: str, revision: str | None) -> bool:
    """Whether a file is one of the dataset: its card can name any file of this machine, and any address."""
    # Of a file in an archive, the archive.
    place = file.rpartition("::")[2]
    if revision is not None:
        return place.startswith(f"hf://datasets/{where}@") and ".." not in place.split("/")
    return Path(os.path.normpath(place)).is_relative_to(where)


def _check_columns(dataset: "IterableDataset", described: str, config: DataConfig) -> None:
    found = dataset.column_names
    wanted = row_columns(config)
    for key, column in wanted.names.items():
        if found is not None and column not in found and key not in wanted.optional:
            raise MissingColumnError(
                f"{described} has no column {column!r}; its columns are {found}",
                fix=f"set data.{key.partition('.')[0]} to what is there, in your conf/ or behind the command",
            )


def _file_name(where: str, split: str, subset: str | None, revision: str | None) -> str:
    """A name that says what is in the file; the same for the same."""
    name = Path(where).name if Path(where).is_absolute() else where.replace("/", "--")
    parts = [name, subset, split, revision[:_NUM_REVISION_DIGITS] if revision else None]
    stem = "-".join(_NOT_IN_A_FILE_NAME.sub("_", part) for part in parts if part)
    return f"{stem.lstrip('.')}{PARQUET_SUFFIX}"
