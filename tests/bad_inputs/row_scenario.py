"""Rows in a file or in a frame, and what is read of them and rejected."""

from pathlib import Path

import polars as pl

from ftzard.config import DataConfig
from ftzard.core.reading import read_batch
from ftzard.core.records import RAW_SCHEMA, Cleaned

HALF = DataConfig(max_quarantined_fraction=0.5)
LABELS = ("negative", "positive")

Row = tuple[int, str | None, str | None]
Aside = tuple[int, str, str | None, str]


def put(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def read_rows(
    folder: Path, name: str, content: str | bytes, config: DataConfig = HALF
) -> tuple[list[Row], list[Aside]]:
    """The rows that were read, and those that were set aside: row, reason, column, value."""
    frame, source = read_batch(put(folder, name, content), name, config)
    aside: list[Aside] = [(bad.row, bad.reason, bad.column, bad.value) for bad in source.bad]
    return [(row, text, label) for row, text, label in frame.select("row", "text", "label").iter_rows()], aside


def raw(*rows: tuple[str | None, str | None], batch: str = "data/raw/a.csv") -> pl.DataFrame:
    numbered = [(text, label, batch, row) for row, (text, label) in enumerate(rows, start=2)]
    return pl.DataFrame(numbered, schema=RAW_SCHEMA, orient="row")


def reasons(result: Cleaned) -> dict[int, str]:
    return dict(result.rejected.select("row", "reason").iter_rows())
