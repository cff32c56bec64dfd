"""What a delimited file does not say about itself: its delimiter, and what ends its lines."""

import csv
import io
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from ftzard.core.row_columns import row_columns

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ftzard.config import DataConfig

_DELIMITERS: Final = (",", ";", "\t", "|")
_SUFFIX_DELIMITERS: Final = {".csv": ",", ".tsv": "\t"}
_NUM_RECORDS_TRIED: Final = 20
_field_size_limit_lock = threading.Lock()


def detect_delimiter(text: str, suffix: str, config: "DataConfig") -> str:
    """Tell the delimiter of a delimited file from its first records.

    The right one is the one by which the first record names the configured columns, or by which the first records all
    have as many fields as `config.column_names`; this is stricter than a count of characters, which a comma in a text
    misleads. If none fits, it is the one that makes the most fields, so that the message on what is missing shows
    sensible columns.

    Args:
        text: The file's text.
        suffix: The file's suffix in lower case; its own delimiter (`,` for .csv, tab for .tsv) is tried first.
        config: Says which columns are looked for.

    Returns:
        One of comma, semicolon, tab and bar; the configured delimiter where there is one.
    """
    if config.delimiter != "auto":
        return config.delimiter
    default = _SUFFIX_DELIMITERS.get(suffix, ",")
    candidates = (default, *(delimiter for delimiter in _DELIMITERS if delimiter != default))
    tried = {delimiter: _first_records(text, delimiter) for delimiter in candidates}
    for delimiter, records in tried.items():
        if records and names_columns(records[0], config):
            return delimiter
    for delimiter, records in tried.items():
        if {len(record) for record in records} == {len(config.column_names)}:
            return delimiter
    return max(candidates, key=lambda delimiter: len(tried[delimiter][0]) if tried[delimiter] else 0)


def names_columns(record: "Sequence[str]", config: "DataConfig") -> bool:
    """Whether a record is a header: it holds the names of all columns that the task needs."""
    return set(row_columns(config).names.values()) <= {field.strip() for field in record}


def line_end(text: str) -> str:
    r"""Tell what ends a line: `\n` (also in `\r\n`), or `\r` in a text without any `\n`."""
    return "\n" if "\n" in text else "\r"


@contextmanager
def fields_of_any_length(num_characters: int) -> "Iterator[None]":
    """Let `csv` read fields of up to so many characters, and leave its limit as it was.

    The limit is the process's, hence the lock; other code sees it raised for a moment, never lowered.
    """
    with _field_size_limit_lock:
        limit = csv.field_size_limit()
        csv.field_size_limit(max(limit, num_characters))
        try:
            yield
        finally:
            csv.field_size_limit(limit)


def _first_records(text: str, delimiter: str) -> list[list[str]]:
    """Parse the first records, up to the first that this delimiter does not parse."""
    records: list[list[str]] = []
    lines = io.StringIO(text, newline=line_end(text))
    with fields_of_any_length(len(text)), suppress(csv.Error):
        for record in csv.reader(lines, delimiter=delimiter, strict=True):
            if record:
                records.append(record)
            if len(records) == _NUM_RECORDS_TRIED:
                break
    return records
