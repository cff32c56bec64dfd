"""The columns that place a row in a split: read from every format, kept by cleaning, asked for where missing."""

import json
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
from pydantic import ValidationError

from ftzard.config import DataConfig
from ftzard.core.cleaning import clean
from ftzard.core.cleaning_answers import clean_answers
from ftzard.core.intake import read_unlabelled
from ftzard.core.reading import read_batches
from ftzard.core.records import EXAMPLE_SCHEMA
from ftzard.core.splitting import split
from ftzard.errors import MalformedBatchError, MissingColumnError

_GROUPED = DataConfig(group_column="user")
_DATED = DataConfig(time_column="at")


def _write(project: Path, name: str, text: str) -> None:
    path = project / "data" / "raw" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def test_a_group_is_read_from_every_format_and_a_file_or_row_may_lack_it(tmp_path: Path) -> None:
    _write(tmp_path, "a.csv", "text,label,user\none,x, anna \ntwo,y,\n")
    _write(tmp_path, "b.csv", "text,label\nthree,x\n")
    _write(tmp_path, "c.jsonl", '{"text": "four", "label": "y", "user": 7}\n{"text": "five", "label": "x"}\n')
    frame = pl.DataFrame({"user": [8.0], "text": ["six"], "label": ["y"]})
    frame.write_parquet(tmp_path / "data" / "raw" / "d.parquet")
    examples = clean(read_batches(tmp_path, _GROUPED).examples, _GROUPED).examples
    groups = dict(examples.select("text", "group").iter_rows())
    assert groups == {"one": "anna", "two": None, "three": None, "four": "7", "five": None, "six": "8"}
    assert "group" not in clean(read_batches(tmp_path, DataConfig()).examples, DataConfig()).examples.columns


@pytest.mark.parametrize(
    ("written", "time"),
    [
        ("2026-03-01", datetime(2026, 3, 1, tzinfo=UTC)),
        ("2026-03-01 12:30:00", datetime(2026, 3, 1, 12, 30, tzinfo=UTC)),
        ("2026-03-01T12:30:00+02:00", datetime(2026, 3, 1, 10, 30, tzinfo=UTC)),
        ("2026-03-01T12:30:00Z", datetime(2026, 3, 1, 12, 30, tzinfo=UTC)),
        ("0", datetime(1970, 1, 1, tzinfo=UTC)),
        ("", None),
    ],
)
def test_times_are_read_as_iso_8601_or_seconds(tmp_path: Path, written: str, time: datetime | None) -> None:
    _write(tmp_path, "a.csv", f"text,label,at\none,x,{written}\ntwo,y,2020-01-01\n")
    assert read_batches(tmp_path, _DATED).examples["time"].to_list()[0] == time


def test_times_of_parquet_and_numbers_of_json_are_times(tmp_path: Path) -> None:
    _write(tmp_path, "a.jsonl", json.dumps({"text": "one", "label": "x", "at": 86_400}))
    at = [datetime(2026, 1, 1), datetime(2026, 1, 2)]  # noqa: DTZ001 - as Parquet files of others have them
    pl.DataFrame({"text": ["two", "three"], "label": ["x", "y"], "at": at}).write_parquet(
        tmp_path / "data" / "raw" / "b.parquet"
    )
    days = [f"{time:%Y-%m-%d}" for time in read_batches(tmp_path, _DATED).examples["time"]]
    assert days == ["1970-01-02", "2026-01-01", "2026-01-02"]


def test_a_time_that_is_none_is_an_error_with_its_line_and_key(tmp_path: Path) -> None:
    _write(tmp_path, "a.csv", "text,label,at\none,x,2026-01-01\ntwo,y,yesterday\n")
    with pytest.raises(MalformedBatchError, match="line 3") as caught:
        read_batches(tmp_path, _DATED)
    assert "data.time_column" in caught.value.fix
    _write(tmp_path, "a.csv", "text,label,at\none,x,1767225600000000\n")
    with pytest.raises(MalformedBatchError, match="not milliseconds"):
        read_batches(tmp_path, _DATED)


def test_a_column_that_no_row_has_is_an_error_that_names_its_key(tmp_path: Path) -> None:
    _write(tmp_path, "a.csv", "text,label,user\none,x,\ntwo,y,\n")
    for config, key in ((_GROUPED, "group_column"), (_DATED, "time_column")):
        with pytest.raises(MissingColumnError) as caught:
            read_batches(tmp_path, config)
        assert f"data.{key}" in caught.value.fix


def test_both_columns_at_once_are_refused() -> None:
    with pytest.raises(ValidationError, match="group_column and time_column"):
        DataConfig(group_column="user", time_column="at")


def test_files_without_labels_need_no_such_column(tmp_path: Path) -> None:
    _write(tmp_path, "a.csv", "text\nhello there\n")
    path = tmp_path / "data" / "raw" / "a.csv"
    assert read_unlabelled(path, "a.csv", _GROUPED).examples.schema == EXAMPLE_SCHEMA


def test_prompts_with_answers_have_groups_too_which_of_the_splits_test_alone_holds(tmp_path: Path) -> None:
    rows = [{"prompt": f"Question {n}", "completion": f"Answer {n}", "thread": f"t{n % 40}"} for n in range(200)]
    _write(tmp_path, "a.jsonl", "\n".join(map(json.dumps, rows)))
    config = DataConfig(task="generation", group_column="thread")
    examples = clean_answers(read_batches(tmp_path, config).examples, config).examples
    assert examples["group"].n_unique() == 40
    splits = split(examples, config)
    threads = [set(examples.join(frame, on="text_hash", how="semi")["group"]) for frame in (splits.train, splits.test)]
    assert not threads[0] & threads[1]
    assert splits.train.schema == splits.validation.schema == EXAMPLE_SCHEMA
    assert set(splits.test["group"]) == threads[1]
