"""Label files as they come back: a queue's CSV after a spreadsheet has saved it its own way, or Label Studio's export.

What was queued is known by its id, which is the hash of its text. So a spreadsheet may change the delimiter, the line
ends, the encoding and the columns around it, but where it changed a text (a date, a long number, a lost accent) the id
shows it, and the row is refused rather than learned wrong.
"""

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import polars as pl

from ftzard.config import DataConfig
from ftzard.core.cell_values import listed
from ftzard.core.cleaning import hash_texts
from ftzard.core.detection import fields_of_any_length
from ftzard.core.label_files import ID_COLUMN, unescaped
from ftzard.core.label_studio import LABEL_COLUMN, TEXT_COLUMN, ReturnedRow, exported_rows
from ftzard.core.text_decoding import decode
from ftzard.core.text_normalisation import normalise_text
from ftzard.errors import EmptyBatchError, FtzardError, MalformedBatchError, MissingColumnError, UnknownRowError

# `label` is null where none was given. `row` is the line of a CSV file and the number of the task in JSON, from 1.
# `annotator` is who gave the label, as Label Studio names them; null where the file does not say.
RETURNED_SCHEMA: Final = pl.Schema(
    {"text_hash": pl.String(), "text": pl.String(), "label": pl.String(), "row": pl.Int64(), "annotator": pl.String()}
)
LABEL_STUDIO_SUFFIX: Final = ".json"

_DELIMITERS: Final = (",", ";", "\t", "|")
_NUM_HEAD_BYTES: Final = 4096
_HEADER_FIELD: Final = re.compile(rb"[^\w ]+")


@dataclass(frozen=True)
class ReturnedLabels:
    """A label file.

    Attributes:
        rows: `RETURNED_SCHEMA`; texts as they were queued. A row can occur more than once.
        encoding: The encoding that was used.
        delimiter: None for JSON.
    """

    rows: pl.DataFrame
    encoding: str
    delimiter: str | None


def is_label_file(data: bytes) -> bool:
    """Whether a delimited file's first line names the column with the ids, in whatever encoding.

    Only for files from the folder for labelled data: elsewhere such a column is anybody's.
    """
    first = data[:_NUM_HEAD_BYTES].replace(b"\0", b"").lstrip(b"\xef\xbb\xbf\xff\xfe\r\n").splitlines()[:1]
    return bool(first) and ID_COLUMN.encode() in (field.strip() for field in _HEADER_FIELD.split(first[0]))


def read_label_csv(
    data: bytes, name: str, config: DataConfig, texts: Mapping[str, str] | None = None
) -> ReturnedLabels:
    """Read a queue that a person has filled in.

    Args:
        data: The file's bytes, in any encoding that can be told; with comma, semicolon, tab or bar. Columns may have
            been added or moved.
        name: What to call it.
        config: Says how texts are cleaned. The column with the labels is `label`, or else `data.label_column`.
        texts: Text hash -> text of the rows that were queued, so that a changed text does not matter; None: they are
            not known, and the file has to have them.

    Raises:
        BatchEncodingError: The encoding cannot be told for sure.
        EmptyBatchError: It has no rows.
        UnknownRowError: `texts` lacks a row.
        MalformedBatchError: It cannot be parsed, a row has no id, or its text is not the one that was queued.
        MissingColumnError: The column with the texts or with the labels is gone.
    """
    decoded = decode(data, name, "auto")
    text = decoded.text
    delimiter = next((one for one in _DELIMITERS if ID_COLUMN in _header(text, one)), ",")
    columns = _header(text, delimiter)
    label_column = LABEL_COLUMN if LABEL_COLUMN in columns else config.label_column
    for column in (ID_COLUMN, TEXT_COLUMN, label_column):
        if columns.count(column) != 1:
            raise MissingColumnError(
                f"{name} has {columns.count(column)} columns named {column!r}; its columns are {listed(columns)}",
                fix="keep the columns that the label queue came with; others may be added",
            )
    places = [columns.index(column) for column in (ID_COLUMN, TEXT_COLUMN, label_column)]
    rows: list[ReturnedRow] = []
    for line, record in _records(text, name, delimiter):
        if any(field.strip() for field in record[len(columns) :]):
            raise MalformedBatchError(
                f"{name}, line {line}: {len(record)} fields where there are {len(columns)} columns "
                f"(delimiter {delimiter!r})",
                fix="put quotes around a text that holds the delimiter",
            )
        # Some programs leave out empty fields at the end of a line.
        fields = [*record, *[""] * (len(columns) - len(record))]
        row_id, cell, label = (fields[place] for place in places)
        rows.append((row_id.strip(), cell, unescaped(label.strip()) or None, line, None))
    return ReturnedLabels(_checked(rows, name, "line", config, texts), decoded.encoding, delimiter)


