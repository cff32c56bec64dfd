"""Label files that come back: whatever program saved them, the texts are those that were queued, or it is an error."""

import csv
import io
import json
from typing import Any

import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ftzard.config import DataConfig
from ftzard.core.cleaning import hash_texts
from ftzard.core.label_answers import answers
from ftzard.core.label_files import label_csv, label_studio_tasks
from ftzard.core.returned_labels import RETURNED_SCHEMA, is_label_file, read_label_csv, read_label_studio
from ftzard.core.text_normalisation import normalise_text
from ftzard.errors import (
    BatchEncodingError,
    ConflictingLabelsError,
    EmptyBatchError,
    FtzardError,
    MalformedBatchError,
    MissingColumnError,
    UnknownLabelError,
    UnknownRowError,
)

# What raw files look like is of no account to label files.
CONFIG = DataConfig(
    column_names=("target", "tweet"), text_column="tweet", label_column="target", encoding="latin-1", delimiter="|"
)
NAME = "data/labelled/queue.csv"
TEXTS = ["plain", "=1+2", "'=x", "'quoted'", 'a "quote"; and, more', "-5", "@me 😀 Größe", "007"]


def hash_of(text: str) -> str:
    return str(hash_texts(pl.Series([text]))[0])


def queue(*texts: str) -> pl.DataFrame:
    """Rows of a label queue."""
    frame = pl.DataFrame({"text": texts}, schema={"text": pl.String})
    return frame.select(hash_texts(frame["text"]), "text", position=pl.int_range(1, pl.len() + 1))


def filled(data: bytes, label: str = "yes", **dialect: Any) -> bytes:
    """A queue's CSV as another program saves it, with labels in the first column that is empty."""
    rows = list(csv.reader(io.StringIO(data.decode("utf-8-sig"), newline="")))
    out = io.StringIO(newline="")
    csv.writer(out, **dialect).writerows([rows[0], *([*row[:-1], label] for row in rows[1:])])
    return out.getvalue().encode()


def pairs(rows: pl.DataFrame) -> list[tuple[object, ...]]:
    assert rows.schema == RETURNED_SCHEMA
    return rows.select("text", "label").rows()


@settings(max_examples=100)
@given(texts=st.lists(st.text(min_size=1), min_size=1, max_size=4, unique=True), steps=st.booleans())
@example(texts=["=1", "'=1", "''=1", "\r", "a\r\nb", "a\nb", "\tx", "\0", "﻿x"], steps=False)
def test_cleaned_texts_survive_both_formats_and_are_the_same_example_when_they_are_cleaned_again(
    texts: list[str], steps: bool
) -> None:
    config = DataConfig(cleaning_steps=("unicode_nfc", "collapse_whitespace") if steps else ())
    cleaned = [text for text in normalise_text(pl.Series(texts), config.cleaning_steps).unique() if text]
    if not cleaned:
        return
    asked = queue(*cleaned)
    hashes = asked["text_hash"].to_list()
    from_csv = read_label_csv(label_csv(asked), NAME, config).rows
    from_json = read_label_studio(label_studio_tasks(asked), NAME, config).rows
    for rows in (from_csv, from_json):
        assert rows["text"].to_list() == asked["text"].to_list()
        assert rows["text_hash"].to_list() == hashes
        assert rows["label"].null_count() == rows.height
        again = normalise_text(rows["text"], config.cleaning_steps)
        assert hash_texts(again).to_list() == hashes


@pytest.mark.parametrize(
    "dialect",
    [
        {"delimiter": ";"},
        {"delimiter": "\t"},
        {"lineterminator": "\r"},
        {"lineterminator": "\n"},
        {"quoting": csv.QUOTE_ALL},
    ],
)
def test_delimiter_line_ends_and_quotes_are_the_spreadsheets_business(dialect: dict[str, Any]) -> None:
    data = filled(label_csv(queue(*TEXTS)), **dialect)
    assert is_label_file(data)
    assert pairs(read_label_csv(data, NAME, CONFIG).rows) == [(text, "yes") for text in TEXTS]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_byte_order_mark_says_the_encoding_whatever_is_configured(encoding: str) -> None:
    data = filled(label_csv(queue(*TEXTS))).decode().encode(encoding)
    assert is_label_file(data)
    assert pairs(read_label_csv(data, NAME, CONFIG).rows) == [(text, "yes") for text in TEXTS]


