"""Files as people have them, from their bytes to their rows: read right, or refused with the culprit named.

Each is tried in `data/raw`, where what is refused stops the reading, and in `data/incoming`, where it is moved aside
and the others go on. Nothing may hang: a signal ends what takes half a minute.
"""

import codecs
import gzip
import io
import os
import signal
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

import polars as pl
import pyarrow as pa
import pytest

from ftzard.config import DataConfig
from ftzard.core import open_files
from ftzard.core.batch_names import printable
from ftzard.core.intake import Intake, take_in
from ftzard.core.reading import read_batches
from ftzard.errors import (
    BatchEncodingError,
    EmptyBatchError,
    FtzardError,
    MalformedBatchError,
    NoBatchesError,
    StorageError,
)

CSV = b"text,label\ngood,p\nbad,n\n"
ROWS = [("good", "p"), ("bad", "n")]
FRAME = pl.DataFrame({"text": ["good", "bad"], "label": ["p", "n"]})
LIMIT = 64 * 1024**2
MAX_S = 30
PLAIN = DataConfig()


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


def huge_parquet() -> bytes:
    """A text of a megabyte, once in the file and five hundred times in the column."""
    buffer = io.BytesIO()
    pl.DataFrame({"text": ["x" * 1_000_000] * 500, "label": ["p"] * 500}).write_parquet(buffer)
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
    Bad(
        "repeating Parquet", huge_parquet, MalformedBatchError, "477 MiB", "x.parquet", DataConfig(max_file_bytes=LIMIT)
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


@pytest.fixture(autouse=True)
def _ends_what_hangs() -> Iterator[None]:
    def stop(_: int, frame: FrameType | None) -> None:
        message = f"still at it after {MAX_S} s, in {frame}"
        raise AssertionError(message)

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(MAX_S)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def put(project: Path, name: str, content: bytes = CSV, folder: str = "data/raw") -> Path:
    path = project / folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def rows_of(project: Path, config: DataConfig | None = None) -> list[tuple[str, str]]:
    return read_batches(project, config or PLAIN).examples.select("text", "label").rows()


def taken_in(project: Path, config: DataConfig) -> Intake:
    first = take_in(project, config, project / "staging", {}, settle_s=1, now_s=1000)
    return take_in(project, config, project / "staging", first.sightings, settle_s=1, now_s=1001)


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


def test_a_bomb_takes_no_more_memory_than_a_piece_of_it(tmp_path: Path) -> None:
    put(tmp_path, "x.csv.gz", gzip_bomb())
    tracemalloc.start()
    try:
        with pytest.raises(MalformedBatchError):
            read_batches(tmp_path, DataConfig(max_file_bytes=2 * LIMIT))
        assert tracemalloc.get_traced_memory()[1] < LIMIT // 2
    finally:
        tracemalloc.stop()


# What is no file


@pytest.mark.parametrize("folder", ["data/raw", "data/incoming"])
def test_pipes_folders_and_links_to_nothing_or_out_are_told_and_the_others_are_read(
    tmp_path: Path, folder: str, caplog: pytest.LogCaptureFixture
) -> None:
    project = tmp_path / "project"
    put(project, "good.csv", folder=folder)
    os.mkfifo(project / folder / "pipe.csv")
    (project / folder / "folder.csv").mkdir()
    (project / folder / "nowhere.csv").symlink_to("nothing")
    put(tmp_path, "secret.csv", folder="elsewhere")
    (project / folder / "out.csv").symlink_to(tmp_path / "elsewhere" / "secret.csv")
    if folder == "data/raw":
        assert rows_of(project) == ROWS
    else:
        intake = taken_in(project, PLAIN)
        assert [arrival.name for arrival in intake.arrivals] == [f"{folder}/good.csv"]
    for name in ("pipe.csv", "folder.csv", "nowhere.csv", "out.csv"):
        assert f"{folder}/{name}" in caplog.text


def test_a_pipe_alone_is_no_batch(tmp_path: Path) -> None:
    (tmp_path / "data/raw").mkdir(parents=True)
    os.mkfifo(tmp_path / "data/raw/pipe.csv")
    with pytest.raises(NoBatchesError):
        read_batches(tmp_path, PLAIN)


@pytest.mark.parametrize(("make", "what"), [(os.mkfifo, "pipe"), (os.mkdir, "folder")])
def test_what_turns_up_in_the_place_of_a_file_is_not_waited_for(
    tmp_path: Path, make: Callable[[Path], None], what: str
) -> None:
    make(tmp_path / "x.csv")
    with pytest.raises(StorageError, match=rf"data/raw/x\.csv is a {what}"):
        open_files.read_settled(tmp_path / "x.csv", "data/raw/x.csv", 100)


# Names


def test_what_a_name_would_do_to_a_terminal_is_not_in_messages(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    name = "a\n\x1b[2J\u202evsc.csv"
    put(tmp_path, name, b"")
    with pytest.raises(EmptyBatchError) as caught:
        read_batches(tmp_path, PLAIN)
    assert printable(name) in caught.value.what
    put(tmp_path, name)
    put(tmp_path, f"b{name}")
    with caplog.at_level("INFO"):
        read_batches(tmp_path, PLAIN)
    assert all(line.isprintable() for text in (str(caught.value), caplog.text) for line in text.splitlines())


@pytest.mark.parametrize("stem", ["x" * 251, "é" * 125 + "x", "caf\udce9", "a\n\x1b;$(x)"])
def test_a_broken_file_of_an_odd_name_is_moved_aside_with_its_reason(tmp_path: Path, stem: str) -> None:
    for content in (b"", b"text\n"):
        put(tmp_path, f"{stem}.csv", content, "data/incoming")
        (rejection,) = taken_in(tmp_path, PLAIN).rejections
        assert rejection.name == printable(f"data/incoming/{stem}.csv")
    rejected = sorted(path.name for path in (tmp_path / "data/rejected").iterdir())
    assert len(rejected) == 4
    assert len([name for name in rejected if name.endswith(".csv")]) == 2


# The same content twice


def test_the_same_content_counts_once_for_the_first_name_however_it_is_packed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    put(tmp_path, "c.csv")
    put(tmp_path, "b.csv.gz", gzip.compress(CSV))
    put(tmp_path, "deep/a.csv")
    put(tmp_path, "a.csv", folder="data/labelled")
    put(tmp_path, "other.csv", b"text,label\nfine,p\n")
    raw = read_batches(tmp_path, PLAIN)
    assert raw.examples.select("text", "batch").rows() == [
        ("good", "data/labelled/a.csv"),
        ("bad", "data/labelled/a.csv"),
        ("fine", "data/raw/other.csv"),
    ]
    assert [(source.name, source.num_rows, source.same_as) for source in raw.sources] == [
        ("data/labelled/a.csv", 2, None),
        ("data/raw/b.csv.gz", 0, "data/labelled/a.csv"),
        ("data/raw/c.csv", 0, "data/labelled/a.csv"),
        ("data/raw/deep/a.csv", 0, "data/labelled/a.csv"),
        ("data/raw/other.csv", 1, None),
    ]
    assert "the same as data/labelled/a.csv" in raw.sources[1].summary
    assert "data/raw/c.csv holds the same as data/labelled/a.csv" in caplog.text
    assert read_batches(tmp_path, PLAIN, each_content_once=False).examples.height == 9


def test_the_same_bytes_that_are_read_in_another_way_are_other_content(tmp_path: Path) -> None:
    put(tmp_path, "a.csv", b"text\tlabel,x\ngood\tp\n")
    put(tmp_path, "b.jsonl", b'{"text": "a", "label": "b"}\n')
    put(tmp_path, "c.ndjson", b'{"text": "a", "label": "b"}\n')
    with pytest.raises(FtzardError, match=r"a\.csv"):
        read_batches(tmp_path, PLAIN)
    (tmp_path / "data/raw/a.csv").unlink()
    assert len(rows_of(tmp_path)) == 2


# Files that are being written


def test_a_file_that_another_program_has_open_for_writing_is_not_read(tmp_path: Path) -> None:
    path = put(tmp_path, "x.csv")
    with path.open("ab"), pytest.raises(StorageError, match=r"data/raw/x\.csv is open for writing"):
        read_batches(tmp_path, PLAIN)
    assert rows_of(tmp_path) == ROWS


@pytest.fixture
def meanwhile(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    """Have something happen to the file each time after its state was looked at, and before it is read."""

    def arrange(happening: Callable[[], object]) -> None:
        fstat, is_before = os.fstat, [True]

        def looked_at(descriptor: int) -> os.stat_result:
            status = fstat(descriptor)
            if is_before[0]:
                happening()
            is_before[0] = not is_before[0]
            return status

        monkeypatch.setattr(os, "fstat", looked_at)

    return arrange


def test_a_file_that_grows_while_it_is_read_is_refused(
    tmp_path: Path, meanwhile: Callable[[Callable[[], object]], None]
) -> None:
    path = put(tmp_path, "x.csv")

    def grow() -> None:
        with path.open("ab") as file:
            file.write(b"more,p\n")

    meanwhile(grow)
    with pytest.raises(StorageError, match=r"data/raw/x\.csv changed each of the 3 times"):
        read_batches(tmp_path, PLAIN)


def test_a_file_that_was_put_in_the_place_of_another_meanwhile_is_read_whole(
    tmp_path: Path, meanwhile: Callable[[Callable[[], object]], None]
) -> None:
    path = put(tmp_path, "x.csv")
    newer = [put(tmp_path, "newer", b"text,label\nnewer,p\nnewest,n\n", "elsewhere")]
    meanwhile(lambda: newer and newer.pop().replace(path))
    assert rows_of(tmp_path) == [("newer", "p"), ("newest", "n")]


def test_a_file_that_was_overwritten_with_as_many_bytes_is_noticed(
    tmp_path: Path, meanwhile: Callable[[Callable[[], object]], None]
) -> None:
    path = put(tmp_path, "x.csv")
    contents = [CSV.upper()]

    def overwrite() -> None:
        if contents:
            path.write_bytes(contents.pop())
            os.utime(path, ns=(1, 1))

    meanwhile(overwrite)
    with pytest.raises(FtzardError, match="'TEXT', 'LABEL'"):
        read_batches(tmp_path, PLAIN)
