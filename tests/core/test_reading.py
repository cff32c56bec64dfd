"""What reading promises: every row as it stands in the file, and where, or an error that says what is wrong."""

import codecs
import csv
import gzip
import hashlib
import io
import logging
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.core.batch_scenario import PLAIN, parquet, put, read

from ftzard.config import DataConfig
from ftzard.core.batch_formats import parse_delimited
from ftzard.core.cell_values import canonical_label
from ftzard.core.reading import read_batch, read_batches
from ftzard.errors import (
    EmptyBatchError,
    FtzardError,
    MalformedBatchError,
    MissingColumnError,
)

# Provenance


def test_all_batches_come_in_one_frame_with_their_provenance(tmp_path: Path) -> None:
    content = "text;label\nguter Film;positive\n"
    put(tmp_path, "data/raw/b.csv", content)
    put(tmp_path, "data/labelled/a.jsonl", '{"text": "bad", "label": "negative"}\n')
    raw = read_batches(tmp_path, PLAIN)
    assert raw.examples.rows() == [
        ("bad", "negative", "data/labelled/a.jsonl", 1),
        ("guter Film", "positive", "data/raw/b.csv", 2),
    ]
    jsonl, delimited = raw.sources
    assert (jsonl.name, jsonl.delimiter, jsonl.num_rows) == ("data/labelled/a.jsonl", None, 1)
    assert (delimited.encoding, delimited.delimiter) == ("utf-8", ";")
    assert delimited.sha256 == hashlib.sha256(content.encode()).hexdigest()


FIELD = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30)
TRICKY = st.text(st.sampled_from('"\n\r,;|\tab \u2028\x85é'), max_size=15)


@settings(deadline=None)
@given(
    st.lists(st.tuples(FIELD | TRICKY, FIELD | TRICKY), min_size=1, max_size=8),
    st.sampled_from([",", ";", "\t", "|"]),
    st.sampled_from(["\n", "\r\n"]),
)
def test_what_the_csv_writer_wrote_is_read_back_with_the_lines_it_was_written_on(
    written: list[tuple[str, str]], delimiter: str, terminator: str
) -> None:
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, delimiter=delimiter, lineterminator=terminator, quoting=csv.QUOTE_ALL)
    writer.writerow(("label", "text"))
    lines = []
    for text, label in written:
        lines.append(buffer.getvalue().count("\n") + 1)
        writer.writerow((label, text))
    frame = parse_delimited(buffer.getvalue(), "x.csv", delimiter, PLAIN).rows
    assert frame.select("text", "label").rows() == written
    assert frame["row"].to_list() == lines


def test_rows_are_numbered_by_the_line_they_start_on_past_quoted_line_breaks_and_blank_lines(tmp_path: Path) -> None:
    content = 'text,label\r\n"two\nlines",a\r\n\r\nplain,b\r\n"three\r\n\r\nlines",c'
    assert read(tmp_path, "x.csv", content) == [
        (2, "two\nlines", "a"),
        (5, "plain", "b"),
        (6, "three\r\n\r\nlines", "c"),
    ]


def test_a_file_with_the_line_ends_of_old_macs_is_read(tmp_path: Path) -> None:
    assert read(tmp_path, "x.csv", "text,label\rone,a\rtwo,b\r") == [(2, "one", "a"), (3, "two", "b")]


def test_records_of_json_lines_are_numbered_by_line_and_of_parquet_by_record(tmp_path: Path) -> None:
    assert read(tmp_path, "x.ndjson", '{"text": "a", "label": "x"}\n\n{"text": "b\u2028c", "label": "y"}\n') == [
        (1, "a", "x"),
        (3, "b\u2028c", "y"),
    ]
    assert read(tmp_path, "x.parquet", parquet(id=[7, 8], label=["x", "y"], text=["a", "b"])) == [
        (1, "a", "x"),
        (2, "b", "y"),
    ]


# Columns and delimiters