def test_columns_may_be_added_and_moved_and_empty_ends_of_lines_left_out() -> None:
    rows = f"note,label,text,ftzard_id\nlooks odd,yes,good,{hash_of('good')}\n,,,\n,,bad,{hash_of('bad')},,\n"
    returned = read_label_csv(rows.encode(), NAME, CONFIG).rows
    assert returned.drop("annotator").rows() == [(hash_of("good"), "good", "yes", 2), (hash_of("bad"), "bad", None, 4)]
    short = f"ftzard_id,text,label\n{hash_of('good')},good\n"
    assert pairs(read_label_csv(short.encode(), NAME, CONFIG).rows) == [("good", None)]


def test_the_column_with_the_labels_may_have_the_projects_own_name() -> None:
    data = f"ftzard_id,text,target\n{hash_of('good')},good, yes \n".encode()
    assert pairs(read_label_csv(data, NAME, CONFIG).rows) == [("good", "yes")]


def test_a_text_from_which_a_program_took_the_apostrophe_is_known_by_its_id() -> None:
    for text in ("=1+2", "'=x"):
        for cell in (text, f"'{text}"):
            data = f'ftzard_id,text,label\n{hash_of(text)},"{cell}",yes\n'.encode()
            assert pairs(read_label_csv(data, NAME, CONFIG).rows) == [(text, "yes")]


def test_what_cleaning_takes_away_again_does_no_harm() -> None:
    data = f'ftzard_id,text,label\n{hash_of("two words")},"two \r\nwords ",yes\n'.encode()
    assert pairs(read_label_csv(data, NAME, CONFIG).rows) == [("two words", "yes")]


@pytest.mark.parametrize(
    ("content", "error", "words"),
    [
        (f"ftzard_id,text,label\n{hash_of('007')},7,yes\n", MalformedBatchError, ("line 2", "labels import")),
        ("ftzard_id,text,label\n,added by hand,yes\n", MalformedBatchError, ("line 2", "no ftzard_id")),
        ("ftzard_id,text,label\n", EmptyBatchError, ("no rows",)),
        (f"ftzard_id,label\n{hash_of('a')},yes\n", MissingColumnError, ("'text'",)),
        (f"ftzard_id,text\n{hash_of('a')},a\n", MissingColumnError, ("'target'",)),
        (f"ftzard_id,text,label\n{hash_of('a')},a,yes,and more\n", MalformedBatchError, ("line 2", "4 fields")),
        (f'ftzard_id,text,label\n{hash_of("a")},"a,yes\n', MalformedBatchError, ("line 2",)),
    ],
)  # fmt: skip
def test_a_csv_that_is_not_as_it_was_queued_is_refused_with_the_place(
    content: str, error: type[FtzardError], words: tuple[str, ...]
) -> None:
    with pytest.raises(error) as caught:
        read_label_csv(content.encode(), NAME, CONFIG)
    assert all(word in str(caught.value) for word in (NAME, *words))


def test_a_refusal_says_how_many_rows_are_refused() -> None:
    data = filled(label_csv(queue(*TEXTS))).replace(b"plain", b"changed").replace(b"007", b"7")
    with pytest.raises(MalformedBatchError, match=r"line 2: the text is not .*; 1 more row\(s\) are refused"):
        read_label_csv(data, NAME, CONFIG)
    with pytest.raises(UnknownRowError, match=r"line 2: no label queue .*; 7 more row\(s\) are refused"):
        read_label_csv(filled(label_csv(queue(*TEXTS))), NAME, CONFIG, {})


def test_an_unknown_label_is_named_once_and_a_conflict_by_its_rows() -> None:
    rows = read_label_csv(filled(label_csv(queue(*TEXTS)), "Yes"), NAME, CONFIG).rows
    more = rows.with_columns(label=pl.lit("maybe"), row=pl.col("row") + 100)
    with pytest.raises(UnknownLabelError, match=r": row 2 and 7 more: 'Yes'; row 102 and 7 more: 'maybe'; allowed"):
        answers(pl.concat([rows, more]), NAME, ("yes", "no"), CONFIG)
    conflict = rf"8 text\(s\) several labels: row 2: 'Yes' and row 102: 'maybe'; row 3: .*; and 3 more{chr(10)}"
    with pytest.raises(ConflictingLabelsError, match=conflict):
        answers(pl.concat([rows, more]), NAME, ("Yes", "maybe"), CONFIG)


