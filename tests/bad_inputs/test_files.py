"""Files as people have them, from their bytes to their rows: read right, or refused with the culprit named.

Each is tried in `data/raw`, where what is refused stops the reading, and in `data/incoming`, where it is moved aside
and the others go on. Nothing may hang: a signal ends what takes half a minute.
"""

import codecs
import gzip
import io
import tracemalloc
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest
from tests.bad_inputs.file_scenario import CSV, PLAIN, ROWS, put, taken_in

from ftzard.config import DataConfig
from ftzard.core.reading import read_batches
from ftzard.errors import (
    BatchEncodingError,
    EmptyBatchError,
    FtzardError,
    MalformedBatchError,
    MissingColumnError,
)

FRAME = pl.DataFrame({"text": ["good", "bad"], "label": ["p", "n"]})
LIMIT = 64 * 1024**2


def parquet() -> bytes:
    buffer = io.BytesIO()
    FRAME.write_parquet(buffer)
    return buffer.getvalue()


def arrow(*, is_stream: bool = False) -> bytes:
    buffer = io.BytesIO()
    FRAME.write_ipc_stream(buffer) if is_stream else FRAME.write_ipc(buffer)
    return buffer.getvalue()


def workbook() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("[Content_Types].xml", "<x/>")
        archive.writestr("xl/workbook.xml", "<x/>")
    return buffer.getvalue()


def zst(data: bytes) -> bytes:
    return bytes(pa.compress(data, codec="zstd", asbytes=True))


def gzip_bomb() -> bytes:
    """4 GiB in 4 MiB: members one after the other are one file."""
    return gzip.compress(b"\n" * 2**24, compresslevel=9) * 256


def parquet_bomb() -> bytes:
    """Five hundred megabytes that are nearly nothing packed; of bytes, which are not measured once they are read."""
    buffer = io.BytesIO()
    frame = pl.DataFrame({"text": [f"{number}{'x' * 1_000_000}" for number in range(500)], "label": ["p"] * 500})
    frame.cast({"text": pl.Binary}).write_parquet(buffer, compression="zstd")
    return buffer.getvalue()


def arrow_bomb(*, is_stream: bool) -> bytes:
    """The same in kilobytes of Arrow."""
    buffer = io.BytesIO()
    frame = pl.DataFrame({"text": ["x" * 100_000_000] * 5, "label": ["p"] * 5}).cast({"text": pl.Binary})
    if is_stream:
        frame.write_ipc_stream(buffer, compression="zstd", compat_level=pl.CompatLevel.oldest())
    else:
        frame.write_ipc(buffer, compression="zstd", compat_level=pl.CompatLevel.oldest())
    return buffer.getvalue()


def huge_parquet() -> bytes:
    """A text of a megabyte, once in the file and five hundred times in the column."""
    buffer = io.BytesIO()
    pl.DataFrame({"text": ["x" * 1_000_000] * 500, "label": ["p"] * 500}).write_parquet(buffer)
    return buffer.getvalue()


def repeated_category(*, is_parquet: bool) -> bytes:
    """The same as a category, of which a column has but the number."""
    buffer = io.BytesIO()
    frame = pl.DataFrame({"text": ["x" * 1_000_000] * 500, "label": ["p"] * 500}).cast({"text": pl.Categorical})
    frame.write_parquet(buffer) if is_parquet else frame.write_ipc(buffer)
    return buffer.getvalue()


@dataclass(frozen=True)
class Good:
    """A file that is read.

    Attributes:
        kind: For the list of tests.
        content: The file's bytes.
        rows: Text and label of each row.
        name: Of the file.
        encoding: That is found and recorded.
        config: Says how to read.
    """

    kind: str
    content: bytes
    rows: list[tuple[str, str]] = field(default_factory=lambda: ROWS)
    name: str = "x.csv"
    encoding: str = "utf-8"
    config: DataConfig = PLAIN


@dataclass(frozen=True)
class Bad:
    """A file that is refused.

    Attributes:
        kind: For the list of tests.
        content: The file's bytes.
        error: The class of the error.
        culprit: What the message must name besides the file.
        name: Of the file.
        config: Says how to read.
    """

    kind: str
    content: bytes | Callable[[], bytes]
    error: type[FtzardError]
    culprit: str
    name: str = "x.csv"
    config: DataConfig = PLAIN


WIDE = ",".join([*(f"c{number}" for number in range(10_000)), "text", "label"])
CELL = "word " * 2_100_000
MIXED = "text,label\nschön und grün,p\n".encode() + b"caf\xe9,n\n"

