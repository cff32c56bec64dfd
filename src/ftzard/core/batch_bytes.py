"""The bytes of a batch file: unpacked where it is compressed, never beyond the limit, and what its name says they are.

Compressed files are unpacked twice: first only counted, piece by piece, so that one that would grow beyond the limit is
refused before it has taken the memory.
"""

import gzip
import hashlib
import io
import zlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from ftzard.config import DataConfig
from ftzard.core.batch_names import (
    ARROW_SUFFIXES,
    KNOWN_SUFFIXES,
    PARQUET_SUFFIX,
    TEXT_SUFFIXES,
    BatchKind,
    kind_of,
    printable,
    remedy_for,
)
from ftzard.core.open_files import read_settled, too_large
from ftzard.errors import EmptyBatchError, MalformedBatchError

_PIECE_BYTES: Final = 1 << 20
# Below, a thread costs more than it saves.
_MIN_BYTES_BESIDE: Final = 1 << 20
_NUM_HEAD_BYTES: Final = 100
_PARQUET_MARK: Final = b"PAR1"
_ARROW_MARK: Final = b"ARROW1"
# The continuation marker of the stream format, which is what `datasets` writes its own files in.
_ARROW_STREAM_MARK: Final = b"\xff\xff\xff\xff"
_ZIP_MARK: Final = b"PK\x03\x04"
_GZIP, _ZSTD, _PARQUET, _ARROW = "gzip", "zstd", "Parquet", "Arrow"
# What files begin with that are taken for batches: -> what they are.
_MARKS: Final[Mapping[bytes, str]] = {
    b"\x1f\x8b\x08": _GZIP,
    b"\x28\xb5\x2f\xfd": _ZSTD,
    b"\xfd7zXZ\x00": "xz",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"Rar!\x1a\x07": "a RAR archive",
    b"%PDF-": "a PDF document",
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": "an old Excel or Word document",
    b"SQLite format 3\x00": "an SQLite database",
    b"\x89HDF\r\n\x1a\n": "HDF5",
    b"Obj\x01": "Avro",
    b"\x93NUMPY": "a NumPy array",
    b"version https://git-lfs": "a pointer to a file that Git LFS has not fetched",
}
_COMPRESSION_NAMES: Final[Mapping[str, str]] = {".gz": _GZIP, ".zst": _ZSTD}
_SUFFIX_OF: Final[Mapping[str, str]] = {_GZIP: ".gz", _ZSTD: ".zst", _PARQUET: PARQUET_SUFFIX, _ARROW: ".arrow"}
_HTML_MARKS: Final = (b"<!doctype html", b"<html")


@dataclass(frozen=True)
class BatchBytes:
    """What is in a batch file.

    Attributes:
        data: Its bytes, unpacked.
        kind: By its name.
    """

    data: bytes
    kind: BatchKind
    _digests: "Future[tuple[str, str]]"

    @property
    def sha256(self) -> str:
        """Of the file as it is, in hexadecimal; waits until it is computed, beside what else is done with the bytes."""
        return self._digests.result()[0]

    @property
    def content_sha256(self) -> str:
        """Of the unpacked bytes, likewise."""
        return self._digests.result()[1]


def read_bytes(path: Path, name: str, config: DataConfig) -> BatchBytes:
    """Read a batch file, unpack it, and see that its content is of the kind that its name says.

    Args:
        path: The file; its suffix says what it is.
        name: What to call it.
        config: Says how large it may be.

    Raises:
        EmptyBatchError: It holds nothing.
        MalformedBatchError: It is of no known kind or of another than its name says, is damaged, or is too large.
        StorageError: As `read_settled`.
    """
    kind = kind_of(path.name)
    if kind is None:
        raise MalformedBatchError(f"{printable(name)} is of a kind that is not read here", fix=remedy_for(path.name))
    packed = read_settled(path, name, config.max_file_bytes)
    _check_not_empty(packed, name)
    if not kind.compression:
        _check_content(packed, kind.format, name)
        return BatchBytes(packed, kind, _digests(packed, packed))
    _check_content(packed, kind.compression, name)
    data = unpack(packed, kind.compression, name, config.max_file_bytes)
    _check_not_empty(data, name)
    _check_content(data, kind.format, name)
    return BatchBytes(data, kind, _digests(packed, data))


def _digests(packed: bytes, data: bytes) -> "Future[tuple[str, str]]":
    """The SHA-256 of both; of much in a thread, because hashing lets others work meanwhile."""

    def compute() -> tuple[str, str]:
        sha256 = hashlib.sha256(packed).hexdigest()
        return sha256, sha256 if data is packed else hashlib.sha256(data).hexdigest()

    if len(packed) + len(data) < _MIN_BYTES_BESIDE:
        found: Future[tuple[str, str]] = Future()
        found.set_result(compute())
        return found
    pool = ThreadPoolExecutor(1)
    try:
        return pool.submit(compute)
    finally:
        pool.shutdown(wait=False)


