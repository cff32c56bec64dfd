"""The formats a batch can have: delimited text, JSON lines, Parquet and Arrow, parsed strictly into the same columns.

A row that cannot be read is set aside, and the rest goes on (`ftzard.core.quarantine`).

Python's own `csv` and `json` are used rather than a faster reader because they say on which line a record starts, also
where quoted texts hold line breaks, and because they never guess. Delimited text that leaves no doubt is read by a
faster one (`ftzard.core.fast_delimited`).
"""

import difflib
import io
import itertools
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final, NoReturn

import polars as pl

from ftzard.config import DataConfig
from ftzard.core.cell_values import PLACING, as_text, encodable, listed, shorten
from ftzard.core.column_files import ColumnFile
from ftzard.core.delimited_records import Record, read_records
from ftzard.core.detection import fields_of_any_length, line_end, names_columns
from ftzard.core.fast_delimited import parse_simple
from ftzard.core.quarantine import BadRow, NotARowError, Parsed, Unit, refused_value, require_few
from ftzard.core.records import PLACEMENT_SCHEMA, RAW_SCHEMA
from ftzard.core.row_columns import RowColumns, row_columns
from ftzard.errors import EmptyBatchError, MalformedBatchError, MissingColumnError

PARSED_SCHEMA: Final = pl.Schema({name: RAW_SCHEMA[name] for name in ("text", "label", "row")})


def parse_delimited(text: str, name: str, delimiter: str, config: DataConfig) -> Parsed:
    """Parse CSV, TSV and their like.

    Args:
        text: The file's text, line ends as they are in the file.
        name: The file's name for messages.
        delimiter: One character.
        config: Names the columns, and all columns of files without a header.

    Returns:
        `PARSED_SCHEMA`, where `row` is the 1-based line on which the record starts, and the rows that have more or
        fewer fields than there are columns, quotes in the wrong places, or a value that is none.

    Raises:
        EmptyBatchError: There is no record below the header.
        MalformedBatchError: A quote is never closed, or may reach into the next rows; too many rows cannot be read; or
            two columns have the same name.
        MissingColumnError: A column that the task needs is missing.
    """
    fast = parse_simple(text, delimiter, config)
    if fast is not None:
        return Parsed(fast)
    wanted = row_columns(config)
    if wanted.needs_structure:
        raise MalformedBatchError(
            f"{name} is delimited text, which cannot hold the lists of messages that data.messages_column names",
            fix="give messages as JSON lines (.jsonl) or Parquet",
        )
    with fields_of_any_length(len(text)):
        records = read_records(text, name, delimiter)
        first = next(records, None)
        if first is None:
            raise _empty(name)
        columns = _columns(first.fields, name, config)
        is_header = not config.column_names or names_columns(first.fields, config)
        indices = _find_columns(columns, name, wanted)
        rows: list[tuple[int, list[object]]] = []
        bad: list[BadRow] = []
        for record in records if is_header else itertools.chain([first], records):
            problem = record.problem or _wrong_number(record, len(columns), delimiter)
            if problem:
                bad.append(problem.at(record.line, record.text, num_lines=record.num_lines))
            else:
                rows.append((record.line, [None if index is None else record.fields[index] for index in indices]))
    return _parsed(rows, bad, name, "line", wanted, config)


def parse_json_lines(text: str, name: str, config: DataConfig, *, answered: bool = True, unit: Unit = "line") -> Parsed:
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
        `PARSED_SCHEMA`, where `row` is the 1-based line, and the lines that are not a JSON object, or whose text or
        label is of a type that it cannot be.

    Raises:
        EmptyBatchError: There is no line.
        MalformedBatchError: Too many lines cannot be read.
        MissingColumnError: No object has the text, or none has the label.
    """
    objects: list[tuple[int, dict[str, object]]] = []
    bad: list[BadRow] = []
    for number, line in enumerate(io.StringIO(text, newline=line_end(text)), start=1):
        if not line.strip():
            continue
        try:
            objects.append((number, _json_object(line)))
        except NotARowError as error:
            bad.append(error.at(number, line.rstrip("\r\n")))
    wanted = row_columns(config, answered=answered)
    if objects:
        _find_columns(list(dict.fromkeys(itertools.chain.from_iterable(keys for _, keys in objects))), name, wanted)
    names = [*wanted.names.values(), *wanted.placement.values()]
    rows = ((number, [found.get(column) for column in names]) for number, found in objects)
    return _parsed(rows, bad, name, unit, wanted, config)


def parse_columns(data: bytes, name: str, suffix: str, config: DataConfig, *, answered: bool = True) -> Parsed:
    """Parse a Parquet or an Arrow file.

    Args:
        data: The file's bytes.
        name: The file's name for messages.
        suffix: Of its format.
        config: Names the columns; the others are not read.
        answered: Whether messages must end with an answer.

    Returns:
        `PARSED_SCHEMA`, where `row` is the 1-based number of the record, and the records whose text or label is of a
        type that it cannot be. Labels as for `parse_json_lines`.

    Raises:
        EmptyBatchError: There is no record.
        MalformedBatchError: The file is damaged or too large, or too many records cannot be read.
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
    rows = ((number, list(row)) for number, row in enumerate(values, start=1))
    return _parsed(rows, [], name, "record", wanted, config)


