"""Annotations as files: one for each import, which is never changed again.

What one person said is thus in the data's history as they said it, whatever is made of it later. `ftzard labels forget`
removes files as a whole.
"""

import contextlib
import csv
import io
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import polars as pl

from ftzard.core.annotations import ANNOTATION_SCHEMA
from ftzard.core.detection import fields_of_any_length
from ftzard.core.label_files import ID_COLUMN, escaped, unescaped
from ftzard.errors import AnnotatorNameError, StorageError

_SUFFIX: Final = ".csv"
_NAME: Final = re.compile(r"\w[\w.@-]{0,63}")
_FREE_TEXT: Final = ("text", "label")
_COLUMNS: Final = tuple(ID_COLUMN if name == "text_hash" else name for name in ANNOTATION_SCHEMA)


def check_annotator(name: str) -> None:
    """Check that a name can be part of a file's name, here and on other systems.

    Raises:
        AnnotatorNameError: It cannot.
    """
    if not _NAME.fullmatch(name):
        raise AnnotatorNameError(
            f"the annotator's name is {name!r}",
            fix="use up to 64 letters, digits, `_`, `-`, `.` and `@`, the first one a letter or digit",
        )


def read_annotations(folder: Path) -> pl.DataFrame:
    """Read all annotations, in the order of their files.

    Args:
        folder: It need not exist.

    Returns:
        `ANNOTATION_SCHEMA`.

    Raises:
        StorageError: A file is not as `append_annotations` wrote it.
    """
    return pl.concat([ANNOTATION_SCHEMA.to_frame(), *read_annotation_files(folder).values()])


def read_annotation_files(folder: Path) -> dict[Path, pl.DataFrame]:
    """Read all annotations by their file, in the order of the files; as `read_annotations`."""
    paths = sorted(path for path in folder.glob(f"*{_SUFFIX}") if not path.name.startswith("."))
    return {path: _read(path) for path in paths}


def append_annotations(folder: Path, annotations: pl.DataFrame, annotator: str, at: datetime) -> Path:
    """Keep what one person said at one time, whole or not at all.

    Args:
        folder: Made where it does not exist.
        annotations: `ANNOTATION_SCHEMA`.
        annotator: A name that `check_annotator` accepts.
        at: In UTC.

    Returns:
        The new file.

    Raises:
        AnnotatorNameError: The name cannot be part of a file's name.
        StorageError: There is such a file already, or it cannot be written.
    """
    check_annotator(annotator)
    path = folder / f"{at.astimezone(UTC):%Y%m%dT%H%M%S.%fZ}-{annotator}{_SUFFIX}"
    out = io.StringIO(newline="")
    writer = csv.writer(out, quoting=csv.QUOTE_ALL)
    writer.writerow(_COLUMNS)
    for row in annotations.select(ANNOTATION_SCHEMA.names()).iter_rows(named=True):
        writer.writerow([_cell(name, value) for name, value in row.items()])
    write_whole(path, out.getvalue().encode("utf-8-sig"), replace=False)
    return path


def write_whole(path: Path, data: bytes, *, replace: bool) -> None:
    """Write a file so that others see all of it or nothing.

    Args:
        path: Its folder is made where it does not exist.
        data: What it shall hold.
        replace: Whether what is there may go.

    Raises:
        StorageError: It cannot be written, or is there and must not go.
    """
    # Hidden, so that nobody takes it for a batch.
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Not what a kill left, and not through a link that somebody put there: what that leads to is not ours.
        temporary.unlink(missing_ok=True)
        with temporary.open("xb") as file:
            file.write(data)
        if replace:
            temporary.replace(path)
        else:
            path.hardlink_to(temporary)
            temporary.unlink()
    except OSError as error:
        # Where the folder is a file, there is nothing to remove and no way to look.
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise StorageError(
            f"{path} cannot be written: {error.strerror or error}",
            fix="look at the folder's permissions and the free space; what was there before still is",
        ) from error


def _cell(name: str, value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    return escaped(str(value)) if name in _FREE_TEXT else str(value)


def _read(path: Path) -> pl.DataFrame:
    try:
        text = path.read_bytes().decode("utf-8-sig")
        with fields_of_any_length(len(text)):
            header, *records = csv.reader(io.StringIO(text, newline=""), strict=True)
        if tuple(header) != _COLUMNS:
            message = f"its columns are {header}"
            raise ValueError(message)  # noqa: TRY301 - the caller is told the same way as of any other damage
        rows = [_row(record) for record in records]
    except (OSError, ValueError, csv.Error) as error:
        raise StorageError(
            f"{path} does not hold annotations: {error}",
            fix="restore the file with `dvc checkout`; to correct a label, import it again",
        ) from error
    return pl.DataFrame(rows, schema=ANNOTATION_SCHEMA, orient="row")


def _row(record: list[str]) -> tuple[object, ...]:
    row_id, text, label, annotator, at, strategy, version = record
    return row_id, unescaped(text), unescaped(label), annotator, datetime.fromisoformat(at), strategy, version
