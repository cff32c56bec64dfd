"""Frames as Parquet files: one file for a frame, a folder of files for a record of frames."""

from dataclasses import fields
from pathlib import Path

import dagster as dg
import polars as pl
from upath import UPath

from ftzard.core.records import Cleaned, Raw, Splits
from ftzard.errors import StorageError
from ftzard.io_managers.committing import CommittingIOManager

_SUFFIX = ".parquet"
_RECORDS = {frozenset(item.name for item in fields(record)): record for record in (Raw, Cleaned, Splits)}
# Splits from before there was a quarantine.
_RECORDS[frozenset({"train", "validation", "test"})] = Splits


class FramesIOManager(CommittingIOManager):
    """The base of those that store frames."""

    def check(self, asset: str, value: object) -> None:
        """Check columns, types and values against the schemas of the asset."""
        from ftzard.core.frame_schemas import check_value

        check_value(asset, value)


class FrameIOManager(FramesIOManager):
    """A `polars.DataFrame` as one Parquet file."""

    extension = _SUFFIX

    def write(self, value: pl.DataFrame, path: Path) -> None:
        """Write one file."""
        write_frame(value, path)

    def read(self, path: Path) -> pl.DataFrame:
        """Read one file."""
        return _read_frame(path)


class RecordIOManager(FramesIOManager):
    """A record of frames (`Raw`, `Cleaned`, `Splits`) as a folder with one Parquet file per field."""

    extension = ""

    def dump_to_path(self, context: dg.OutputContext, obj: Raw | Cleaned | Splits, path: UPath) -> None:
        """As for every value; what the asset was stored as before it was a record is gone then."""
        super().dump_to_path(context, obj, path)
        path.with_name(f"{path.name}{_SUFFIX}").unlink(missing_ok=True)

    def write(self, value: Raw | Cleaned | Splits, path: Path) -> None:
        """Write one file per field."""
        path.mkdir()
        for item in fields(value):
            write_frame(getattr(value, item.name), path / f"{item.name}{_SUFFIX}")

    def read(self, path: Path) -> Raw | Cleaned | Splits:
        """Read the record whose fields the folder holds."""
        return _read_record(path)


def read_stored(path: Path) -> pl.DataFrame | Raw | Cleaned | Splits:
    """Read what `FrameIOManager` or `RecordIOManager` wrote.

    Raises:
        StorageError: It holds something else.
    """
    return _read_record(path) if path.is_dir() else _read_frame(path)


def _read_record(path: Path) -> Raw | Cleaned | Splits:
    files = {file.stem: file for file in sorted(path.glob(f"*{_SUFFIX}"))}
    record = _RECORDS.get(frozenset(files))
    if record is None:
        raise StorageError(
            f"{path} holds {sorted(files) or 'no Parquet file'}, which is no record of FTzard's",
            fix="materialize the asset again, or restore the folder with `dvc checkout`",
        )
    return record(**{name: _read_frame(file) for name, file in files.items()})


def write_frame(frame: pl.DataFrame, path: Path) -> None:
    """Write one Parquet file."""
    with path.open("wb") as file:
        # At the level that is usual, texts take twice the time for 8 % fewer bytes.
        frame.write_parquet(file, compression="zstd", compression_level=1)


def _read_frame(path: Path) -> pl.DataFrame:
    try:
        return pl.read_parquet(path)
    except pl.exceptions.PolarsError as error:
        raise StorageError(
            f"{path} is not a readable Parquet file: {error}",
            fix="materialize the asset again, or restore the file with `dvc checkout`",
        ) from error
