"""Which files are batches: those of the data folders, sorted, and nothing that leads elsewhere."""

import os
from pathlib import Path

import pytest
from tests.core.batch_scenario import PLAIN, put

from ftzard.config import DataConfig
from ftzard.core.batch_folder import list_batches
from ftzard.core.reading import read_batch, read_batches
from ftzard.errors import (
    MalformedBatchError,
    NoBatchesError,
    StorageError,
)


def test_batches_of_both_folders_are_found_at_any_depth_and_sorted_by_name(tmp_path: Path) -> None:
    names = ["data/labelled/c.parquet", "data/raw/B.CSV", "data/raw/a.tsv", "data/raw/deep/er/x.jsonl"]
    for name in [*reversed(names), "data/other/no.csv", "data/raw/notes.md"]:
        put(tmp_path, name, "x")
    assert [path.relative_to(tmp_path).as_posix() for path in list_batches(tmp_path, PLAIN)] == names


def test_a_folder_that_lies_in_the_other_is_not_read_twice(tmp_path: Path) -> None:
    put(tmp_path, "data/raw/labelled/a.csv", "x")
    assert len(list_batches(tmp_path, DataConfig(labelled_dir="data/raw/labelled"))) == 1


def test_hidden_and_temporary_files_and_folders_are_passed_over(tmp_path: Path) -> None:
    good = put(tmp_path, "data/raw/good.csv", "x")
    for name in (".a.csv", "b.csv.tmp", "c.csv~", "d.csv.part", ".hidden/e.csv", "half.tmp/f.csv", "~$g.csv"):
        put(tmp_path, f"data/raw/{name}", "x")
    assert list_batches(tmp_path, PLAIN) == (good,)


def test_where_dvc_knows_of_data_that_is_not_there_pulling_it_is_what_to_do_first(tmp_path: Path) -> None:
    (tmp_path / "data.dvc").touch()
    with pytest.raises(NoBatchesError) as caught:
        list_batches(tmp_path, PLAIN)
    assert caught.value.fix.startswith("get the data that data.dvc stands for, with `dvc pull`; else put a file there")
    put(tmp_path, "data/raw/notes.md", "x")
    with pytest.raises(NoBatchesError) as caught:
        list_batches(tmp_path, PLAIN)
    assert caught.value.fix.startswith("put a file there")


def test_a_file_of_another_kind_is_passed_over_with_a_warning_that_says_what_to_do(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    good = put(tmp_path, "data/raw/good.csv", "x")
    for name in ("march.XLSX", "notes.md", ".keep"):
        put(tmp_path, f"data/raw/{name}", "x")
    assert list_batches(tmp_path, PLAIN) == (good,)
    notes, sheet = (record.getMessage() for record in caplog.records)
    assert sheet.endswith("of a kind that is not read: data/raw/march.XLSX; save its sheet as CSV, in UTF-8")
    assert "of a kind that is not read: data/raw/notes.md; give a file that ends in .csv" in notes


def test_of_many_files_of_other_kinds_a_few_are_named_in_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    put(tmp_path, "data/raw/good.csv", "x")
    for number in range(30):
        put(tmp_path, f"data/raw/{number:02}.jpg", "x")
    list_batches(tmp_path, PLAIN)
    (warning,) = (record.getMessage() for record in caplog.records)
    assert "data/raw/04.jpg and 25 more;" in warning


def test_links_out_of_the_project_and_links_to_folders_are_passed_over_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    project_dir = tmp_path / "project"
    good = put(project_dir, "data/raw/good.csv", "x")
    secret = put(tmp_path, "elsewhere/secret.csv", "x")
    raw_dir = good.parent
    (raw_dir / "out.csv").symlink_to(secret)
    (raw_dir / "folder").symlink_to(secret.parent)
    (raw_dir / "nowhere.csv").symlink_to("does-not-exist")
    (raw_dir / "ring.csv").symlink_to("ring.csv")
    assert list_batches(project_dir, PLAIN) == (good,)
    for name in ("out.csv", "folder", "nowhere.csv", "ring.csv"):
        assert f"{raw_dir / name}:" in caplog.text


def test_a_data_folder_that_is_itself_a_link_out_of_the_project_is_not_entered(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    project_dir = tmp_path / "project"
    put(project_dir, "data/labelled/good.csv", "x")
    put(tmp_path, "elsewhere/secret.csv", "x")
    (project_dir / "data/raw").symlink_to(tmp_path / "elsewhere")
    assert [path.name for path in list_batches(project_dir, PLAIN)] == ["good.csv"]
    assert [record.getMessage().split(":")[0] for record in caplog.records] == [f"passed over {project_dir}/data/raw"]


def test_a_link_into_the_projects_own_cache_is_a_batch(tmp_path: Path) -> None:
    cached = put(tmp_path, ".dvc/cache/ab/cdef", "text,label\na,b\n")
    link = tmp_path / "data/raw/a.csv"
    link.parent.mkdir(parents=True)
    link.symlink_to(cached)
    assert read_batches(tmp_path, PLAIN).examples["text"].to_list() == ["a"]


def test_no_batches_names_the_folders_the_kinds_and_what_is_there_instead(tmp_path: Path) -> None:
    with pytest.raises(NoBatchesError, match=r"(?s)data/raw or data/labelled.*\.csv, \.tsv, \.jsonl, \.ndjson"):
        list_batches(tmp_path, PLAIN)
    put(tmp_path, "data/raw/tweets.xlsx", "x")
    with pytest.raises(NoBatchesError, match=r"data/raw/tweets\.xlsx"):
        list_batches(tmp_path, PLAIN)


def test_a_file_name_that_is_not_utf_8_is_named_in_the_error(tmp_path: Path) -> None:
    (tmp_path / "data/raw").mkdir(parents=True)
    Path(os.fsdecode(os.fsencode(tmp_path / "data/raw") + b"/caf\xe9.csv")).write_bytes(b"text,label\na,b\n")
    with pytest.raises(MalformedBatchError, match="caf"):
        list_batches(tmp_path, PLAIN)


def test_a_file_that_cannot_be_opened_is_a_storage_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"data/raw/gone\.csv"):
        read_batch(tmp_path / "gone.csv", "data/raw/gone.csv", PLAIN)
