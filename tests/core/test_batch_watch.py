"""A new content of the labelled batches is told once, after the files were left alone."""

import os
from pathlib import Path

import pytest

from ftzard.config import DataConfig
from ftzard.core.batch_watch import BatchWatch, watch_batches
from ftzard.core.versions import batches_version
from ftzard.errors import NoBatchesError

CONFIG = DataConfig()


@pytest.fixture
def batch(tmp_path: Path) -> Path:
    path = tmp_path / "data" / "raw" / "a.csv"
    path.parent.mkdir(parents=True)
    path.write_text("text,label\none,a\ntwo,b\n")
    return path


class Watcher:
    """Looks every ten seconds, with five to settle."""

    def __init__(self, project: Path) -> None:
        self.project, self.now_s, self.watch = project, 0.0, BatchWatch()

    def look(self) -> str | None:
        self.now_s += 10.0
        self.watch, version = watch_batches(self.project, CONFIG, self.watch, settle_s=5.0, now_s=self.now_s)
        return version


def test_a_batch_is_told_at_the_second_look_and_never_again(batch: Path, tmp_path: Path) -> None:
    watcher = Watcher(tmp_path)
    looks = [watcher.look() for _ in range(4)]
    assert looks == [None, batches_version(tmp_path, CONFIG), None, None]
    assert batch.exists()


def test_a_touch_tells_nothing(batch: Path, tmp_path: Path) -> None:
    watcher = Watcher(tmp_path)
    watcher.look()
    watcher.look()
    os.utime(batch, (1, 1))
    assert [watcher.look() for _ in range(3)] == [None, None, None]


def test_three_new_files_between_two_looks_are_one_version(batch: Path, tmp_path: Path) -> None:
    watcher = Watcher(tmp_path)
    watcher.look()
    watcher.look()
    for name in ("b", "c", "d"):
        (batch.parent / f"{name}.csv").write_text(f"text,label\n{name},a\n")
    versions = [watcher.look() for _ in range(3)]
    assert [version is not None for version in versions] == [False, True, False]


def test_a_file_that_is_open_for_writing_holds_the_report_back(batch: Path, tmp_path: Path) -> None:
    watcher = Watcher(tmp_path)
    with batch.open("a") as file:
        file.write("thr")
        file.flush()
        assert [watcher.look() for _ in range(3)] == [None, None, None]
        file.write("ee,b\n")
    assert [watcher.look() is not None for _ in range(3)] == [False, True, False]


def test_a_change_that_is_taken_back_tells_nothing(batch: Path, tmp_path: Path) -> None:
    watcher = Watcher(tmp_path)
    watcher.look()
    watcher.look()
    before = batch.read_text()
    batch.write_text("text,label\nthree,a\n")
    watcher.look()
    batch.write_text(before)
    assert [watcher.look() for _ in range(3)] == [None, None, None]


def test_without_batches_there_is_an_error_to_show(tmp_path: Path) -> None:
    with pytest.raises(NoBatchesError):
        Watcher(tmp_path).look()
