"""The formats a batch can have: delimited text, JSON lines, Parquet and Arrow, parsed strictly into the same columns.

Python's own `csv` and `json` are used rather than a faster reader because they say on which line a record starts, also
where quoted texts hold line breaks, and because they never guess.
"""

import csv
import difflib
import io
import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final, NoReturn

import polars as pl

from ftzard.config import DataConfig
from ftzard.core.cell_values import as_group, as_text, as_time, canonical_label, encodable, shorten
from ftzard.core.column_files import ColumnFile
from ftzard.core.detection import fields_of_any_length, line_end, names_columns
from ftzard.core.records import PLACEMENT_SCHEMA, RAW_SCHEMA
from ftzard.core.row_columns import RowColumns, row_columns
from ftzard.errors import EmptyBatchError, MalformedBatchError, MissingColumnError

PARSED_SCHEMA: Final = pl.Schema({name: RAW_SCHEMA[name] for name in ("text", "label", "row")})
_PLACING: Final[Mapping[str, Callable[[object], object]]] = {"group": as_group, "time": as_time}


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
            rows.append((line, [None if index is None else record[index] for index in indices]))
    return _frame(rows, name, "line", wanted)


def parse_json_lines(
    text: str, name: str, config: DataConfig, *, answered: bool = True, unit: str = "line"
) -> pl.DataFrame:
    """Parse a file with one JSON object on each line; blank lines are passed over.

    An object may lack the text or the label, or have it null; a label may be a number or a truth value and is then
    taken as `canonical_label` writes it.

    Args:
        text: The file's text.
        name: The file's name for messages.
        config: Names the columns.
        answered: Whether messages must end with an answer.
        unit: What a line is called in messages.

    Returns:
        `PARSED_SCHEMA`; `row` is the 1-based line.

    Raises:
        EmptyBatchError: There is no object.
        MalformedBatchError: A line is not a JSON object, or a text or label in it is of a type that it cannot be.
        MissingColumnError: No object has the text, or none has the label.
    """
    lines = enumerate(io.StringIO(text, newline=line_end(text)), start=1)
    objects = [(number, _json_object(line, f"{name}, {unit} {number}")) for number, line in lines if line.strip()]
    if not objects:
        raise _empty(name)
    columns = list(dict.fromkeys(itertools.chain.from_iterable(keys for _, keys in objects)))
    wanted = row_columns(config, answered=answered)
    _find_columns(columns, name, wanted)
    names = [*wanted.names.values(), *wanted.placement.values()]
    rows = ((number, [found.get(column) for column in names]) for number, found in objects)
    return _frame(rows, name, unit, wanted)


def parse_columns(data: bytes, name: str, suffix: str, config: DataConfig, *, answered: bool = True) -> pl.DataFrame:
    """Parse a Parquet or an Arrow file.

    Args:
        data: The file's bytes.
        name: The file's name for messages.
        suffix: Of its format.
        config: Names the columns; the others are not read.
        answered: Whether messages must end with an answer.

    Returns:
        `PARSED_SCHEMA`; `row` is the 1-based number of the record. Labels as for `parse_json_lines`.

    Raises:
        EmptyBatchError: There is no record.
        MalformedBatchError: The file is damaged or too large, or a text or label is of a type that it cannot be.
        MissingColumnError: The text or the label column is missing.
    """
    wanted = row_columns(config, answered=answered)
    file = ColumnFile(data, name, suffix, config.max_file_bytes)
    columns = file.columns()
    _find_columns(columns, name, wanted)
    names = [*wanted.names.values(), *wanted.placement.values()]
    # Two keys may name one column.
    frame = file.read(list(dict.fromkeys(name for name in names if name in columns)))
    if frame.is_empty():
        raise _empty(name)
    nothing = itertools.repeat(None, frame.height)
    values = zip(*(frame[column] if column in frame.columns else nothing for column in names), strict=True)
    return _frame(((number, list(row)) for number, row in enumerate(values, start=1)), name, "record", wanted)


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
    repeated = sorted(column for column, count in Counter(columns).items() if column and count > 1)
    if repeated:
        raise MalformedBatchError(
            f"{name} names the column(s) {[shorten(column) for column in repeated]} more than once in its first row",
            fix="rename them in the file; or, if the file has no header row, set data.column_names",
        )
    return columns


def _find_columns(columns: list[str], name: str, wanted: RowColumns) -> list[int | None]:
    """The places of the columns of a row and of those that place it, None for one of those that is not there."""
    for key, column in wanted.names.items():
        if column not in columns:
            raise MissingColumnError(
                f"{name} has no column {column!r}; its columns are {[shorten(found) for found in columns]}"
                f"{_nearest(column, columns)}",
                fix=f"set data.{key}=NAME to one of them; for a delimited file without a header row, name its columns "
                "with data.column_names",
            )
    placing = [columns.index(column) if column in columns else None for column in wanted.placement.values()]
    return [*(columns.index(column) for column in wanted.names.values()), *placing]


def _nearest(column: str, columns: Sequence[str]) -> str:
    by_lower = {found.lower(): found for found in columns}
    nearest = difflib.get_close_matches(column.lower(), by_lower, n=1)
    return f"; the nearest is {shorten(by_lower[nearest[0]])!r}" if nearest else ""


def _json_object(line: str, place: str) -> dict[str, object]:
    try:
        found = json.loads(line, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise MalformedBatchError(
            f"{place} is not JSON: {error}", fix="write one JSON object on each line, and nothing else"
        ) from error
    if not isinstance(found, dict):
        raise MalformedBatchError(
            f"{place} holds {shorten(repr(found))} where a JSON object should be",
            fix='write one object on each line, such as {"text": "...", "label": "..."}',
        )
    return found


def _refuse_constant(constant: str) -> NoReturn:
    message = f"{constant} is not JSON; a missing value is null"
    raise ValueError(message)


def _frame(rows: Iterable[tuple[int, Sequence[object]]], name: str, unit: str, wanted: RowColumns) -> pl.DataFrame:
    parsed: list[tuple[object, ...]] = []
    num_values = len(wanted.names)
    for number, values in rows:
        try:
            text, label = wanted.combine(values[:num_values])
            placing = [_PLACING[key](value) for key, value in zip(wanted.placement, values[num_values:], strict=True)]
            parsed.append((as_text(text), encodable(canonical_label(label)), number, *placing))
        except (TypeError, ValueError) as error:
            keys = " and ".join(
                f"data.{key}" for key in (*wanted.names, *(f"{key}_column" for key in wanted.placement))
            )
            raise MalformedBatchError(
                f"{name}, {unit} {number}: {error}",
                fix=f"correct the value in the file, or name other columns with {keys}",
            ) from error
    if not parsed:
        raise _empty(name)
    schema = {**PARSED_SCHEMA, **{key: PLACEMENT_SCHEMA[key] for key in wanted.placement}}
    return pl.DataFrame(parsed, schema=schema, orient="row")


def _empty(name: str) -> EmptyBatchError:
    return EmptyBatchError(f"{name} holds no rows", fix="fill the file, or move it out of the data folder")