def unpack(packed: bytes, compression: str, name: str, max_bytes: int) -> bytes:
    """Decompress a file whole.

    Args:
        packed: The file's bytes.
        compression: `.gz` or `.zst`.
        name: What to call it.
        max_bytes: The largest content that is unpacked.

    Raises:
        MalformedBatchError: It is cut short, damaged, has something else behind its end, or unpacks to more.
    """
    size = 0
    for piece in _pieces(packed, compression, name):
        size += len(piece)
        if size > max_bytes:
            raise too_large(name, None, max_bytes)
    whole = bytearray(size)
    place = 0
    for piece in _pieces(packed, compression, name):
        whole[place : place + len(piece)] = piece
        place += len(piece)
    return bytes(whole)


def _pieces(packed: bytes, compression: str, name: str) -> Iterator[bytes]:
    try:
        with _OPENERS[compression](packed) as stream:
            while piece := stream.read(_PIECE_BYTES):
                yield piece
    # EOFError: gzip that is cut short; OSError: all else, of which one is gzip's own class for what is not gzip.
    except (EOFError, OSError, zlib.error) as error:
        raise MalformedBatchError(
            f"{printable(name)} cannot be unpacked as {_COMPRESSION_NAMES[compression]}: it is cut short, damaged, or "
            f"has something else behind its end ({error})",
            fix="copy or compress the file again, or move it out of the data folder",
        ) from error


def _open_gzip(packed: bytes) -> BinaryIO:
    # One that is read like a file, but for its class.
    return gzip.GzipFile(fileobj=io.BytesIO(packed))  # type: ignore[return-value]


def _open_zstd(packed: bytes) -> BinaryIO:
    import pyarrow as pa

    stream: BinaryIO = pa.CompressedInputStream(pa.BufferReader(packed), "zstd")
    return stream


_OPENERS: Final[Mapping[str, Callable[[bytes], BinaryIO]]] = {".gz": _open_gzip, ".zst": _open_zstd}


def _check_not_empty(data: bytes, name: str) -> None:
    if not data:
        raise EmptyBatchError(f"{printable(name)} is empty", fix="fill the file, or move it out of the data folder")


def _check_content(data: bytes, suffix: str, name: str) -> None:
    """Compare what a file begins with to what its name says."""
    content = content_of(data)
    expected = _expected(suffix)
    # A text may begin so too, which is why the mark alone does not make a Parquet file of a CSV.
    if content == expected or (expected == _PARQUET and data.startswith(_PARQUET_MARK)):
        return
    found = f"is {content}" if content else "is text, or something unknown,"
    wanted = f"not {expected}" if expected else "not text"
    raise MalformedBatchError(
        f"{printable(name)} {found} by its first bytes ({data[:4].hex(' ')}), and {wanted} as {suffix} says",
        fix=_fix(content, suffix),
    )


def _fix(content: str, suffix: str) -> str:
    if content in (_GZIP, _ZSTD):
        return f"unpack it; or, if a text format is in it, let its name end in {suffix}{_SUFFIX_OF[content]}"
    if content in (_PARQUET, _ARROW):
        return f"let its name end in {_SUFFIX_OF[content]}"
    if not content:
        return f"let its name say what it is: {KNOWN_SUFFIXES}"
    return f"save it from the program that it belongs to as one of {', '.join(TEXT_SUFFIXES)} or {PARQUET_SUFFIX}"


def _expected(suffix: str) -> str:
    if suffix in ARROW_SUFFIXES:
        return _ARROW
    return _PARQUET if suffix == PARQUET_SUFFIX else _COMPRESSION_NAMES.get(suffix, "")


def content_of(data: bytes) -> str:
    """What bytes are by what they begin with; empty for text, or what cannot be told."""
    if data.startswith(_PARQUET_MARK) and (b"\0" in data or data.endswith(_PARQUET_MARK)):
        return _PARQUET
    if data.startswith((_ARROW_MARK + b"\0\0", _ARROW_STREAM_MARK)):
        return _ARROW
    if data.startswith(_ZIP_MARK):
        is_workbook = b"xl/" in data[:_PIECE_BYTES] or b"xl/" in data[-_PIECE_BYTES:]
        return "an Excel workbook" if is_workbook else "a ZIP archive"
    if data.startswith(b"BZh") and data[4:10] == b"1AY&SY":
        return "bzip2"
    if data[:_NUM_HEAD_BYTES].lstrip().lower().startswith(_HTML_MARKS):
        return "a web page"
    return next((what for mark, what in _MARKS.items() if data.startswith(mark)), "")