def read_label_studio(
    data: bytes, name: str, config: DataConfig, texts: Mapping[str, str] | None = None
) -> ReturnedLabels:
    """Read what Label Studio exports as JSON, or as JSON-MIN.

    A task with several annotations gives several rows, skipped ones none; a task without any gives one row without a
    label.

    Args:
        data: The file's bytes.
        name: What to call it.
        config: Says how texts are cleaned.
        texts: As for `read_label_csv`.

    Raises:
        BatchEncodingError: It is not UTF-8.
        EmptyBatchError: There are no tasks.
        UnknownRowError: `texts` lacks a task's row.
        MalformedBatchError: It is no such export, an annotation has several labels, or a text is not the one queued.
    """
    decoded = decode(data, name, "utf-8")
    rows = exported_rows(decoded.text, name, takes_sets=config.task == "multi_label")
    return ReturnedLabels(_checked(rows, name, "task", config, texts), decoded.encoding, None)


def _header(text: str, delimiter: str) -> list[str]:
    lines = (line for line in io.StringIO(text, newline="") if line.strip())
    return [field.strip() for field in next(csv.reader(lines, delimiter=delimiter), [])]


def _records(text: str, name: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield each record below the header with the line it starts on; rows without any content are passed over."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    is_header = True
    start = 1
    with fields_of_any_length(len(text)):
        try:
            for record in reader:
                if any(field.strip() for field in record):
                    if not is_header:
                        yield start, record
                    is_header = False
                start = reader.line_num + 1
        except csv.Error as error:
            raise MalformedBatchError(
                f"{name}: the record that starts on line {start} cannot be parsed: {error}",
                fix="balance the quotes, or save the file again",
            ) from error


def _checked(
    rows: list[ReturnedRow],
    name: str,
    unit: str,
    config: DataConfig,
    texts: Mapping[str, str] | None,
) -> pl.DataFrame:
    if not rows:
        raise EmptyBatchError(f"{name} holds no rows", fix="fill the file, or move it out of the data folder")
    checked = []
    refused: list[FtzardError] = []
    for row_id, cell, label, row, annotator in rows:
        try:
            text = _text(row_id, cell, label, f"{name}, {unit} {row}", config, texts)
        except FtzardError as error:
            refused.append(error)
        else:
            checked.append((row_id, text, label, row, annotator))
    if refused:
        raise _first_of(refused)
    return pl.DataFrame(checked, schema=RETURNED_SCHEMA, orient="row")


def _first_of(refused: Sequence[FtzardError]) -> FtzardError:
    """The first refusal, which says how many follow it: nobody has to find them one by one."""
    first, num_more = refused[0], len(refused) - 1
    return type(first)(f"{first.what}; {num_more} more row(s) are refused", fix=first.fix) if num_more else first


def _text(
    row_id: str, cell: str, label: str | None, place: str, config: DataConfig, texts: Mapping[str, str] | None
) -> str:
    """The text that was queued."""
    if not row_id:
        raise MalformedBatchError(f"{place}: the row has no {ID_COLUMN}", fix="take out rows that were not queued")
    if not _is_encodable(label or ""):
        raise MalformedBatchError(f"{place}: the label {label!r} is not text", fix="correct the label")
    restored = _restored(row_id, cell, config)
    if restored is None and texts is None:
        raise MalformedBatchError(
            f"{place}: the text is not the one that was queued as {row_id}",
            fix="spreadsheets change some texts, such as dates and long numbers: give this row back as it was, "
            "take it out, or use `ftzard labels import`, which takes texts from the queue",
        )
    if texts is None:
        return restored or ""
    if row_id not in texts:
        raise UnknownRowError(
            f"{place}: no label queue holds the row {row_id!r}",
            fix="import the file into the project that exported it; a row leaves a queue when its file is queued anew",
        )
    # A changed text is the queue's; another row's text means that one column was sorted without the others.
    if restored is None and _is_encodable(cell) and {_hash(unescaped(cell)), _hash(cell)} & texts.keys():
        raise MalformedBatchError(
            f"{place}: the text is that of another row than {row_id}",
            fix="columns were sorted or moved apart from each other: fill in a fresh export",
        )
    return texts[row_id]


def _restored(row_id: str, cell: str, config: DataConfig) -> str | None:
    """The text with this id that a cell shows; None where it shows another."""
    # A program may have taken the apostrophe for its own mark and away, and a cell's line ends for its own.
    cells = [unescaped(cell), cell] if _is_encodable(cell) else []
    candidates = [*cells, *(one.replace("\r\n", "\n") for one in cells)]
    for candidate in dict.fromkeys(candidates):
        if _hash(candidate) == row_id:
            return candidate
    # What cleaning takes away again does no harm, such as a space at the end.
    for candidate in normalise_text(pl.Series(candidates, dtype=pl.String), config.cleaning_steps):
        if _hash(candidate) == row_id:
            return str(candidate)
    return None


def _hash(text: str) -> str:
    return str(hash_texts(pl.Series([text], dtype=pl.String))[0])


def _is_encodable(text: str) -> bool:
    """Whether a text holds no half characters (lone surrogates, as JSON can write them)."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