GOOD = (
    Good("byte order mark of UTF-8", codecs.BOM_UTF8 + CSV),
    Good("byte order mark of UTF-16", codecs.BOM_UTF16_BE + CSV.decode().encode("utf-16-be"), encoding="utf-16-be"),
    Good("UTF-16-LE without a mark", CSV.decode().encode("utf-16-le"), encoding="utf-16-le"),
    Good("UTF-16-BE without a mark", CSV.decode().encode("utf-16-be"), encoding="utf-16-be"),
    Good(
        "UTF-16 without a mark, in Japanese",
        '{"text": "良い", "label": "p"}\n{"text": "最悪", "label": "n"}\n'.encode("utf-16-le"),
        [("良い", "p"), ("最悪", "n")],
        "x.jsonl",
        "utf-16-le",
    ),
    Good(
        "latin-1, as declared",
        "text,label\ncafé,p\nbad,n\n".encode("latin-1"),
        [("café", "p"), ("bad", "n")],
        encoding="latin-1",
        config=DataConfig(encoding="latin-1"),
    ),
    Good(
        "a damaged byte, as allowed",
        MIXED,
        [("schön und grün", "p"), ("caf\ufffd", "n")],
        config=DataConfig(max_replaced_fraction=0.05),
    ),
    Good("carriage returns", CSV.replace(b"\n", b"\r")),
    Good("mixed line ends", b"text,label\r\ngood,p\nbad,n\r\n"),
    Good("no final newline", CSV[:-1]),
    Good("quoted line ends", b'text,label\r\n"go\r\nod",p\r\n"b\nad",n\r\n', [("go\r\nod", "p"), ("b\nad", "n")]),
    Good("a cell of 10 MB", f"text,label\n{CELL},p\nbad,n\n".encode(), [(CELL, "p"), ("bad", "n")]),
    Good("10,000 columns", f"{WIDE}\n{',' * 10_000}good,p\n{',' * 10_000}bad,n\n".encode()),
    Good("gzip", gzip.compress(CSV), name="x.csv.gz"),
    Good("gzip of several members", gzip.compress(CSV[:14]) + gzip.compress(CSV[14:]), name="x.CSV.GZ"),
    Good("zstd", zst(CSV.replace(b",", b"\t")), name="x.tsv.zst"),
    Good("an array", b'[{"text": "good", "label": "p"},\n{"text":\n"bad", "label": "n"}]', name="x.json"),
    Good("lines in .json", b'{"text": "good", "label": "p"}\n{"text": "bad", "label": "n"}\n', name="x.json"),
    Good("Arrow", arrow(), name="x.arrow"),
    Good("Feather", arrow(), name="x.feather"),
    Good("an Arrow stream", arrow(is_stream=True), name="x.arrow"),
    Good("a name for a shell", CSV, name="-rf a;b $(x) `y` 'z' \"q\" & | > *.csv"),
    Good("a name with control characters", CSV, name="a\nb\t\x1b[31m\x7f.csv"),
    Good("a name with traversal", CSV, name="a..%2e%2e..csv"),
    Good("a name in odd Unicode", CSV, name="cafe\u0301 \u202e\u200b\U0001f468\u200d\U0001f469 ﷽.csv"),
    Good("a name of 255 bytes", CSV, name="é" * 125 + "x.csv"),
)