@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_the_one_by_which_the_header_names_the_columns(
    tmp_path: Path, delimiter: str, suffix: str
) -> None:
    content = delimiter.join(["id", "text", "some,other;column|x\ty", "label"]).replace(
        "some,other;column|x\ty", '"some,other;column|x\ty"'
    )
    row = delimiter.join(["1", '"a, b; c | d\te"', "z", "pos"])
    path = put(tmp_path, f"x{suffix}", f"{content}\n{row}\n")
    frame, source = read_batch(path, path.name, PLAIN)
    assert frame.select("text", "label").rows() == [("a, b; c | d\te", "pos")]
    assert source.delimiter == delimiter


def test_a_declared_delimiter_is_used(tmp_path: Path) -> None:
    assert read(tmp_path, "x.csv", "text:label\na, b:c\n", DataConfig(delimiter=":")) == [(2, "a, b", "c")]


def test_names_can_be_given_for_a_file_without_a_header(tmp_path: Path) -> None:
    config = DataConfig(column_names=("label", "id", "text"))
    assert read(tmp_path, "x.csv", '"4","17","hi, you"\n"0","18","oh"\n', config) == [
        (1, "hi, you", "4"),
        (2, "oh", "0"),
    ]
    assert read(tmp_path, "y.csv", "4\t17\thi, you, there\n0\t18\toh\n", config) == [
        (1, "hi, you, there", "4"),
        (2, "oh", "0"),
    ]


def test_commas_in_the_first_text_do_not_pass_for_delimiters_of_a_file_without_a_header(tmp_path: Path) -> None:
    config = DataConfig(column_names=("text", "label"))
    assert read(tmp_path, "x.csv", "well, hello;pos\nbye;neg\n", config) == [
        (1, "well, hello", "pos"),
        (2, "bye", "neg"),
    ]


def test_a_header_is_seen_for_what_it_is_although_names_are_configured_for_files_without_one(tmp_path: Path) -> None:
    config = DataConfig(column_names=("label", "id", "text"))
    assert read(tmp_path, "x.csv", "text,label\nhi,positive\n", config) == [(2, "hi", "positive")]


def test_a_wrong_number_of_names_is_an_error_with_both_numbers(tmp_path: Path) -> None:
    with pytest.raises(MalformedBatchError, match=r"x\.csv has 3 field\(s\).*names 2"):
        read(tmp_path, "x.csv", "4,17,hi\n", DataConfig(column_names=("label", "text")))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.csv", "tweet,label\nhi,a\n"),
        ("x.jsonl", '{"tweet": "hi", "label": "a"}\n'),
        ("x.parquet", parquet(tweet=["hi"], label=["a"])),
    ],
)
def test_a_missing_column_is_named_with_those_found_and_the_override(
    tmp_path: Path, name: str, content: str | bytes
) -> None:
    with pytest.raises(MissingColumnError, match=rf"{name} has no column 'text'.*'tweet', 'label'") as caught:
        read(tmp_path, name, content)
    assert "data.text_column=" in caught.value.fix
    with pytest.raises(MissingColumnError, match="no column 'class'") as caught:
        read(tmp_path, name, content, DataConfig(text_column="tweet", label_column="class"))
    assert "data.label_column=" in caught.value.fix
    assert read(tmp_path, name, content, DataConfig(text_column="tweet"))[0][1:] == ("hi", "a")


def test_a_name_that_stands_twice_in_the_header_is_an_error_but_nameless_columns_are_not(tmp_path: Path) -> None:
    with pytest.raises(MalformedBatchError, match=r"x\.csv.*'text'.*more than once"):
        read(tmp_path, "x.csv", "text,label,text\na,b,c\n")
    assert read(tmp_path, "y.csv", " text,label ,,\na,b,,\n") == [(2, "a", "b")]


# Rows that are not right


@pytest.mark.parametrize("row", ["only one", "a,b,c"])
def test_a_row_with_too_few_or_too_many_fields_is_an_error_with_its_line(tmp_path: Path, row: str) -> None:
    with pytest.raises(MalformedBatchError, match=r"x\.csv, line 4: \d field\(s\) where there are 2 columns"):
        read(tmp_path, "x.csv", f'text,label\n"a\nb",c\n{row}\n')


def test_a_quote_that_is_never_closed_is_an_error_with_the_line_where_it_opens(tmp_path: Path) -> None:
    with pytest.raises(MalformedBatchError, match=r"x\.csv: the record that starts on line 3"):
        read(tmp_path, "x.csv", 'text,label\na,b\n"open,c\nd,e\n')


