"""The formats a batch can have: delimited text, JSON lines and Parquet, each parsed strictly into the same columns.

Python's own `csv` and `json` are used rather than a faster reader because they say on which line a record starts, also
where quoted texts hold line breaks, and because they never guess.
"""

import csv
import difflib
import io
import itertools
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NoReturn

import polars as pl

from ftzard.config import DataConfig
from ftzard.core.detection import fields_of_any_length, line_end, names_columns
from ftzard.core.records import RAW_SCHEMA
from ftzard.core.row_columns import RowColumns, row_columns
from ftzard.errors import EmptyBatchError, MalformedBatchError, MissingColumnError

PARSED_SCHEMA: Final = pl.Schema({name: RAW_SCHEMA[name] for name in ("text", "label", "row")})

_MAX_NAME_SHOWN: Final = 40


def parse_delimited(text: str, name: str, delimiter: str, config: DataConfig) -> pl.DataFrame:
    """Parse CSV, TSV and their like.

    Args:
        text: The file's text, line ends as they are in the file.
        name: The file's name for messages.
        delimiter: One character.
        config: Names the columns, and all columns of files without a header.

    Returns:
        `PARSED_SCHEMA`; `row` is the 1-based line on which the record starts.

    Raises:
        EmptyBatchError: There is no record below the header.
        MalformedBatchError: Quotes do not balance, a record has more or fewer fields than there are columns, or two
            columns have the same name.
        MissingColumnError: A column that the task needs is missing.
    """
    wanted = row_columns(config)
    if wanted.needs_structure:
        raise MalformedBatchError(
            f"{name} is delimited text, which cannot hold the lists of messages that data.messages_column names",
            fix="give messages as JSON lines (.jsonl) or Parquet",
        )
    with fields_of_any_length(len(text)):
        records = _records(text, name, delimiter)
        first = next(records, None)
        if first is None:
            raise _empty(name)
        columns = _columns(first[1], name, config)
        is_header = not config.column_names or names_columns(first[1], config)
        indices = _find_columns(columns, name, wanted)
        rows: list[tuple[int, list[object]]] = []
        for line, record in records if is_header else itertools.chain([first], records):
            if len(record) != len(columns):
                raise MalformedBatchError(
                    f"{name}, line {line}: {len(record)} field(s) where there are {len(columns)} columns "
                    f"(delimiter {delimiter!r})",
                    fix="put quotes around a text that holds the delimiter, or set data.delimiter",
                )
            rows.append((line, [record[index] for index in indices]))
    return _frame(rows, name, "line", wanted)


def parse_json_lines(text: str, name: str, config: DataConfig, *, answered: bool = True) -> pl.DataFrame:
    """Parse a file with one JSON object on each line; blank lines are passed over.

    An object may lack the text or the label, or have it null; a label may be a number or a truth value and is then
    taken as `canonical_label` writes it.

    Args:
        text: The file's text.
        name: The file's name for messages.
        config: Names the columns.
        answered: Whether messages must end with an answer.

    Returns:
        `PARSED_SCHEMA`; `row` is the 1-based line.

    Raises:
        EmptyBatchError: There is no object.
        MalformedBatchError: A line is not a JSON object, or a text or label in it is of a type that it cannot be.
        MissingColumnError: No object has the text, or none has the label.
    """
    lines = enumerate(io.StringIO(text, newline=line_end(text)), start=1)
    objects = [(number, _json_object(line, name, number)) for number, line in lines if line.strip()]
    if not objects:
        raise _empty(name)
    columns = list(dict.fromkeys(itertools.chain.from_iterable(keys for _, keys in objects)))
    wanted = row_columns(config, answered=answered)
    _find_columns(columns, name, wanted)
    rows = ((number, [found.get(column) for column in wanted.names.values()]) for number, found in objects)
    return _frame(rows, name, "line", wanted)


def parse_parquet(data: bytes, name: str, config: DataConfig, *, answered: bool = True) -> pl.DataFrame:
    """Parse a Parquet file.

    Args:
        data: The file's bytes.
        name: The file's name for messages.
        config: Names the columns; the others are not read.
        answered: Whether messages must end with an answer.

    Returns:
        `PARSED_SCHEMA`; `row` is the 1-based number of the record. Labels as for `parse_json_lines`.

    Raises:
        EmptyBatchError: There is no record.
        MalformedBatchError: The file is not Parquet or damaged, or a text or label is of a type that it cannot be.
        MissingColumnError: The text or the label column is missing.
    """
    wanted = row_columns(config, answered=answered)
    try:
        _find_columns(list(pl.read_parquet_schema(io.BytesIO(data))), name, wanted)
        # Two keys may name one column.
        frame = pl.read_parquet(io.BytesIO(data), columns=list(dict.fromkeys(wanted.names.values())))
    # A damaged file can also make the reader panic, which polars raises outside of `Exception`.
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise MalformedBatchError(
            f"{name} is not a Parquet file that can be read: {str(error).splitlines()[0]}",
            fix="write the file again, or move it out of the data folder",
        ) from error
    if frame.is_empty():
        raise _empty(name)
    values = zip(*(frame[column] for column in wanted.names.values()), strict=True)
    return _frame(((number, list(row)) for number, row in enumerate(values, start=1)), name, "record", wanted)