BAD = (
    Bad("empty", b"", EmptyBatchError, "empty"),
    Bad("empty when unpacked", gzip.compress(b""), EmptyBatchError, "empty", "x.csv.gz"),
    Bad("header only", b"text,label\n", EmptyBatchError, "no rows"),
    Bad(
        "latin-1 read as UTF-8",
        "text,label\nfine,p\ncafé,n\n".encode("latin-1"),
        BatchEncodingError,
        "1 of 25 bytes (4.000%) are not: byte e9 at byte offset 21, line 3",
        config=DataConfig(encoding="utf-8"),
    ),
    Bad("invalid UTF-8 in the middle", MIXED, BatchEncodingError, "'utf-8': 1 of 37 bytes", "x.csv"),
    Bad(
        "more damage than allowed",
        MIXED,
        BatchEncodingError,
        "data.max_replaced_fraction is 0.01: byte e9 at byte offset 33, line 3",
        config=DataConfig(max_replaced_fraction=0.01),
    ),
    Bad(
        "UTF-16 in the other byte order",
        CSV.decode().encode("utf-16-le"),
        BatchEncodingError,
        "utf-16-le",
        config=DataConfig(encoding="utf-16-be", column_names=("text",)),
    ),
    Bad("half a character of UTF-16", CSV.decode().encode("utf-16-le")[:-1], MalformedBatchError, "NUL"),
    Bad("NUL bytes", CSV.replace(b"ood", b"\0ood"), MalformedBatchError, "line 2 holds a NUL"),
    Bad("a carriage return among line feeds", b"text,label\ngood,p\rbad,n\n", MalformedBatchError, "line 2"),
    Bad("truncated gzip", gzip.compress(CSV)[:-6], MalformedBatchError, "gzip", "x.csv.gz"),
    Bad("damaged gzip", gzip.compress(CSV * 99)[:20] + b"!" * 40, MalformedBatchError, "gzip", "x.csv.gz"),
    Bad("something behind gzip", gzip.compress(CSV) + b"rest", MalformedBatchError, "behind its end", "x.csv.gz"),
    Bad("truncated zstd", zst(CSV * 999)[:-6], MalformedBatchError, "zstd", "x.jsonl.zst"),
    Bad("something behind zstd", zst(CSV) + b"rest", MalformedBatchError, "behind its end", "x.csv.zst"),
    Bad("truncated Parquet", parquet()[:-9], MalformedBatchError, "Parquet", "x.parquet"),
    Bad("truncated Arrow", arrow()[:-9], MalformedBatchError, "Arrow", "x.arrow"),
    Bad("truncated Arrow stream", arrow(is_stream=True)[:-9], MalformedBatchError, "cut short", "x.arrow"),
    Bad("truncated JSON", b'[{"text": "good", "label": "p"}, {"te', MalformedBatchError, "element 2", "x.json"),
    Bad("two arrays", b'[{"text": "good", "label": "p"}]\n[]', MalformedBatchError, "behind the end", "x.json"),
    Bad("columns as JSON", b'{"text": {"0": "good"},\n"label": 1}', MalformedBatchError, "array of objects", "x.json"),
    Bad("gzip bomb", gzip_bomb, MalformedBatchError, "64 MiB", "x.csv.gz", DataConfig(max_file_bytes=LIMIT)),
    Bad(
        "zstd bomb",
        lambda: zst(b"\n" * 2 * LIMIT),
        MalformedBatchError,
        "64 MiB",
        "x.csv.zst",
        DataConfig(max_file_bytes=LIMIT),
    ),
    Bad("Parquet bomb", parquet_bomb, MalformedBatchError, "477 MiB", "x.parquet", DataConfig(max_file_bytes=LIMIT)),
    *(
        Bad(
            f"Arrow bomb, {what}",
            partial(arrow_bomb, is_stream=is_stream),
            MalformedBatchError,
            "477 MiB",
            "x.arrow",
            DataConfig(max_file_bytes=LIMIT),
        )
        for what, is_stream in (("file", False), ("stream", True))
    ),
    Bad(
        "repeating Parquet", huge_parquet, MalformedBatchError, "477 MiB", "x.parquet", DataConfig(max_file_bytes=LIMIT)
    ),
    *(
        Bad(
            f"repeating category in {name}",
            partial(repeated_category, is_parquet=name == "x.parquet"),
            MalformedBatchError,
            "477 MiB",
            name,
            DataConfig(max_file_bytes=LIMIT),
        )
        for name in ("x.parquet", "x.arrow")
    ),
    Bad("larger than allowed", CSV, MalformedBatchError, "24 bytes", config=DataConfig(max_file_bytes=20)),
    Bad("Parquet called CSV", parquet(), MalformedBatchError, "is Parquet"),
    Bad("Arrow called Parquet", arrow(), MalformedBatchError, "is Arrow", "x.parquet"),
    Bad("gzip called CSV", gzip.compress(CSV), MalformedBatchError, "is gzip"),
    Bad("gzip in gzip", gzip.compress(gzip.compress(CSV)), MalformedBatchError, "is gzip", "x.csv.gz"),
    Bad("zstd called gzip", zst(CSV), MalformedBatchError, "is zstd", "x.csv.gz"),
    Bad("a workbook called CSV", workbook(), MalformedBatchError, "an Excel workbook"),
    Bad("CSV called Parquet", CSV, MalformedBatchError, "not Parquet", "x.parquet"),
    Bad("CSV called gzip", CSV, MalformedBatchError, "not gzip", "x.csv.gz"),
    Bad("a web page", b"<!DOCTYPE html>\n<html>404</html>", MalformedBatchError, "a web page"),
    Bad("a pointer of Git LFS", b"version https://git-lfs.github.com/spec/v1\n", MalformedBatchError, "Git LFS"),
)