def test_text_after_a_closing_quote_is_an_error_rather_than_glued_on(tmp_path: Path) -> None:
    with pytest.raises(MalformedBatchError, match="line 2"):
        read(tmp_path, "x.csv", 'text,label\n"hello" he said,b\n')


@pytest.mark.parametrize("name", ["x.csv", "x.jsonl"])
def test_a_nul_is_an_error_with_its_line_and_a_hint_at_utf_16(tmp_path: Path, name: str) -> None:
    with pytest.raises(MalformedBatchError, match=rf"{name}, line 2 holds a NUL") as caught:
        read(tmp_path, name, "text,label\na\0b,c\n")
    assert "utf-16" in caught.value.fix
    content = "text,label\nab,c\n".encode("utf-16-le")
    assert read(tmp_path, "y.csv", content, DataConfig(encoding="utf-16-le")) == [(2, "ab", "c")]


@pytest.mark.parametrize(
    "line", ['{"text": "a"', '["a"]', "7", '{"text": "a", "label": NaN}', "[" * 100_000, "9" * 9999]
)
def test_a_line_that_is_not_a_json_object_is_an_error_with_its_line(tmp_path: Path, line: str) -> None:
    with pytest.raises(MalformedBatchError, match=r"x\.jsonl, line 2: "):
        read(tmp_path, "x.jsonl", f'{{"text": "a", "label": "b"}}\n{line}\n')


@pytest.mark.parametrize("pair", ['"text": 7, "label": "a"', '"text": "\\ud800", "label": "a"'])
@pytest.mark.parametrize("prefix", ["", '{"text": "fine", "label": "a"}\n'])
def test_a_text_that_is_not_text_is_an_error_with_its_line(tmp_path: Path, pair: str, prefix: str) -> None:
    with pytest.raises(MalformedBatchError, match=rf"x\.jsonl, line {2 if prefix else 1}:"):
        read(tmp_path, "x.jsonl", f"{prefix}{{{pair}}}\n")


@pytest.mark.parametrize("label", ['["a"]', '{"a": 1}', "1e999", '"\\udfff"'])
def test_a_label_that_is_neither_text_nor_a_finite_number_is_an_error(tmp_path: Path, label: str) -> None:
    with pytest.raises(MalformedBatchError, match=r"x\.jsonl, line 1:"):
        read(tmp_path, "x.jsonl", f'{{"text": "a", "label": {label}}}\n')


def test_columns_of_a_wrong_type_in_parquet_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(MalformedBatchError, match=r"x\.parquet, record 1: the text 7 is not text"):
        read(tmp_path, "x.parquet", parquet(text=[7], label=["a"]))
    with pytest.raises(MalformedBatchError, match=r"x\.parquet, record 2: the label"):
        read(tmp_path, "x.parquet", parquet(text=["a", "b"], label=[None, b"x"]))


@pytest.mark.parametrize("damage", ["truncated", "other"])
def test_a_damaged_parquet_file_is_an_error_that_names_it(tmp_path: Path, damage: str) -> None:
    good = parquet(text=["abc"] * 100, label=["x"] * 100)
    with pytest.raises(MalformedBatchError, match=r"x\.parquet"):
        read(tmp_path, "x.parquet", {"truncated": good[:-20], "other": b"text,label\n"}[damage])


def test_a_parquet_file_in_which_a_byte_was_lost_is_read_or_refused_with_an_error_of_ours(tmp_path: Path) -> None:
    good = parquet(text=["abc"] * 100, label=["x"] * 100)
    refused = 0
    # The page headers at the file's start; some of these make polars panic.
    for index in range(4, 100):
        try:
            read(tmp_path, "x.parquet", good[:index] + b"\0" + good[index + 1 :])
        except MalformedBatchError:
            refused += 1
    assert refused > 10


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.csv", ""),
        ("x.csv", "\n \n"),
        ("x.csv", "text,label\n"),
        ("x.tsv", codecs.BOM_UTF8 + b"text\tlabel"),
        ("x.jsonl", "\n\n"),
        ("x.parquet", ""),
        ("x.parquet", parquet(text=pl.Series([], dtype=pl.String), label=pl.Series([], dtype=pl.String))),
    ],
)
def test_a_file_without_rows_is_an_error_that_names_it(tmp_path: Path, name: str, content: str | bytes) -> None:
    with pytest.raises(EmptyBatchError, match=name):
        read(tmp_path, name, content)