def test_accents_that_were_lost_on_the_way_are_told() -> None:
    data = f"ftzard_id,text,label\n{hash_of('café 😀')},caf? ??,yes\n".encode()
    with pytest.raises(MalformedBatchError, match="line 2"):
        read_label_csv(data, NAME, CONFIG)


def export(*annotations: object, text: str = "good", **task: object) -> bytes:
    data = {"ftzard_id": hash_of(text), "text": text}
    return json.dumps([{"id": 7, "data": data, "annotations": list(annotations), **task}]).encode()


def annotation(*choices: str, **fields: object) -> dict[str, object]:
    result = {"from_name": "label", "to_name": "text", "type": "choices", "value": {"choices": list(choices)}}
    return {"id": 1, "completed_by": 1, "was_cancelled": False, "result": [result], **fields}


def test_label_studios_annotations_are_rows_and_skipped_ones_are_not() -> None:
    skipped = annotation("no", was_cancelled=True)
    both = read_label_studio(export(annotation("yes"), skipped, annotation("no")), NAME, CONFIG)
    assert pairs(both.rows) == [("good", "yes"), ("good", "no")]
    for none in (export(), export(skipped), export(annotation()), export({"result": []})):
        assert pairs(read_label_studio(none, NAME, CONFIG).rows) == [("good", None)]


def test_label_studios_short_form_is_read_too() -> None:
    task = {"ftzard_id": hash_of("=1"), "text": "=1", "label": "yes", "id": 3, "annotator": 1}
    without = {"ftzard_id": hash_of("b"), "text": "b", "id": 4}
    assert pairs(read_label_studio(json.dumps([task, without]).encode(), NAME, CONFIG).rows) == [
        ("=1", "yes"),
        ("b", None),
    ]


@pytest.mark.parametrize(
    ("who", "name"),
    [
        (7, "label-studio-7"),
        ("ben@example.org", "ben@example.org"),
        ({"id": 7, "email": "ben@example.org", "first_name": "Ben"}, "ben@example.org"),
        ({"id": 7, "email": ""}, "label-studio-7"),
        (None, None),
        ([7], None),
    ],
)
def test_label_studio_says_who_gave_a_label_in_several_ways(who: object, name: str | None) -> None:
    long = read_label_studio(export(annotation("yes", completed_by=who)), NAME, CONFIG)
    task = {"ftzard_id": hash_of("b"), "text": "b", "label": "yes", "annotator": who}
    short = read_label_studio(json.dumps([task]).encode(), NAME, CONFIG)
    assert long.rows["annotator"].to_list() == short.rows["annotator"].to_list() == [name]


@pytest.mark.parametrize(
    ("content", "error", "words"),
    [
        (b"{", MalformedBatchError, ("not JSON",)),
        (b"{}", MalformedBatchError, ("not a list",)),
        (b"[]", EmptyBatchError, ("no rows",)),
        (b"[1]", MalformedBatchError, ("task 1",)),
        (b'[{"data": {"text": "a"}}]', MalformedBatchError, ("task 1", "ftzard_id")),
        (export(annotation("yes", "no")), MalformedBatchError, ("task 1", "['yes', 'no']")),
        (b'[{"ftzard_id": "x", "text": "a", "label": {"choices": ["a", "b"]}}]', MalformedBatchError, ("task 1",)),
        (export(annotation("\ud800")), MalformedBatchError, ("task 1", "not text")),
        (export(annotation("yes")).replace(b'"good"', b'"gut"'), MalformedBatchError, ("task 1", hash_of("good"))),
        (export(annotation("yes")).replace(b'"good"', b'"\\ud800"'), MalformedBatchError, ("task 1",)),
        (b"\xff", BatchEncodingError, ()),
    ],
)
def test_json_that_is_no_export_of_the_queue_is_refused_with_the_place(
    content: bytes, error: type[FtzardError], words: tuple[str, ...]
) -> None:
    with pytest.raises(error) as caught:
        read_label_studio(content, NAME, CONFIG)
    assert all(word in str(caught.value) for word in (NAME, *words))


@pytest.mark.parametrize(
    "data", [b"", b"text,label\n", b"text,ftzard_ids\n", b"a\nftzard_id,text,label\n", b"\xff\xfe"]
)
def test_other_files_are_not_taken_for_label_files(data: bytes) -> None:
    assert not is_label_file(data)
