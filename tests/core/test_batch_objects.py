"""Rows that a program holds become a batch: whole, once, and under the name that was asked for."""

from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Sequence, Value

from ftzard.config import DataConfig
from ftzard.core.batch_objects import write_batch
from ftzard.core.reading import read_batches
from ftzard.errors import EmptyBatchError, MalformedBatchError, OutputExistsError

ROWS = {"text": ["good", None, "schön, ja"], "label": ["p", "n", None]}
FEATURES = Features({"text": Value("string"), "label": ClassLabel(names=["n", "p"])})
DATASET = Dataset.from_dict({"text": ["good", None, "schön, ja"], "label": [1, 0, -1]}, features=FEATURES)
OBJECTS = {
    "polars": pl.DataFrame(ROWS),
    "polars lazy": pl.LazyFrame(ROWS),
    "pandas": pd.DataFrame(ROWS),
    "pandas with an index": pd.DataFrame(ROWS, index=["x", "y", "z"]),
    "arrow table": pa.table(ROWS),
    "arrow reader": pa.table(ROWS).to_reader(max_chunksize=1),
    "dataset": DATASET,
    "streamed dataset": DATASET.to_iterable_dataset(),
    "selected dataset": DATASET.select([2, 1, 0]).select([2, 1, 0]),
}


@pytest.mark.parametrize("kind", OBJECTS)
def test_rows_of_any_library_are_read_back_as_a_batch(tmp_path: Path, kind: str) -> None:
    assert write_batch(OBJECTS[kind], tmp_path / "data/raw/rows.parquet") == 3
    raw = read_batches(tmp_path, DataConfig())
    assert raw.examples.to_dict(as_series=False) == {
        **ROWS,
        "batch": ["data/raw/rows.parquet"] * 3,
        "row": [1, 2, 3],
    }
    assert [path.name for path in (tmp_path / "data/raw").iterdir()] == ["rows.parquet"]


def test_a_dataset_of_many_pieces_is_streamed_in_order(tmp_path: Path) -> None:
    numbers = list(range(25_000))
    dataset = Dataset.from_dict({"text": [f"text {number}" for number in numbers], "label": [1] * len(numbers)})
    assert write_batch(dataset.to_iterable_dataset(), tmp_path / "rows.parquet") == 25_000
    assert pl.read_parquet(tmp_path / "rows.parquet")["text"].to_list() == [f"text {number}" for number in numbers]


def test_a_file_that_is_there_stays_unless_it_may_be_replaced(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    write_batch(pl.DataFrame(ROWS), path)
    before = path.read_bytes()
    with pytest.raises(OutputExistsError, match=r"rows\.parquet exists"):
        write_batch(pl.DataFrame({"text": ["other"], "label": ["p"]}), path)
    assert path.read_bytes() == before
    assert write_batch(pl.DataFrame({"text": ["other"], "label": ["p"]}), path, replace=True) == 1
    assert pl.read_parquet(path)["text"].to_list() == ["other"]
    assert list(tmp_path.iterdir()) == [path]


def _failing() -> Any:
    def batches() -> Any:
        yield pa.record_batch({"text": ["a"], "label": ["b"]})
        message = "the source went away"
        raise pa.ArrowInvalid(message)

    return pa.RecordBatchReader.from_batches(pa.schema({"text": pa.string(), "label": pa.string()}), batches())


def test_a_batch_is_written_through_no_link(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("precious")
    (tmp_path / ".batch.parquet.part").symlink_to(elsewhere)
    write_batch(pl.DataFrame({"text": ["a"], "label": ["b"]}), tmp_path / "batch.parquet")
    assert elsewhere.read_text() == "precious"
    assert pl.read_parquet(tmp_path / "batch.parquet")["text"].to_list() == ["a"]


@pytest.mark.parametrize(
    ("rows", "error", "culprit"),
    [
        ([{"text": "a"}], MalformedBatchError, r"builtins\.list"),
        (DatasetDict({"train": DATASET}), MalformedBatchError, "DatasetDict"),
        (pl.DataFrame({"text": []}), EmptyBatchError, r"rows\.parquet"),
        (pd.DataFrame({"text": ["a", 1], "label": ["b", object()]}), MalformedBatchError, "column"),
        (_failing(), MalformedBatchError, "went away"),
        (pd.DataFrame([["a", "b"]], columns=["text", "text"]), MalformedBatchError, "Duplicate column names"),
    ],
    ids=["list", "several splits", "empty", "mixed", "interrupted", "two columns of one name"],
)
def test_what_is_no_table_or_fails_half_way_is_an_error_and_leaves_nothing(
    tmp_path: Path, rows: object, error: type[Exception], culprit: str
) -> None:
    with pytest.raises(error, match=culprit):
        write_batch(rows, tmp_path / "rows.parquet")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "name", ["rows.csv", ".rows.parquet", "rows.parquet.tmp", "~rows.parquet", "caf\udce9.parquet"]
)
def test_a_name_that_would_not_be_read_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(MalformedBatchError, match="name"):
        write_batch(pl.DataFrame(ROWS), tmp_path / name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("is_streamed", [False, True])
def test_the_classes_in_lists_are_written_by_their_names_too(tmp_path: Path, *, is_streamed: bool) -> None:
    features = Features({"text": Value("string"), "label": Sequence(ClassLabel(names=["n", "p"]))})
    dataset = Dataset.from_dict({"text": ["a", "b", "c"], "label": [[1, 0], [], None]}, features=features)
    write_batch(dataset.to_iterable_dataset() if is_streamed else dataset, tmp_path / "data/raw/rows.parquet")
    found = read_batches(tmp_path, DataConfig(task="multi_label")).examples["label"]
    assert found.to_list() == ["p|n", "[]", None]
