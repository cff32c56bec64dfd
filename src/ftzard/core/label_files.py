"""Files that go to a person for labels and come back: CSV that a spreadsheet opens without running anything in it."""

import csv
import io
import json
from typing import Final

import polars as pl

from ftzard.core.batch_formats import PARSED_SCHEMA
from ftzard.core.label_queue import LabelQueue
from ftzard.errors import EmptyBatchError, MalformedBatchError, MissingColumnError

ID_COLUMN: Final = "ftzard_id"
_TEXT_COLUMN: Final = "text"
LABEL_COLUMN: Final = "label"
# A spreadsheet takes a cell that begins so for a formula (OWASP, "CSV Injection"). The apostrophe is escaped as well,
# so that taking one away always gives the text back.
_ESCAPED: Final = ("=", "+", "-", "@", "\t", "\r", "'")
_DELIMITERS: Final = (",", ";", "\t")


def queue_csv(queue: LabelQueue) -> str:
    """The queue with an empty column for the label."""
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow([ID_COLUMN, _TEXT_COLUMN, LABEL_COLUMN])
    writer.writerows(
        [ftzard_id, escaped(text), ""] for ftzard_id, text in queue.rows.select("text_hash", "text").iter_rows()
    )
    return out.getvalue()


def label_studio_tasks(queue: LabelQueue) -> str:
    """The queue as JSON that Label Studio imports: a list of tasks with `data`."""
    rows = queue.rows.select("text_hash", "text").iter_rows()
    tasks = [{"data": {ID_COLUMN: text_hash, "text": text}} for text_hash, text in rows]
    return json.dumps(tasks, ensure_ascii=False, indent=2)


def escaped(text: str) -> str:
    """A text as a spreadsheet shows it without taking it for a formula."""
    return f"'{text}" if text.startswith(_ESCAPED) else text


def unescaped(cell: str) -> str:
    """What `escaped` was given."""
    return cell.removeprefix("'")


def is_label_file(data: bytes) -> bool:
    """Whether a file's first column says that it came out of a label queue."""
    return data.removeprefix(b"\xef\xbb\xbf").lstrip(b'"').startswith(ID_COLUMN.encode())


def parse_label_file(data: bytes, name: str) -> pl.DataFrame:
    """Parse a queue that a person has filled in, also after a spreadsheet has saved it its own way.

    Args:
        data: The file's bytes: UTF-8, with or without byte order mark; comma, semicolon or tab.
        name: What to call it.

    Returns:
        `PARSED_SCHEMA`; `row` is the 1-based line on which the record starts.

    Raises:
        MalformedBatchError: It is not UTF-8, quotes do not balance, or a record has too few fields.
        MissingColumnError: The text or the label column is gone.
        EmptyBatchError: There is no row.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise MalformedBatchError(
            f"{name} came out of a label queue and is no longer UTF-8: {error.reason} at byte {error.start}",
            fix='save it again as "CSV UTF-8"',
        ) from error
    header = text.partition("\n")[0]
    delimiter = max(_DELIMITERS, key=header.count)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    columns = reader.fieldnames or []
    for column in (_TEXT_COLUMN, LABEL_COLUMN):
        if column not in columns:
            raise MissingColumnError(
                f"{name} has no column {column!r}; its columns are {list(columns)}",
                fix="keep the columns that the label queue came with; others may be added",
            )
    rows, line = [], reader.line_num + 1
    try:
        for record in reader:
            if record[_TEXT_COLUMN] is None or record[LABEL_COLUMN] is None:
                raise MalformedBatchError(
                    f"{name}, line {line}: a field is missing", fix="give each row a text, and a label or nothing"
                )
            rows.append((unescaped(record[_TEXT_COLUMN]), record[LABEL_COLUMN], line))
            line = reader.line_num + 1
    except csv.Error as error:
        raise MalformedBatchError(
            f"{name}: the record that starts on line {line} cannot be parsed: {error}", fix="balance the quotes"
        ) from error
    if not rows:
        raise EmptyBatchError(f"{name} holds no rows", fix="fill the file, or move it out of the data folder")
    return pl.DataFrame(rows, schema=PARSED_SCHEMA, orient="row")