# Values


def test_numbers_and_truth_values_become_the_labels_a_person_would_write(tmp_path: Path) -> None:
    values = ["4", "4.0", "4.5", "true", '"4.0"', "null", "-0.0"]
    lines = [f'{{"text": "a", "label": {value}}}' for value in values]
    expected = ["4", "4", "4.5", "true", "4.0", None, "0"]
    assert [row[2] for row in read(tmp_path, "x.jsonl", "\n".join(lines))] == expected
    for column, labels in (([0, 4], ["0", "4"]), ([4.0, float("nan")], ["4", None]), ([True, None], ["true", None])):
        assert [row[2] for row in read(tmp_path, "x.parquet", parquet(text=["a", "b"], label=column))] == labels
    categories = pl.Series(["x", "y"], dtype=pl.Categorical)
    assert [row[2] for row in read(tmp_path, "y.parquet", parquet(text=categories, label=categories))] == ["x", "y"]


@settings(deadline=None)
@given(st.one_of(st.integers(), st.floats(allow_infinity=False), st.booleans(), st.text(), st.none()))
def test_a_canonical_label_is_its_own_canonical_label(value: object) -> None:
    label = canonical_label(value)
    assert canonical_label(label) == label


def test_missing_values_are_kept_for_cleaning_to_reject(tmp_path: Path) -> None:
    content = '{"text": "a", "label": "x"}\n{"text": null, "label": "x"}\n{"label": "x"}\n{"text": "b"}\n'
    assert [row[1:] for row in read(tmp_path, "x.jsonl", content)] == [
        ("a", "x"),
        (None, "x"),
        (None, "x"),
        ("b", None),
    ]
    assert read(tmp_path, "x.csv", "text,label\n,x\na,\n") == [(2, "", "x"), (3, "a", "")]


def test_a_text_longer_than_the_csv_modules_limit_is_read_and_the_limit_is_as_before(tmp_path: Path) -> None:
    limit = csv.field_size_limit()
    long = "word " * limit
    assert read(tmp_path, "x.csv", f"{long};a\n{long};b\n", DataConfig(column_names=("text", "label"))) == [
        (1, long, "a"),
        (2, long, "b"),
    ]
    assert csv.field_size_limit() == limit


@settings(deadline=None)
@given(
    st.binary(max_size=100) | st.text(st.sampled_from('text,label\n\r"\t{}[]:0é\0'), max_size=60).map(str.encode),
    st.sampled_from([".csv", ".tsv", ".jsonl", ".parquet"]),
)
def test_any_bytes_are_read_or_refused_with_an_error_of_ours(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, suffix: str
) -> None:
    path = tmp_path_factory.getbasetemp() / f"any{suffix}"
    path.write_bytes(content)
    try:
        frame, source = read_batch(path, path.name, DataConfig(column_names=("text", "label")))
    except FtzardError as error:
        assert path.name in error.what  # noqa: PT017 - either outcome is right
    else:
        assert frame.height == source.num_rows > 0


def test_reading_says_in_the_log_how_each_file_was_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    put(tmp_path, "data/raw/a.csv", "text|label\na|b\n")
    with caplog.at_level(logging.INFO):
        read_batches(tmp_path, PLAIN)
    assert "read 1 rows from data/raw/a.csv (utf-8, delimiter '|')" in caplog.text


def test_a_compressed_label_queue_is_refused_because_labels_status_would_not_see_it(tmp_path: Path) -> None:
    put(tmp_path, "data/labelled/q.csv.gz", gzip.compress(b"ftzard_id,text,label\nab,c,d\n"))
    with pytest.raises(MalformedBatchError, match=r"data/labelled/q\.csv\.gz is a compressed label queue"):
        read_batches(tmp_path, PLAIN)
