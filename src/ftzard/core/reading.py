"""Labelled batches on disk, read as they are: nothing is cleaned, replaced or left out here.

Each row keeps the batch it came from and the line it stands on, and each file's encoding, delimiter and checksum are
recorded, so that what was read can be told years later.
"""

import hashlib
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final, NoReturn

import polars as pl

from ftzard.config import DataConfig
from ftzard.core.batch_formats import PARSED_SCHEMA, parse_delimited, parse_json_lines, parse_parquet
from ftzard.core.detection import decode, detect_delimiter, line_end
from ftzard.core.records import PLACEMENT_SCHEMA, RAW_SCHEMA
from ftzard.core.returned_labels import (
    LABEL_STUDIO_SUFFIX,
    ReturnedLabels,
    is_label_file,
    read_label_csv,
    read_label_studio,
)
from ftzard.errors import EmptyBatchError, MalformedBatchError, MissingColumnError, NoBatchesError, StorageError

_logger = logging.getLogger(__name__)

_DELIMITED_SUFFIXES: Final = (".csv", ".tsv")
BATCH_SUFFIXES: Final = (*_DELIMITED_SUFFIXES, ".jsonl", ".ndjson", ".parquet")
# What programs name a file that they have not finished, or keep beside one that is open.
_TEMPORARY_SUFFIXES: Final = (".tmp", ".part", "~")
_TEMPORARY_PREFIXES: Final = (".", "~")
_NUM_OTHERS_SHOWN: Final = 5


@dataclass(frozen=True)
class BatchSource:
    """How one batch was read.

    Attributes:
        name: POSIX path relative to the project folder; the `batch` of its rows.
        encoding: The encoding that was used, declared or detected; Parquet's is UTF-8 by its specification.
        delimiter: The delimiter that was used; None for formats without one.
        num_rows: Number of rows.
        sha256: Of the file's bytes, in hexadecimal.
    """

    name: str
    encoding: str
    delimiter: str | None
    num_rows: int
    sha256: str


@dataclass(frozen=True)
class RawData:
    """All labelled batches as read.

    Attributes:
        examples: `RAW_SCHEMA`; batches in the order of their names, rows in the order of the file. A missing text or
            label is null or empty, as the file has it.
        sources: One for each batch, in the same order.
    """

    examples: pl.DataFrame
    sources: tuple[BatchSource, ...]


def list_batches(project_dir: Path, config: DataConfig) -> tuple[Path, ...]:
    """Find the batch files in the raw and the labelled folder and in the folders below them.

    Hidden and temporary files and folders are passed over. Links are followed to files inside the project folder
    (DVC can place data as links to its cache); others are passed over with a warning.

    Args:
        project_dir: The project folder.
        config: Names the folders; either may be missing.

    Returns:
        Paths below `project_dir` of files of a known kind, sorted by POSIX relative path.

    Raises:
        NoBatchesError: There is none.
        MalformedBatchError: A file's name is not valid UTF-8.
        StorageError: A folder cannot be read.
    """
    folders = (config.raw_dir, config.labelled_dir)
    found = {
        path.relative_to(project_dir).as_posix(): path for name in folders for path in files_below(project_dir, name)
    }
    batches = sorted(name for name in found if _is_batch(name, config))
    if not batches:
        others = sorted(set(found) - set(batches))
        beside = f"; what is there: {', '.join(others[:_NUM_OTHERS_SHOWN])}" if others else ""
        more = f" and {len(others) - _NUM_OTHERS_SHOWN} more" if len(others) > _NUM_OTHERS_SHOWN else ""
        raise NoBatchesError(
            f"no batch of labelled text in {' or '.join(folders)} (of {project_dir}){beside}{more}",
            fix=f"put a file there that ends in {', '.join(BATCH_SUFFIXES)}, or set data.raw_dir",
        )
    for name in batches:
        _check_name(name)
    return tuple(found[name] for name in batches)


