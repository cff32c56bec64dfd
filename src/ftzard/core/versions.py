"""Content versions: equal content, equal version, whatever wrote it and when."""

import hashlib
import io
import json
from collections.abc import Iterable, Iterator
from dataclasses import fields
from itertools import chain
from pathlib import Path

import polars as pl

from ftzard.config import DataConfig
from ftzard.core.batch_folder import list_batches
from ftzard.core.documents import JsonDocument
from ftzard.core.file_digests import sha256_of
from ftzard.core.records import AdapterDirectory, Cleaned, LabelQueue, Raw, Splits
from ftzard.errors import StorageError

AssetValue = pl.DataFrame | Raw | Cleaned | Splits | AdapterDirectory | JsonDocument | LabelQueue

_ROWS_PER_CHUNK = 20_000


def content_version(value: AssetValue) -> str:
    """The SHA-256 of what an asset holds, as 64 hexadecimal digits.

    A frame counts as its schema and its rows as JSON lines, not as the bytes of a Parquet file, which change with the
    library that writes them.
    """
    match value:
        case pl.DataFrame():
            return _digest(_frame_parts(value))
        case Raw() if value.quarantined.is_empty():
            # The version that the examples alone had before rows could be set aside.
            return _digest(_frame_parts(value.examples))
        case Raw() | Cleaned() | Splits():
            frames = {item.name: getattr(value, item.name) for item in fields(value)}
            if isinstance(value, Splits) and value.quarantined.is_empty():
                # Splits from before there was a quarantine keep the version that manifests name.
                del frames["quarantined"]
            return _digest(
                part for name, frame in frames.items() for part in chain([name.encode()], _frame_parts(frame))
            )
        case LabelQueue():
            return _digest(chain(_frame_parts(value.rows), _frame_parts(value.sidecar)))
        case AdapterDirectory():
            return value.checksum
        case JsonDocument():
            return fingerprint(value.to_dict())


def batches_version(project_dir: Path, config: DataConfig) -> str:
    """The version of the batch files in the data folders: their names and bytes.

    Raises:
        NoBatchesError: There are none.
        StorageError: One cannot be read.
    """
    names_and_hashes = []
    for path in list_batches(project_dir, config):
        name = path.relative_to(project_dir).as_posix()
        try:
            digest = sha256_of(path)
        except OSError as error:
            raise StorageError(f"{name} cannot be read: {error.strerror}", fix="look at its permissions") from error
        names_and_hashes.append([name, digest])
    return fingerprint(names_and_hashes)


def fingerprint(document: object) -> str:
    """The SHA-256 of a JSON document, independent of the order of its keys."""
    return _digest([json.dumps(document, sort_keys=True, ensure_ascii=False).encode()])


def _frame_parts(frame: pl.DataFrame) -> Iterator[bytes | memoryview]:
    yield json.dumps([[name, str(dtype)] for name, dtype in frame.schema.items()]).encode()
    for chunk in frame.iter_slices(_ROWS_PER_CHUNK):
        # Not as a string, which would be made of these bytes and become them again.
        written = io.BytesIO()
        chunk.write_ndjson(written)
        yield written.getbuffer()


def _digest(parts: Iterable[bytes | memoryview]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()
