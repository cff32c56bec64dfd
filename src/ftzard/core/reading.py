"""Labelled batches on disk, read as they are: nothing is cleaned or lost here.

Each row keeps the batch it came from and the line it stands on, and each file's encoding, delimiter and checksum are
recorded, so that what was read can be told years later.
"""

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Final

import polars as pl

from ftzard.config import DataConfig
from ftzard.core.batch_bytes import BatchBytes, read_bytes
from ftzard.core.batch_folder import is_below, list_batches
from ftzard.core.batch_formats import PARSED_SCHEMA, parse_columns, parse_delimited, parse_json_lines
from ftzard.core.batch_names import DELIMITED_SUFFIXES, JSON_LINES_SUFFIXES, JSON_SUFFIX, TEXT_SUFFIXES, printable
from ftzard.core.detection import detect_delimiter, line_end
from ftzard.core.json_arrays import as_json_lines
from ftzard.core.quarantine import BadRow, Parsed, unreadable_frame
from ftzard.core.records import PLACEMENT_SCHEMA, RAW_SCHEMA, UNREADABLE_SCHEMA
from ftzard.core.returned_labels import (
    LABEL_STUDIO_SUFFIX,
    ReturnedLabels,
    is_label_file,
    read_label_csv,
    read_label_studio,
)
from ftzard.core.text_decoding import decode
from ftzard.errors import MalformedBatchError, MissingColumnError

_logger = logging.getLogger(__name__)

_UTF_8: Final = "utf-8"


@dataclass(frozen=True)
class BatchSource:
    """How one batch was read.

    Attributes:
        name: POSIX path relative to the project folder; the `batch` of its rows.
        encoding: The encoding that was used, declared or detected; that of Parquet and Arrow is UTF-8 by definition.
        delimiter: The delimiter that was used; None for formats without one.
        num_rows: Number of rows.
        sha256: Of the file's bytes, in hexadecimal.
        encoding_confidence: From 0 to 1, as `DecodedText.confidence`; None where there was nothing to detect.
        num_replaced_bytes: How many bytes were no text in the encoding and became U+FFFD.
        same_as: The file whose content this one has again, so that its rows are that one's; None for its own.
        bad: The rows that could not be read, and are not among those.
    """

    name: str
    encoding: str
    delimiter: str | None
    num_rows: int
    sha256: str
    encoding_confidence: float | None = None
    num_replaced_bytes: int = 0
    same_as: str | None = None

    @property
    def summary(self) -> str:
        """How it was read, in a line."""
        replaced = f", {self.num_replaced_bytes} bytes replaced" if self.num_replaced_bytes else ""
        same = f", the same as {self.same_as}" if self.same_as else ""
        return f"{self.encoding} {self.sha256}{replaced}{same}"

    bad: tuple[BadRow, ...] = ()


@dataclass(frozen=True)
class RawData:
    """All labelled batches as read.

    Attributes:
        examples: `RAW_SCHEMA`; batches in the order of their names, rows in the order of the file. A missing text or
            label is null or empty, as the file has it.
        sources: One for each batch, in the same order.
        quarantined: `UNREADABLE_SCHEMA`; the rows that could not be read, in the same order.
    """

    examples: pl.DataFrame
    sources: tuple[BatchSource, ...]
    quarantined: pl.DataFrame = field(default_factory=UNREADABLE_SCHEMA.to_frame)


def read_batch(path: Path, name: str, config: DataConfig, *, answered: bool = True) -> tuple[pl.DataFrame, BatchSource]:
    """Read one batch file.

    Args:
        path: The file; its suffix says what it is.
        name: What to call it: its POSIX path relative to the project folder.
        config: Says how to read it.
        answered: Whether messages must end with an answer.

    Returns:
        The rows (`RAW_SCHEMA`; `row` is the 1-based line on which the record starts, the header being line 1, and the
        1-based number of the record for Parquet, Arrow and JSON arrays), and how they were read, with those that could
        not be.

    Raises:
        BatchEncodingError: Its bytes are not text in the declared encoding, or in any that can be told for sure.
        ConfigError: `data.encoding` is not the name of a text encoding.
        EmptyBatchError: It holds no rows.
        MalformedBatchError: It cannot be parsed as what its name says, is larger than `data.max_file_bytes`, or more of
            its rows cannot be read than are set aside.
        MissingColumnError: It lacks a column that the task needs.
        StorageError: It cannot be opened, or is being written.
    """
    return _parse(read_bytes(path, name, config), name, config, answered=answered)


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
    if not _is_returned(data, name, config):
        return None
    is_export = PurePosixPath(name).suffix.lower() == LABEL_STUDIO_SUFFIX
    return (read_label_studio if is_export else read_label_csv)(data, name, config)


def read_batches(project_dir: Path, config: DataConfig, *, each_content_once: bool = True) -> RawData:
    """Read all batches of the project.

    Args:
        project_dir: The project folder.
        config: Names the folders, and says how to read.
        each_content_once: Whether a file that holds the same as one that comes before it by name adds no rows.

    Raises:
        NoBatchesError: There is none.
        FtzardError: A batch cannot be read; see `read_batch`. One bad batch fails the whole: no file is left out.
    """
    frames: list[pl.DataFrame] = []
    sources: list[BatchSource] = []
    first_with: dict[tuple[str, str, bool], BatchSource] = {}
    for path in list_batches(project_dir, config):
        name = path.relative_to(project_dir).as_posix()
        found = read_bytes(path, name, config)
        # The first has nothing before it, and is parsed while its digest is computed.
        if each_content_once and first_with and (first := first_with.get(_content(found, name, config))):
            sources.append(_repeated(name, found, first))
            continue
        frame, source = _parse(found, name, config, answered=True)
        _log(source)
        first_with[_content(found, name, config)] = source
        frames.append(frame)
        sources.append(source)
    # Labels that come back from a queue say nothing of groups and times.
    examples = pl.concat(frames, how="diagonal")
    _check_placing(examples, config)
    quarantined = [unreadable_frame(source.bad, source.name) for source in sources]
    return RawData(examples, tuple(sources), pl.concat(quarantined))