@pytest.mark.parametrize("file", GOOD, ids=lambda file: file.kind)
def test_an_unusual_file_is_read_right(tmp_path: Path, file: Good) -> None:
    put(tmp_path, file.name, file.content)
    raw = read_batches(tmp_path, file.config)
    assert raw.examples.select("text", "label").rows() == file.rows
    assert raw.examples["batch"].unique().to_list() == [f"data/raw/{file.name}"]
    assert raw.examples["row"].is_unique().all()
    assert [source.encoding for source in raw.sources] == [file.encoding]


@pytest.mark.parametrize("file", GOOD, ids=lambda file: file.kind)
def test_an_unusual_file_is_taken_in(tmp_path: Path, file: Good) -> None:
    put(tmp_path, file.name, file.content, "data/incoming")
    intake = taken_in(tmp_path, file.config)
    assert [arrival.name for arrival in intake.arrivals] == [f"data/incoming/{file.name}"]
    assert intake.arrivals[0].path.read_bytes() == file.content


@pytest.mark.parametrize("file", BAD, ids=lambda file: file.kind)
def test_a_file_that_cannot_be_read_names_itself_and_what_is_wrong(tmp_path: Path, file: Bad) -> None:
    put(tmp_path, file.name, file.content if isinstance(file.content, bytes) else file.content())
    with pytest.raises(file.error) as caught:
        read_batches(tmp_path, file.config)
    assert type(caught.value) is file.error
    assert f"data/raw/{file.name}" in caught.value.what
    assert file.culprit in caught.value.what, caught.value
    assert caught.value.fix


@pytest.mark.parametrize("file", BAD, ids=lambda file: file.kind)
def test_a_file_that_cannot_be_read_is_moved_aside_and_the_others_go_on(tmp_path: Path, file: Bad) -> None:
    content = file.content if isinstance(file.content, bytes) else file.content()
    put(tmp_path, file.name, content, "data/incoming")
    put(tmp_path, "other.jsonl", codecs.BOM_UTF8 + b'{"text": "a"}', "data/incoming")
    intake = taken_in(tmp_path, file.config)
    assert [arrival.name for arrival in intake.arrivals] == ["data/incoming/other.jsonl"]
    (rejection,) = intake.rejections
    assert file.culprit in rejection.reason
    assert (tmp_path / rejection.moved_to).read_bytes() == content


def test_a_row_with_more_labels_than_memory_is_allowed_for_is_refused(tmp_path: Path) -> None:
    labels = pl.repeat(None, 10_000_000, dtype=pl.String, eager=True).implode()
    buffer = io.BytesIO()
    pl.DataFrame({"text": ["a"], "label": labels}).write_parquet(buffer)
    put(tmp_path, "x.parquet", buffer.getvalue())
    with pytest.raises(MalformedBatchError, match=r"x\.parquet has at least 153 MiB when it is unpacked"):
        read_batches(tmp_path, DataConfig(task="multi_label", max_file_bytes=LIMIT))


@pytest.mark.parametrize("name", ["x.csv", "x.jsonl", "x.parquet"])
def test_of_ten_thousand_columns_an_error_names_a_few(tmp_path: Path, name: str) -> None:
    frame = pl.DataFrame([dict.fromkeys([f"column {number}" for number in range(10_000)], "x")])
    path = put(tmp_path, name, b"")
    if name == "x.csv":
        frame.write_csv(path)
    elif name == "x.jsonl":
        frame.write_ndjson(path)
    else:
        frame.write_parquet(path)
    with pytest.raises(MissingColumnError, match=r"'column 49'\] and 9950 more") as caught:
        read_batches(tmp_path, PLAIN)
    assert len(str(caught.value)) < 2_000


def test_a_bomb_takes_no_more_memory_than_a_piece_of_it(tmp_path: Path) -> None:
    put(tmp_path, "x.csv.gz", gzip_bomb())
    tracemalloc.start()
    try:
        with pytest.raises(MalformedBatchError):
            read_batches(tmp_path, DataConfig(max_file_bytes=2 * LIMIT))
        assert tracemalloc.get_traced_memory()[1] < LIMIT // 2
    finally:
        tracemalloc.stop()
