"""Queues as files: nothing runs in a spreadsheet, nothing gives the model's opinion away, and nothing is lost."""

import csv
import io
import json
import xml.etree.ElementTree as ET
from pathlib import Path

import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from tests.core.test_label_queue import LABELS, queue_of

from ftzard.core.label_files import (
    escaped,
    label_csv,
    label_studio_interface,
    read_label_queue,
    unescaped,
    write_label_queue,
)
from ftzard.errors import StorageError

texts = st.text() | st.sampled_from(["=", "'", "''", "'=", "+1", "-", "@x", "\t", "\r\n", "\uff1d1"])


@given(texts)
@example("'=HYPERLINK()")
def test_escaping_can_be_undone_and_leaves_no_formula(text: str) -> None:
    assert unescaped(escaped(text)) == text
    assert not escaped(text).startswith(("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20"))


@given(texts, texts)
def test_different_texts_are_different_cells(first: str, second: str) -> None:
    assert (escaped(first) == escaped(second)) == (first == second)


def test_a_cell_that_a_person_typed_is_left_as_it_is() -> None:
    assert [unescaped(cell) for cell in ("yes", "'yes'", "-1", "")] == ["yes", "'yes'", "-1", ""]


def test_the_csv_is_utf_8_with_a_mark_and_its_labels_are_empty_or_those_that_are_known() -> None:
    rows = pl.DataFrame({"text_hash": ["a", "b"], "text": ["=é; 1", "x"]})
    for given_rows, labels in ((rows, ["", ""]), (rows.with_columns(label=pl.Series(["-1", None])), ["'-1", ""])):
        data = label_csv(given_rows)
        assert data.startswith(b"\xef\xbb\xbf")
        read = list(csv.reader(io.StringIO(data.decode("utf-8-sig"), newline="")))
        assert read[0] == ["ftzard_id", "text", "label"]
        assert read[1:] == [["a", "'=é; 1", labels[0]], ["b", "x", labels[1]]]


def test_a_queue_is_read_as_it_was_written_whatever_people_did_to_the_files_for_them(tmp_path: Path) -> None:
    queue = queue_of()
    write_label_queue(queue, tmp_path / "queue")
    (tmp_path / "queue" / "queue.csv").write_text("scribbled over")
    read = read_label_queue(tmp_path / "queue")
    assert_frame_equal(read.rows, queue.rows)
    assert_frame_equal(read.sidecar, queue.sidecar)
    assert read.labels == LABELS


def test_what_people_open_does_not_say_what_the_model_thinks(tmp_path: Path) -> None:
    queue = queue_of()
    write_label_queue(queue, tmp_path / "queue")
    with (tmp_path / "queue" / "queue.csv").open(newline="", encoding="utf-8-sig") as file:
        table = list(csv.DictReader(file))
    assert [row["ftzard_id"] for row in table] == queue.rows["text_hash"].to_list()
    assert {frozenset(row) for row in table} == {frozenset({"ftzard_id", "text", "label"})}
    tasks = json.loads((tmp_path / "queue" / "label-studio.json").read_text(encoding="utf-8"))
    assert [task["data"]["text"] for task in tasks] == queue.rows["text"].to_list()
    assert {(frozenset(task), frozenset(task["data"])) for task in tasks} == {
        (frozenset({"data"}), frozenset({"ftzard_id", "text"}))
    }


def test_a_queue_without_rows_is_a_queue(tmp_path: Path) -> None:
    full = queue_of(5)
    empty = queue_of(5, already_labelled=set(full.rows["text_hash"]) | set(queue_of(5).sidecar["text_hash"]))
    write_label_queue(empty, tmp_path / "queue")
    assert read_label_queue(tmp_path / "queue").labels == LABELS


@pytest.mark.parametrize("break_it", [lambda path: path.unlink(), lambda path: path.write_bytes(b"nothing")])
def test_a_damaged_queue_is_an_error(tmp_path: Path, break_it: "object") -> None:
    write_label_queue(queue_of(), tmp_path / "queue")
    assert callable(break_it)
    break_it(tmp_path / "queue" / "sidecar.parquet")
    with pytest.raises(StorageError, match="label queue"):
        read_label_queue(tmp_path / "queue")


def test_labels_in_the_labelling_interface_are_attributes_whatever_they_hold() -> None:
    labels = ["yes", 'a "b" <c> & d', "'"]
    root = ET.fromstring(label_studio_interface(labels))  # noqa: S314 - written a line above
    assert [choice.get("value") for choice in root.iter("Choice")] == labels
    (text,) = root.iter("Text")
    assert (text.get("value"), root.find("Choices").get("toName")) == ("$text", text.get("name"))  # type: ignore[union-attr]