def sources_table(sources: Sequence[BatchSource]) -> pl.DataFrame:
    """How batches were read, a row for each: the attributes of `BatchSource`, with the number of bad rows."""
    told = [asdict(replace(source, bad=())) | {"num_quarantined": len(source.bad)} for source in sources]
    return pl.DataFrame(told, infer_schema_length=None).drop("bad")


def _parse(found: BatchBytes, name: str, config: DataConfig, *, answered: bool) -> tuple[pl.DataFrame, BatchSource]:
    source = BatchSource(name, _UTF_8, None, 0, "")
    shown, suffix = printable(name), found.kind.format
    returned = _returned_labels(found, name, config)
    if returned is not None:
        source = replace(source, encoding=returned.encoding, delimiter=returned.delimiter)
        parsed = Parsed(returned.rows.select(PARSED_SCHEMA.names()))
    elif suffix not in TEXT_SUFFIXES:
        parsed = parse_columns(found.data, shown, suffix, config, answered=answered)
    else:
        decoded = decode(found.data, shown, config.encoding, config.max_replaced_fraction)
        parsed, delimiter = _parse_text(decoded.text, shown, suffix, config, answered=answered)
        source = replace(
            source,
            encoding=decoded.encoding,
            delimiter=delimiter,
            encoding_confidence=decoded.confidence,
            num_replaced_bytes=decoded.num_replaced_bytes,
        )
    placing = [column for column in PLACEMENT_SCHEMA if column in parsed.rows.columns]
    rows = parsed.rows.with_columns(batch=pl.lit(name, pl.String)).select(*RAW_SCHEMA.names(), *placing)
    return rows, replace(source, num_rows=rows.height, bad=parsed.bad, sha256=found.sha256)


def _returned_labels(found: BatchBytes, name: str, config: DataConfig) -> ReturnedLabels | None:
    if not found.kind.compression:
        return read_returned_labels(found.data, name, config)
    if found.kind.format in DELIMITED_SUFFIXES and _may_be_returned(name, config) and is_label_file(found.data):
        raise MalformedBatchError(
            f"{printable(name)} is a compressed label queue, and its labels are only found where it is not",
            fix=f"unpack it (to a name without {found.kind.compression})",
        )
    return None


def _parse_text(text: str, name: str, suffix: str, config: DataConfig, *, answered: bool) -> tuple[Parsed, str | None]:
    if "\0" in text:
        before = text[: text.index("\0")]
        raise MalformedBatchError(
            f"{name}, line {before.count(line_end(text)) + 1} holds a NUL character, which no text file has",
            fix="if the file is UTF-16 without a byte order mark, set data.encoding=utf-16-le (or utf-16-be); "
            "otherwise write it again",
        )
    if suffix == JSON_SUFFIX:
        return parse_json_lines(as_json_lines(text, name), name, config, answered=answered, unit="record"), None
    if suffix in JSON_LINES_SUFFIXES:
        return parse_json_lines(text, name, config, answered=answered), None
    delimiter = detect_delimiter(text, suffix, config)
    return parse_delimited(text, name, delimiter, config), delimiter


def _may_be_returned(name: str, config: DataConfig) -> bool:
    """Whether labels of a queue are looked for in a file."""
    return is_below(name, config.labelled_dir) and config.has_labels


def _is_returned(data: bytes, name: str, config: DataConfig) -> bool:
    suffix = PurePosixPath(name).suffix.lower()
    is_queue = suffix in DELIMITED_SUFFIXES and is_label_file(data)
    return _may_be_returned(name, config) and (suffix == LABEL_STUDIO_SUFFIX or is_queue)


def _content(found: BatchBytes, name: str, config: DataConfig) -> tuple[str, str, bool]:
    """What a file holds; what is read otherwise holds something else."""
    return found.content_sha256, found.kind.format, _is_returned(found.data, name, config)


def _repeated(name: str, found: BatchBytes, first: BatchSource) -> BatchSource:
    _logger.warning("%s holds the same as %s: its rows count once", printable(name), printable(first.name))
    return replace(first, name=name, num_rows=0, sha256=found.sha256, same_as=first.name, bad=())


def _log(source: BatchSource) -> None:
    delimiter = f", delimiter {source.delimiter!r}" if source.delimiter else ""
    _logger.info("read %d rows from %s (%s%s)", source.num_rows, printable(source.name), source.encoding, delimiter)


def _check_placing(examples: pl.DataFrame, config: DataConfig) -> None:
    configured = {"group": config.group_column, "time": config.time_column}
    for key in (key for key, column in configured.items() if column is not None):
        if key not in examples.columns or examples[key].null_count() == examples.height:
            raise MissingColumnError(
                f"no row of any batch has a value in the column {configured[key]!r}",
                fix=f"set data.{key}_column to a column of the files, or to null",
            )