def canonical_label(value: object) -> str | None:
    """Write a label of any scalar type as text, so that 4, 4.0 and "4" are one label.

    Args:
        value: Text, a number, a truth value, or None or NaN for no label.

    Returns:
        Text as it is; `true` or `false`; an integral number without decimals; any other number in its shortest form;
        None for no label.

    Raises:
        TypeError: The value is of another type, or infinite.
    """
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float) and not math.isinf(value):
        if math.isnan(value):
            return None
        return str(int(value)) if value.is_integer() else repr(value)
    message = f"the label {_shorten(repr(value))} is neither text nor a finite number"
    raise TypeError(message)


def _records(text: str, name: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield each record with the line it starts on; blank lines are passed over."""
    reader = csv.reader(io.StringIO(text, newline=line_end(text)), delimiter=delimiter, strict=True)
    start = 1
    try:
        for record in reader:
            if len(record) > 1 or any(field.strip() for field in record):
                yield start, record
            start = reader.line_num + 1
    except csv.Error as error:
        raise MalformedBatchError(
            f"{name}: the record that starts on line {start} cannot be parsed, at line {reader.line_num}: {error}",
            fix='balance the quotes: a text that begins with a quote also ends with one, and holds "" for each within',
        ) from error


def _columns(first: Sequence[str], name: str, config: DataConfig) -> list[str]:
    """Name the columns, from the header or from the configuration.

    A file that names the text and the label column in its first record has a header, whatever is configured: batches
    that come back from labelling have one, also where the raw files have none.
    """
    if config.column_names and not names_columns(first, config):
        if len(first) != len(config.column_names):
            raise MalformedBatchError(
                f"{name} has {len(first)} field(s) in its first record, "
                f"but data.column_names names {len(config.column_names)}",
                fix="name each column of the file in data.column_names, in order, or set data.delimiter",
            )
        return list(config.column_names)
    columns = [field.strip() for field in first]
    # Spreadsheets leave several nameless columns at the end; those cannot be confused with each other.
    repeated = sorted({column for column in columns if column and columns.count(column) > 1})
    if repeated:
        raise MalformedBatchError(
            f"{name} names the column(s) {[_shorten(column) for column in repeated]} more than once in its first row",
            fix="rename them in the file; or, if the file has no header row, set data.column_names",
        )
    return columns


def _find_columns(columns: list[str], name: str, wanted: RowColumns) -> list[int]:
    for key, column in wanted.names.items():
        if column not in columns:
            raise MissingColumnError(
                f"{name} has no column {column!r}; its columns are {[_shorten(found) for found in columns]}"
                f"{_nearest(column, columns)}",
                fix=f"set data.{key}=NAME to one of them; for a delimited file without a header row, name its columns "
                "with data.column_names",
            )
    return [columns.index(column) for column in wanted.names.values()]


def _nearest(column: str, columns: Sequence[str]) -> str:
    by_lower = {found.lower(): found for found in columns}
    nearest = difflib.get_close_matches(column.lower(), by_lower, n=1)
    return f"; the nearest is {_shorten(by_lower[nearest[0]])!r}" if nearest else ""


def _json_object(line: str, name: str, number: int) -> dict[str, object]:
    try:
        found = json.loads(line, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise MalformedBatchError(
            f"{name}, line {number} is not JSON: {error}", fix="write one JSON object on each line, and nothing else"
        ) from error
    if not isinstance(found, dict):
        raise MalformedBatchError(
            f"{name}, line {number} holds {_shorten(repr(found))} where a JSON object should be",
            fix='write one object on each line, such as {"text": "...", "label": "..."}',
        )
    return found


def _refuse_constant(constant: str) -> NoReturn:
    message = f"{constant} is not JSON; a missing value is null"
    raise ValueError(message)


def _frame(rows: Iterable[tuple[int, Sequence[object]]], name: str, unit: str, wanted: RowColumns) -> pl.DataFrame:
    parsed: list[tuple[str | None, str | None, int]] = []
    for number, values in rows:
        try:
            text, label = wanted.combine(values)
            parsed.append((_as_text(text), _encodable(canonical_label(label)), number))
        except (TypeError, ValueError) as error:
            keys = " and ".join(f"data.{key}" for key in wanted.names)
            raise MalformedBatchError(
                f"{name}, {unit} {number}: {error}",
                fix=f"correct the value in the file, or name other columns with {keys}",
            ) from error
    if not parsed:
        raise _empty(name)
    return pl.DataFrame(parsed, schema=PARSED_SCHEMA, orient="row")


def _as_text(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return _encodable(value)
    message = f"the text {_shorten(repr(value))} is not text"
    raise TypeError(message)


def _encodable(value: str | None) -> str | None:
    """Return the value, or raise UnicodeEncodeError for half a character (a lone surrogate, as JSON can write it)."""
    if value is not None and not value.isascii():
        value.encode("utf-8")
    return value


def _empty(name: str) -> EmptyBatchError:
    return EmptyBatchError(f"{name} holds no rows", fix="fill the file, or move it out of the data folder")


def _shorten(text: str) -> str:
    return text if len(text) <= _MAX_NAME_SHOWN else text[: _MAX_NAME_SHOWN - 1] + "…"
