"""What stands in a folder beside good files, or under odd names, or is still being written."""

import gzip
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.bad_inputs.file_scenario import CSV, PLAIN, ROWS, put, rows_of, taken_in

from ftzard.core import open_files
from ftzard.core.batch_names import printable
from ftzard.core.reading import read_batches
from ftzard.errors import (
    EmptyBatchError,
    FtzardError,
    NoBatchesError,
    StorageError,
)

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
    put(project, "secret.csv", folder=".settings")
    (project / folder / "hidden.csv").symlink_to(project / ".settings" / "secret.csv")
    if folder == "data/raw":
        assert rows_of(project) == ROWS
    else:
        intake = taken_in(project, PLAIN)
        assert [arrival.name for arrival in intake.arrivals] == [f"{folder}/good.csv"]
    for name in ("pipe.csv", "folder.csv", "nowhere.csv", "out.csv", "hidden.csv"):
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
