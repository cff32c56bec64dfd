"""Batch files made for a test, and read."""

import io
from pathlib import Path

import polars as pl

from ftzard.config import DataConfig
from ftzard.core.reading import read_batch
from ftzard.core.records import RAW_SCHEMA

PLAIN = DataConfig()
GERMAN = "Schöne Grüße aus München, das Essen war köstlich und die Straße ruhig."
JAPANESE = "この映画は本当にひどいです。二度と見たくありません。"


def put(project_dir: Path, name: str, content: str | bytes) -> Path:
    path = project_dir / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def read(tmp_path: Path, name: str, content: str | bytes, config: DataConfig = PLAIN) -> list[tuple[object, ...]]:
    """Return (row, text, label) for each row of a file with this content."""
    frame, _ = read_batch(put(tmp_path, name, content), name, config)
    assert frame.schema == RAW_SCHEMA
    return frame.select("row", "text", "label").rows()


def parquet(**columns: object) -> bytes:
    buffer = io.BytesIO()
    pl.DataFrame(columns).write_parquet(buffer)
    return buffer.getvalue()