def _wrong_number(record: Record, num_columns: int, delimiter: str) -> NotARowError | None:
    if len(record.fields) == num_columns:
        return None
    return NotARowError(
        "too_few_fields" if len(record.fields) < num_columns else "too_many_fields",
        f"{len(record.fields)} field(s) where there are {num_columns} columns (delimiter {delimiter!r})",
        "put quotes around a text that holds the delimiter, or set data.delimiter",
    )


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
            f"{name} names the column(s) {listed(repeated)} more than once in its first row",
            fix="rename them in the file; or, if the file has no header row, set data.column_names",
        )
    return columns


def _find_columns(columns: list[str], name: str, wanted: RowColumns) -> list[int | None]:
    """The places of the columns of a row and of those that place it, None for one that a file may lack."""
    for key, column in wanted.names.items():
        if column not in columns and key not in wanted.optional:
            raise MissingColumnError(
                f"{name} has no column {column!r}; its columns are {listed(columns)}{_nearest(column, columns)}",
                fix=f"{_naming(key)}; for a delimited file without a header row, name its columns with "
                "data.column_names",
            )
    names = (*wanted.names.values(), *wanted.placement.values())
    return [columns.index(column) if column in columns else None for column in names]


def _naming(key: str) -> str:
    """How a column, or several, are named in the configuration."""
    name, is_one_of_several, _ = key.partition(".")
    if is_one_of_several:
        return f"set data.{name}=[NAME,NAME] to those of them that are labels"
    return f"set data.{name}=NAME to one of them"


def _nearest(column: str, columns: Sequence[str]) -> str:
    by_lower = {found.lower(): found for found in columns}
    nearest = difflib.get_close_matches(column.lower(), by_lower, n=1)
    return f"; the nearest is {shorten(by_lower[nearest[0]])!r}" if nearest else ""


def _json_object(line: str) -> dict[str, object]:
    try:
        found = json.loads(line, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise NotARowError(
            "not_json", f"not JSON: {error}", "write one JSON object on each line, and nothing else"
        ) from error
    if not isinstance(found, dict):
        raise NotARowError(
            "not_an_object",
            f"{shorten(repr(found))} where a JSON object should be",
            'write one object on each line, such as {"text": "...", "label": "..."}',
        )
    return found


def _refuse_constant(constant: str) -> NoReturn:
    message = f"{constant} is not JSON; a missing value is null"
    raise ValueError(message)


def _parsed(
    rows: Iterable[tuple[int, Sequence[object]]],
    bad: list[BadRow],
    name: str,
    unit: Unit,
    wanted: RowColumns,
    config: DataConfig,
) -> Parsed:
    """Make rows of values, and put those whose values are none beside those that are bad already."""
    parsed: list[tuple[object, ...]] = []
    bad = list(bad)
    for number, values in rows:
        found = _row(number, values, wanted)
        if isinstance(found, BadRow):
            bad.append(found)
        else:
            parsed.append(found)
    if not parsed and not bad:
        raise _empty(name)
    schema = {**PARSED_SCHEMA, **{key: PLACEMENT_SCHEMA[key] for key in wanted.placement}}
    frame = pl.DataFrame(parsed, schema=schema, orient="row")
    return require_few(Parsed(frame, tuple(sorted(bad, key=lambda one: one.row))), name, unit, config)


def _row(number: int, values: Sequence[object], wanted: RowColumns) -> tuple[object, ...] | BadRow:
    """A row of `PARSED_SCHEMA`, or what is wrong with its first value that is none."""
    num_values = len(wanted.names)
    asked = values[:num_values]
    at: int | None = None
    value: object = asked[0] if num_values == 1 else asked
    try:
        text, label = wanted.combine(asked)
        at, value = 0, text
        text = as_text(text)
        at, value = 1, label
        label = encodable(wanted.read_label(label))
        placed: list[object] = []
        for key, value in zip(wanted.placement, values[num_values:], strict=True):
            at = 2 + len(placed)
            placed.append(PLACING[key](value))
    except (TypeError, ValueError) as error:
        keys = " and ".join(f"data.{key}" for key in wanted.keys)
        refused = refused_value(error, f"correct the value in the file, or name other columns with {keys}")
        return refused.at(number, value, column=_column_at(at, wanted))
    return (text, label, number, *placed)


def _column_at(place: int | None, wanted: RowColumns) -> str:
    """The column, or those, that a value is from: text, label and what places the row, or all that make a row."""
    if place is None:
        return ", ".join(wanted.names.values())
    text_column, *others = (column for key, column in wanted.names.items() if key != "context_column")
    return [text_column, ", ".join(others) or text_column, *wanted.placement.values()][place]


def _empty(name: str) -> EmptyBatchError:
    return EmptyBatchError(f"{name} holds no rows", fix="fill the file, or move it out of the data folder")
