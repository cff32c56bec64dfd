"""Delimited text that is simple enough for polars' reader, which is many times as fast as record by record.

Simple is text of which a pattern, matched with each line, leaves no doubt: every line is a record with as many fields
as there are columns, and a field either stands in quotes or holds none. Whatever else there is (line breaks in quotes,
ragged records, blank lines, quotes that do not balance) is declined and left to the careful reader in
`ftzard.core.batch_formats`, which makes the same frame of simple text and is the judge of the rest.
"""

import csv
import io
from collections.abc import Mapping
from typing import Final

import polars as pl

from ftzard.config import DataConfig
from ftzard.core.cell_values import PLACING
from ftzard.core.detection import fields_of_any_length, names_columns
from ftzard.core.records import PLACEMENT_SCHEMA, RAW_SCHEMA
from ftzard.core.row_columns import row_columns

_ODD_DELIMITERS: Final = frozenset('"\r\n\0')
# What polars would take away (a byte order mark) or unpack (zlib's first bytes).
_ODD_STARTS: Final = ("\ufeff", "x\x01")
# Of more columns the pattern would be a large one. Of a single one, blank records are passed over.
_NUM_COLUMNS: Final = range(2, 101)
_NUM_VALUES: Final = 2
# Below, setting up costs more than it saves.
_MIN_CHARACTERS: Final = 20_000


def parse_simple(
    text: str, delimiter: str, config: DataConfig, *, min_characters: int = _MIN_CHARACTERS
) -> pl.DataFrame | None:
    """Parse simple CSV, TSV and their like.

    Args:
        text: The file's text, line ends as they are in the file.
        delimiter: One character.
        config: Names the columns, and all columns of files without a header.
        min_characters: A shorter text is declined.

    Returns:
        What `ftzard.core.batch_formats.parse_delimited` returns; None for text that is not simple, or in which anything
        is wrong.
    """
    wanted = row_columns(config)
    # Two columns that stay as they are.
    is_plain = not wanted.needs_structure and len(wanted.names) == _NUM_VALUES and delimiter not in _ODD_DELIMITERS
    # A list that was written as text is refused there.
    is_plain &= config.task != "multi_label" or "[" not in text
    if not is_plain or len(text) < min_characters or text.startswith(_ODD_STARTS) or "\0" in text:
        return None
    text = text.replace("\r\n", "\n") if "\r" in text else text
    first = _first_record(text, delimiter)
    if "\r" in text or first is None:
        return None
    has_header = not config.column_names or names_columns(first, config)
    columns = [field.strip() for field in first] if has_header else list(config.column_names)
    names = [*wanted.names.values(), *(name for name in wanted.placement.values() if name in columns)]
    if not _are_sound(columns, names) or len(first) != len(columns):
        return None
    found = _read(text, delimiter, len(columns), [columns.index(name) for name in names])
    return None if found is None else _as_parsed(found.slice(1 if has_header else 0), names, wanted.placement)


def _first_record(text: str, delimiter: str) -> list[str] | None:
    line = text[: text.find("\n")] if "\n" in text else text
    try:
        with fields_of_any_length(len(line)):
            return next(csv.reader([line], delimiter=delimiter, strict=True), None)
    except csv.Error:
        return None


def _are_sound(columns: list[str], names: list[str]) -> bool:
    named = [column for column in columns if column]
    return len(columns) in _NUM_COLUMNS and len(set(named)) == len(named) and set(names) <= set(columns)


def _read(text: str, delimiter: str, num_columns: int, indices: list[int]) -> pl.DataFrame | None:
    """The wanted columns by their places, and the number of each line as `row`; None where a line is not simple."""
    separator = f"\\x{ord(delimiter):02x}"
    field = f'(?:"[^"]*(?:""[^"]*)*"|[^"{separator}]*)'
    pattern = f"^{field}(?:{separator}{field}){{{num_columns - 1}}}$"
    try:
        data = text.encode("utf-8")
        lines = pl.scan_lines(io.BytesIO(data)).select(pl.col("line").str.contains(pattern))
        checked = lines.select(pl.len(), pl.col("line").all()).collect(engine="streaming")
        if not checked["line"].item():
            return None
        schema = {str(index): pl.String for index in range(num_columns)}
        scanned = pl.scan_csv(
            io.BytesIO(data), has_header=False, schema=schema, separator=delimiter, empty_string_is_null=False
        )
        frame = scanned.select(str(index) for index in dict.fromkeys(indices)).collect(engine="streaming")
    except (UnicodeEncodeError, pl.exceptions.PolarsError):
        return None
    if frame.height != checked["len"].item():
        return None
    numbered = frame.select(pl.col(str(index)).alias(f"value {place}") for place, index in enumerate(indices))
    return numbered.with_columns(row=pl.int_range(1, frame.height + 1, dtype=pl.Int64))


def _as_parsed(found: pl.DataFrame, names: list[str], placement: Mapping[str, str]) -> pl.DataFrame | None:
    if found.is_empty():
        return None
    parsed = found.select(pl.col("value 0").alias("text"), pl.col("value 1").alias("label"), "row")
    for key, name in placement.items():
        try:
            values = [PLACING[key](value) for value in found[f"value {names.index(name, 2)}"]] if name in names else []
        except (TypeError, ValueError):
            return None
        dtype = PLACEMENT_SCHEMA[key]
        column = pl.Series(key, values, dtype=dtype) if values else pl.Series(key, [None] * found.height, dtype=dtype)
        parsed = parsed.with_columns(column)
    return parsed.select(*(name for name in RAW_SCHEMA if name != "batch"), *placement)
