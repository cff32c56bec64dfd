"""Parquet and Arrow files as frames: the columns that are wanted, and no more rows than memory has been allowed for."""

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import polars as pl

from ftzard.core.arrow_sizes import unpacked_size
from ftzard.core.batch_names import PARQUET_SUFFIX
from ftzard.core.byte_sizes import in_words
from ftzard.errors import MalformedBatchError

_FILE_MARK: Final = b"ARROW1"
_STREAM_END: Final = b"\xff\xff\xff\xff\0\0\0\0"
# A value takes so much in memory at least.
_VALUE_BYTES: Final = 16


class ColumnFile:
    """A file of columns.

    Args:
        data: The file's bytes.
        name: What to call it.
        suffix: Of its format.
        max_bytes: How much memory its columns may take.
    """

    def __init__(self, data: bytes, name: str, suffix: str, max_bytes: int) -> None:
        """Nothing is read yet."""
        self._data, self._name, self._max_bytes = data, name, max_bytes
        self._is_parquet = suffix == PARQUET_SUFFIX
        self._is_stream = not self._is_parquet and not data.startswith(_FILE_MARK)

    def columns(self) -> list[str]:
        """The names of all columns.

        Raises:
            MalformedBatchError: The file is damaged or cut short, or unpacks to more than is allowed.
        """
        if self._is_stream and not self._data.endswith(_STREAM_END):
            raise MalformedBatchError(
                f"{self._name} is an Arrow stream without its end, so that it may be cut short",
                fix="write the file again, or move it out of the data folder",
            )
        with self._naming_damage():
            if not self._is_parquet:
                # Even the names of a stream's columns are not to be had before all of it is unpacked.
                self._check_size(unpacked_size(self._data, is_stream=self._is_stream))
            return self._scan().collect_schema().names()

    def read(self, columns: Sequence[str]) -> pl.DataFrame:
        """Some of the columns, each once.

        Raises:
            MalformedBatchError: The file is damaged, or unpacks to more than is allowed.
        """
        with self._naming_damage():
            # From the file's own index: a few bytes of it can claim any number of rows.
            num_rows = int(self._scan().select(pl.len()).collect().item())
            self._check_size(num_rows * _VALUE_BYTES * len(columns))
            if self._is_parquet:
                self._check_size(_parquet_size(self._data, columns))
            frame = self._scan().select(columns).collect()
            num_bytes = sum(map(_text_bytes, frame.get_columns()))
        self._check_size(num_bytes)
        return frame

    def _scan(self) -> pl.LazyFrame:
        file = io.BytesIO(self._data)
        if self._is_parquet:
            return pl.scan_parquet(file)
        return pl.read_ipc_stream(file).lazy() if self._is_stream else pl.scan_ipc(file)

    def _check_size(self, num_bytes: int) -> None:
        if num_bytes > self._max_bytes:
            raise MalformedBatchError(
                f"{self._name} has at least {in_words(num_bytes)} when it is unpacked, and the limit is "
                f"{in_words(self._max_bytes)} (data.max_file_bytes={self._max_bytes})",
                fix="split the file; or raise data.max_file_bytes, if the machine has several times that memory",
            )

    @contextmanager
    def _naming_damage(self) -> Iterator[None]:
        try:
            yield
        # A damaged file can also make the reader panic, which polars raises outside of `Exception`.
        except (ValueError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
            kind = "a Parquet" if self._is_parquet else "an Arrow"
            raise MalformedBatchError(
                f"{self._name} is not {kind} file that can be read: {(str(error).splitlines() or [''])[0]}",
                fix="write the file again, or move it out of the data folder",
            ) from error


def _parquet_size(data: bytes, columns: Sequence[str]) -> int:
    """What a Parquet file says that its columns have at least unpacked; a text that is repeated counts once."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        metadata = pq.read_metadata(io.BytesIO(data))
    except pa.ArrowException as error:
        raise pl.exceptions.ComputeError(str(error)) from error
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    chunks = [group.column(number) for group in groups for number in range(group.num_columns)]
    wanted = [chunk for chunk in chunks if chunk.path_in_schema.split(".")[0] in columns]
    # A list can have more values than there are rows, and a few bytes say of any number of them that they are equal.
    return sum(max(chunk.total_uncompressed_size, chunk.num_values * _VALUE_BYTES) for chunk in wanted)


def _text_bytes(values: pl.Series) -> int:
    """The bytes of a column's texts, each as often as it occurs, because that often it will be a text of Python's."""
    match values.dtype:
        case pl.Categorical() | pl.Enum():
            return _text_bytes(values.cast(pl.String))
        case pl.String():
            return int(values.str.len_bytes().cast(pl.Int64).sum())
        case pl.List() | pl.Array():
            return _text_bytes(values.explode())
        case pl.Struct():
            return sum(map(_text_bytes, values.struct.unnest().get_columns()))
        case _:
            return 0
