"""Rows that a program holds, written as a batch: what reads batches finds a Parquet file like any other.

Objects are taken by what they offer, not by their class: Arrow's PyCapsule stream (pyarrow, pandas, polars, DuckDB and
others), or the features and batches of Hugging Face `datasets`, whose class numbers are written as the names they stand
for.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import polars as pl

from ftzard.core.batch_names import PARQUET_SUFFIX, check_name, is_passed_over, printable
from ftzard.errors import EmptyBatchError, MalformedBatchError, OutputExistsError, StorageError

_ROWS_PER_PIECE: Final = 10_000


def write_batch(
    rows: object, path: Path | str, *, replace: bool = False, metadata: Mapping[str, str] | None = None
) -> int:
    """Write rows as a Parquet file, all of it or nothing; a dataset is streamed.

    Args:
        rows: A polars frame, lazy or not; a `datasets.Dataset` or `IterableDataset`; or whatever gives an Arrow stream,
            such as a pandas frame or an Arrow table.
        path: The file, in one of the project's data folders; it ends in `.parquet`.
        replace: Whether a file of that name may go.
        metadata: What to write into the file about where the rows are from.

    Returns:
        The number of rows.

    Raises:
        EmptyBatchError: There are no rows.
        MalformedBatchError: The object is of another kind, a column cannot be stored, or the name would not be read.
        OutputExistsError: The file is there.
        StorageError: It cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() != PARQUET_SUFFIX or is_passed_over(path.name):
        raise MalformedBatchError(
            f"{printable(path.name)} is no name of a batch in Parquet",
            fix=f"let it end in {PARQUET_SUFFIX}, and not begin with '.' or '~'",
        )
    check_name(path.name)
    # Hidden, so that nobody takes it for a batch before it is one.
    unfinished = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # It may be a link that somebody put there, and what that leads to is not ours.
        unfinished.unlink(missing_ok=True)
        num_rows = _write(_pieces(rows), unfinished, metadata or {})
        if num_rows == 0:
            raise EmptyBatchError(f"there are no rows for {printable(path.name)}", fix="give some")
        if replace:
            unfinished.replace(path)
        else:
            path.hardlink_to(unfinished)
    except FileExistsError as error:
        raise OutputExistsError(
            f"{printable(str(path))} exists", fix="choose another name, or replace it (replace=True)"
        ) from error
    except OSError as error:
        raise StorageError(
            f"{printable(str(path))} cannot be written: {error.strerror or error}",
            fix="look at the folder's permissions and the free space; what was there before still is",
        ) from error
    finally:
        unfinished.unlink(missing_ok=True)
    return num_rows


def _pieces(rows: object) -> Iterator[pl.DataFrame]:
    if isinstance(rows, pl.LazyFrame):
        yield from rows.collect_batches(maintain_order=True)
    elif isinstance(rows, pl.DataFrame):
        yield rows
    elif hasattr(rows, "features") and hasattr(rows, "with_format"):
        yield from _dataset_pieces(rows)
    elif hasattr(rows, "__arrow_c_stream__"):
        yield from _arrow_pieces(rows)
    else:
        raise MalformedBatchError(
            f"{type(rows).__module__}.{type(rows).__qualname__} is no table of rows",
            fix="give a polars or pandas frame, an Arrow table, or one split of a `datasets` dataset; rows in a list "
            "are one with polars.DataFrame(rows)",
        )


def _dataset_pieces(dataset: Any) -> Iterator[pl.DataFrame]:
    """Of a dataset, or of one that is streamed; their features name the classes."""
    features = (dataset.features or {}).items()
    named = [expression for column, feature in features if (expression := _named(column, feature)) is not None]
    for table in dataset.with_format("arrow").iter(batch_size=_ROWS_PER_PIECE):
        yield _as_frame(table).with_columns(named)


def _named(column: str, feature: Any) -> pl.Expr | None:
    """The names of a column's classes, or of the classes in its lists; None where there are none."""
    inner: Any = getattr(feature, "feature", None)
    is_list = type(inner).__name__ == "ClassLabel"
    if not is_list and type(feature).__name__ != "ClassLabel":
        return None
    names = dict(enumerate((inner if is_list else feature).names))
    value = pl.element() if is_list else pl.col(column)
    # A number without a name, such as -1, means that there is no label.
    name = value.replace_strict(names, default=None, return_dtype=pl.String)
    return pl.col(column).list.eval(name) if is_list else name


def _arrow_pieces(rows: object) -> Iterator[pl.DataFrame]:
    import pyarrow as pa

    try:
        reader = pa.RecordBatchReader.from_stream(rows)
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise MalformedBatchError(
            f"a column cannot be stored: {error}", fix="give each column a name of its own and values of one type"
        ) from error
    for batch in reader:
        yield _as_frame(pa.table(batch))


def _as_frame(table: object) -> pl.DataFrame:
    frame = pl.from_arrow(table)
    return frame if isinstance(frame, pl.DataFrame) else frame.to_frame()


def _write(pieces: Iterator[pl.DataFrame], path: Path, metadata: Mapping[str, str]) -> int:
    """Write pieces one after the other, with the columns of the first; returns how many rows they have."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    writer: Any = None
    num_rows = 0
    try:
        for piece in pieces:
            table = piece.to_arrow()
            if writer is None:
                writer = pq.ParquetWriter(path, table.schema.with_metadata(dict(metadata)))
            writer.write_table(table.cast(writer.schema))
            num_rows += piece.height
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError) as error:
        raise MalformedBatchError(
            f"a column cannot be stored: {error}", fix="give each column values of one type"
        ) from error
    finally:
        if writer is not None:
            writer.close()
    return num_rows