def read_batch(path: Path, name: str, config: DataConfig, *, answered: bool = True) -> tuple[pl.DataFrame, BatchSource]:
    """Read one batch file.

    Args:
        path: The file; its suffix says what it is.
        name: What to call it: its POSIX path relative to the project folder.
        config: Says how to read it.
        answered: Whether messages must end with an answer.

    Returns:
        The rows (`RAW_SCHEMA`; `row` is the 1-based line on which the record starts, the header being line 1, and the
        1-based record number for Parquet), and how they were read.

    Raises:
        BatchEncodingError: Its bytes are not text in the declared encoding, or in any that can be told for sure.
        ConfigError: `data.encoding` is not the name of a text encoding.
        EmptyBatchError: It holds no rows.
        MalformedBatchError: It cannot be parsed as what its name says.
        MissingColumnError: It lacks a column that the task needs.
        StorageError: It cannot be opened.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise StorageError(
            f"{name} cannot be read: {error.strerror}", fix="look at the file and its permissions"
        ) from error
    if not data:
        raise EmptyBatchError(f"{name} is empty", fix="fill the file, or move it out of the data folder")
    delimiter = None
    returned = read_returned_labels(data, name, config)
    if returned is not None:
        encoding, delimiter = returned.encoding, returned.delimiter
        parsed = returned.rows.select(PARSED_SCHEMA.names())
    elif path.suffix.lower() == ".parquet":
        encoding = "utf-8"
        parsed = parse_parquet(data, name, config, answered=answered)
    else:
        text, encoding = decode(data, name, config.encoding)
        parsed, delimiter = _parse_text(text, name, path.suffix.lower(), config, answered=answered)
    placing = [column for column in PLACEMENT_SCHEMA if column in parsed.columns]
    rows = parsed.with_columns(batch=pl.lit(name, pl.String)).select(*RAW_SCHEMA.names(), *placing)
    return rows, BatchSource(name, encoding, delimiter, rows.height, hashlib.sha256(data).hexdigest())


def read_returned_labels(data: bytes, name: str, config: DataConfig) -> ReturnedLabels | None:
    """Read a file with the labels of a label queue, however raw files are configured to be read.

    Args:
        data: The file's bytes.
        name: Its POSIX path relative to the project folder.
        config: Names the folder for labelled files, the only one where such files are looked for.

    Returns:
        None for a file that is none.

    Raises:
        FtzardError: As `read_label_csv` and `read_label_studio`.
    """
    suffix = PurePosixPath(name).suffix.lower()
    if not _is_below(name, config.labelled_dir) or config.task != "classification":
        return None
    if suffix == LABEL_STUDIO_SUFFIX:
        return read_label_studio(data, name, config)
    return read_label_csv(data, name, config) if suffix in _DELIMITED_SUFFIXES and is_label_file(data) else None


def read_batches(project_dir: Path, config: DataConfig) -> RawData:
    """Read all batches of the project.

    Raises:
        NoBatchesError: There is none.
        FtzardError: A batch cannot be read; see `read_batch`. One bad batch fails the whole: nothing is left out.
    """
    frames: list[pl.DataFrame] = []
    sources: list[BatchSource] = []
    for path in list_batches(project_dir, config):
        frame, source = read_batch(path, path.relative_to(project_dir).as_posix(), config)
        delimiter = f", delimiter {source.delimiter!r}" if source.delimiter else ""
        _logger.info("read %d rows from %s (%s%s)", source.num_rows, source.name, source.encoding, delimiter)
        frames.append(frame)
        sources.append(source)
    # Labels that come back from a queue say nothing of groups and times.
    examples = pl.concat(frames, how="diagonal")
    configured = {"group": config.group_column, "time": config.time_column}
    for key in (key for key, column in configured.items() if column is not None):
        if key not in examples.columns or examples[key].null_count() == examples.height:
            raise MissingColumnError(
                f"no row of any batch has a value in the column {configured[key]!r}",
                fix=f"set data.{key}_column to a column of the files, or to null",
            )
    return RawData(examples, tuple(sources))


def _parse_text(
    text: str, name: str, suffix: str, config: DataConfig, *, answered: bool
) -> tuple[pl.DataFrame, str | None]:
    if "\0" in text:
        before = text[: text.index("\0")]
        raise MalformedBatchError(
            f"{name}, line {before.count(line_end(text)) + 1} holds a NUL character, which no text file has",
            fix="if the file is UTF-16 without a byte order mark, set data.encoding=utf-16-le (or utf-16-be); "
            "otherwise write it again",
        )
    if suffix in (".jsonl", ".ndjson"):
        return parse_json_lines(text, name, config, answered=answered), None
    delimiter = detect_delimiter(text, suffix, config)
    return parse_delimited(text, name, delimiter, config), delimiter


def files_below(project_dir: Path, folder: str) -> Iterator[Path]:
    """Yield the files below a folder of the project that are neither hidden, temporary nor outside of the project."""
    top = project_dir / folder
    if not top.exists() or not _is_inside(top, project_dir):
        return
    for parent, folder_names, file_names in os.walk(top, onerror=_raise_storage_error):
        folder_names[:] = [name for name in folder_names if not is_passed_over(name)]
        for name in folder_names:
            if (Path(parent) / name).is_symlink():
                _logger.warning("passed over %s: links to folders are not followed", Path(parent) / name)
        for name in file_names:
            path = Path(parent) / name
            if not is_passed_over(name) and _is_inside(path, project_dir) and path.is_file():
                yield path


def is_passed_over(name: str) -> bool:
    """Whether a file name says hidden, or not finished."""
    return name.startswith(_TEMPORARY_PREFIXES) or name.lower().endswith(_TEMPORARY_SUFFIXES)


def _is_inside(path: Path, project_dir: Path) -> bool:
    # Strict, so that a link to nothing and a ring of links are told as well.
    try:
        is_inside = path.resolve(strict=True).is_relative_to(project_dir.resolve())
    except (OSError, RuntimeError):
        is_inside = False
    if not is_inside:
        _logger.warning("passed over %s: it is a link that leads out of the project folder or nowhere", path)
    return is_inside


def _is_batch(name: str, config: DataConfig) -> bool:
    """Whether a file is of a kind that is read; Label Studio's exports are, in the folder for labelled files."""
    suffix = PurePosixPath(name).suffix.lower()
    may_be_export = suffix == LABEL_STUDIO_SUFFIX and config.task == "classification"
    return suffix in BATCH_SUFFIXES or (may_be_export and _is_below(name, config.labelled_dir))


def _is_below(name: str, folder: str) -> bool:
    return PurePosixPath(name).is_relative_to(PurePosixPath(folder))


def _check_name(name: str) -> None:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError as error:
        raise MalformedBatchError(
            f"the name of the file {name!r} is not valid UTF-8", fix="rename the file; its name is kept with each row"
        ) from error


def _raise_storage_error(error: OSError) -> NoReturn:
    raise StorageError(
        f"the folder {error.filename} cannot be read: {error.strerror}", fix="look at its permissions"
    ) from error
