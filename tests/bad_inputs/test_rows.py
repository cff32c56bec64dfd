"""Rows as they come: each that cannot be used is named with its reason, and all the others are used."""

import csv
import io
import json
import logging
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.bad_inputs.row_scenario import HALF, LABELS, Aside, Row, put, raw, read_rows, reasons

from ftzard.assets.data import cleaned, raw_data
from ftzard.assets.step import Step
from ftzard.config import DataConfig, FtzardConfig
from ftzard.core.cleaning import clean
from ftzard.core.intake import read_unlabelled
from ftzard.core.reading import read_batches
from ftzard.errors import (
    EmptyBatchError,
    MalformedBatchError,
    MissingColumnError,
)

_STRICT = DataConfig(max_quarantined_fraction=0.0)
_GOOD = '{"text": "fine", "label": "positive"}'


# A row that cannot be read is set aside, and the others are read


@pytest.mark.parametrize(
    ("name", "content", "read", "aside"),
    [
        (
            "few.csv",
            "text,label\na,x\nonly one\nb,y\n",
            [(2, "a", "x"), (4, "b", "y")],
            [(3, "too_few_fields", None, "only one")],
        ),
        (
            "many.csv",
            "text,label\na,x\nno, quotes,y\nb,y\n",
            [(2, "a", "x"), (4, "b", "y")],
            [(3, "too_many_fields", None, "no, quotes,y")],
        ),
        (
            "quotes.csv",
            'text,label\na,x\n"so" he said,y\n"she said ""no""",y\n5" nails,x\n',
            [(2, "a", "x"), (4, 'she said "no"', "y"), (5, '5" nails', "x")],
            [(3, "broken_quotes", None, '"so" he said,y')],
        ),
        (
            "lines.csv",
            'text,label\n"two\nlines",x\n"three\n\nlines",y\nbad\nb,x\n',
            [(2, "two\nlines", "x"), (4, "three\n\nlines", "y"), (8, "b", "x")],
            [(7, "too_few_fields", None, "bad")],
        ),
        (
            "stray.csv",
            "text,label\na,x\nb,y\rc,z\nd,x\ne,y\n",
            [(2, "a", "x"), (4, "d", "x"), (5, "e", "y")],
            [(3, "stray_line_end", None, "b,y\rc,z")],
        ),
        (
            "cut.jsonl",
            f'{_GOOD}\n{{"text": "a", "la',
            [(1, "fine", "positive")],
            [(2, "not_json", None, '{"text": "a", "la')],
        ),
        ("list.jsonl", f'["a"]\n\n{_GOOD}\n', [(3, "fine", "positive")], [(1, "not_an_object", None, '["a"]')]),
        (
            "nan.jsonl",
            f'{_GOOD}\n{{"text": "a", "label": NaN}}\n',
            [(1, "fine", "positive")],
            [(2, "not_json", None, '{"text": "a", "label": NaN}')],
        ),
        (
            "number.jsonl",
            f'{_GOOD}\n{{"text": 7, "label": "x"}}\n',
            [(1, "fine", "positive")],
            [(2, "wrong_value", "text", "7")],
        ),
        (
            "labels.jsonl",
            f'{_GOOD}\n{_GOOD}\n{{"text": "a", "label": ["x"]}}\n{{"text": "a", "label": 1e999}}\n',
            [(1, "fine", "positive"), (2, "fine", "positive")],
            [(3, "wrong_value", "label", "['x']"), (4, "wrong_value", "label", "inf")],
        ),
        (
            "halves.jsonl",
            f'{{"text": "a\\ud800b", "label": "x"}}\n{{"text": "a", "label": "\\udfff"}}\n{_GOOD}\n{_GOOD}\n',
            [(3, "fine", "positive"), (4, "fine", "positive")],
            [(1, "half_character", "text", "a\\ud800b"), (2, "half_character", "label", "\\udfff")],
        ),
    ],
    ids=lambda value: value if isinstance(value, str) and value.endswith(("csv", "jsonl")) else "",
)
def test_a_row_that_cannot_be_read_is_set_aside_and_the_others_are_read(
    tmp_path: Path, name: str, content: str, read: list[Row], aside: list[Aside]
) -> None:
    assert read_rows(tmp_path, name, content) == (read, aside)


def test_a_record_of_a_wrong_type_in_parquet_is_set_aside(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    pl.DataFrame({"text": ["a", "b"], "label": pl.Series([None, b"x"], dtype=pl.Binary)}).write_parquet(buffer)
    assert read_rows(tmp_path, "x.parquet", buffer.getvalue()) == (
        [(1, "a", None)],
        [(2, "wrong_value", "label", "b'x'")],
    )


def test_a_time_and_messages_that_are_none_are_set_aside_by_their_column(tmp_path: Path) -> None:
    dated = replace(HALF, time_column="at")
    _, aside = read_rows(tmp_path, "x.csv", "text,label,at\na,x,2026-01-01\nb,y,yesterday\n", dated)
    assert aside == [(3, "wrong_value", "at", "yesterday")]
    talk = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    lines = [json.dumps({"messages": messages}) for messages in (talk, talk[:1])]
    _, aside = read_rows(
        tmp_path, "x.jsonl", "\n".join(lines), replace(HALF, task="generation", messages_column="messages")
    )
    assert [one[:3] for one in aside] == [(2, "wrong_value", "messages")]


def test_what_is_kept_of_a_row_is_short_and_what_is_told_of_it_moves_no_cursor(tmp_path: Path) -> None:
    long = f"\x1b[31m{'word ' * 10_000}"
    _, aside = read_rows(tmp_path, "x.csv", f"text,label\na,x\n{long}\n")
    assert len(aside[0][3]) == 200
    with pytest.raises(MalformedBatchError) as caught:
        read_rows(tmp_path, "x.csv", f"text,label\na,x\n{long}\n", _STRICT)
    assert "\x1b" not in str(caught.value)
    assert "\\x1b[31mword" in caught.value.what
    assert len(caught.value.what) < 500


# ... up to the configured share of a file


def _rows_with(num_good: int, num_bad: int) -> str:
    return "text,label\n" + "".join(f"good {n},x\n" for n in range(num_good)) + "bad\n" * num_bad


@pytest.mark.parametrize(
    ("num_good", "num_bad", "fraction", "is_read"),
    [
        (19, 1, 0.05, True),
        (18, 1, 0.05, False),
        (9, 1, 0.1, True),
        (100, 1, 0.0, False),
        (1, 9, 0.9, True),
        (0, 9, 1.0, False),
    ],
)
def test_more_bad_rows_than_the_configured_share_are_an_error(
    tmp_path: Path, num_good: int, num_bad: int, fraction: float, *, is_read: bool
) -> None:
    config, content = DataConfig(max_quarantined_fraction=fraction), _rows_with(num_good, num_bad)
    if is_read:
        read, aside = read_rows(tmp_path, "x.csv", content, config)
        assert (len(read), len(aside)) == (num_good, num_bad)
    else:
        with pytest.raises(MalformedBatchError, match=rf"{num_bad} of the {num_good + num_bad} row\(s\) of x\.csv"):
            read_rows(tmp_path, "x.csv", content, config)


def test_the_error_names_the_first_five_the_share_and_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(MalformedBatchError) as caught:
        read_rows(tmp_path, "x.csv", _rows_with(3, 7), DataConfig())
    for line in (5, 6, 7, 8, 9):
        assert f"x.csv, line {line}: 1 field(s) where there are 2 columns (delimiter ',') ('bad')" in caught.value.what
    assert "line 10" not in caught.value.what
    assert "and 2 more" in caught.value.what
    assert "at most 0 may be set aside (data.max_quarantined_fraction is 0.05)" in caught.value.what
    assert "quotes around a text" in caught.value.fix
    assert "data.max_quarantined_fraction" in caught.value.fix


def test_the_share_is_that_of_each_file_and_a_good_one_does_not_make_up_for_a_bad_one(tmp_path: Path) -> None:
    put(tmp_path, "data/raw/good.csv", _rows_with(1000, 0))
    put(tmp_path, "data/raw/bad.csv", _rows_with(5, 5))
    with pytest.raises(MalformedBatchError, match=r"5 of the 10 row\(s\) of data/raw/bad\.csv"):
        read_batches(tmp_path, DataConfig())


def test_rows_that_were_set_aside_are_told_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    read_rows(tmp_path, "x.csv", _rows_with(3, 1))
    assert "set aside 1 of the 4 rows of x.csv: line 5: 1 field(s)" in caplog.text
    assert caplog.records[-1].levelno == logging.WARNING


# What cannot be trusted below some place is refused as a whole


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ('text,label\na,b\n"open,c\nd,e\n', 3),
        ('text,label\na,b\n5",e\nd,"open\nf,g\n', 4),
        # It closes in a later row, where nobody meant it to.
        ('text,label\n"open,c\nd,e\nf,g\n"h",i\nj,k\n', 2),
        # What follows the broken record looks as if it had begun within quotes.
        ('text,label\n"he said "hi" and\nleft",b\nc,d\n', 2),
        ('text,label\na,b\n"he said hi" and\nleft",b\nc,d\n', 4),
    ],
)
def test_a_quote_that_may_have_swallowed_rows_refuses_the_file(tmp_path: Path, content: str, line: int) -> None:
    with pytest.raises(MalformedBatchError, match=rf"x\.csv: the record that starts on line {line} ") as caught:
        read_rows(tmp_path, "x.csv", content + "a,b\n" * 1000, DataConfig(max_quarantined_fraction=0.9))
    assert "balance the quotes" in caught.value.fix


def test_a_bad_record_counts_as_often_as_it_takes_lines(tmp_path: Path) -> None:
    swallowed = '"open,c\n' + "d,e\n" * 8 + '",f,g\n'
    content = f"text,label\n{swallowed}" + "a,b\n" * 90
    with pytest.raises(MalformedBatchError, match=r"10 of the 100 row\(s\) of x\.csv, and at most 5"):
        read_rows(tmp_path, "x.csv", content, DataConfig())
    read, aside = read_rows(tmp_path, "x.csv", content, DataConfig(max_quarantined_fraction=0.1))
    assert (len(read), [one[:2] for one in aside]) == (90, [(2, "too_many_fields")])


def test_duplicate_missing_reordered_and_unexpected_columns(tmp_path: Path) -> None:
    with pytest.raises(MalformedBatchError, match=r"x\.csv names the column\(s\) \['text'\] more than once"):
        read_rows(tmp_path, "x.csv", "text,label,text\na,b,c\n")
    with pytest.raises(MissingColumnError, match=r"x\.csv has no column 'label'; its columns are \['text', 'lable'\]"):
        read_rows(tmp_path, "x.csv", "text,lable\na,b\n")
    assert read_rows(tmp_path, "x.csv", "id,label,note,text\n1,x,?,a\n") == ([(2, "a", "x")], [])


def test_a_delimiter_that_is_not_the_files_is_an_error_that_shows_the_columns_it_makes(tmp_path: Path) -> None:
    with pytest.raises(MissingColumnError, match=r"its columns are \['text;label'\]"):
        read_rows(tmp_path, "x.csv", "text;label\na;b\n", replace(HALF, delimiter=","))
    assert read_rows(tmp_path, "x.csv", "text;label\na, b;x\n") == ([(2, "a, b", "x")], [])


def test_a_header_alone_is_an_empty_file_and_lines_that_are_all_bad_are_not(tmp_path: Path) -> None:
    with pytest.raises(EmptyBatchError):
        read_rows(tmp_path, "x.csv", "text,label\n")
    with pytest.raises(MalformedBatchError, match=r"2 of the 2 row\(s\) of x\.jsonl"):
        read_rows(tmp_path, "x.jsonl", "text,label\na,b\n", DataConfig(max_quarantined_fraction=1.0))


# Nothing is lost


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.text(max_size=8), st.sampled_from(["", "x", "y,z"]), st.integers(0, 5)), min_size=1, max_size=30
    )
)
def test_every_record_of_a_delimited_file_is_read_or_set_aside(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str, int]]
) -> None:
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerow(("text", "label"))
    good, bad = [], []
    for text, label, damage in rows:
        line = buffer.getvalue().count("\n") + 1
        value = text.replace("\0", "").replace("\r", "")
        if damage == 0:
            buffer.write(f'"{value.replace(chr(34), "")}"\n')
            # A blank line is no record.
            bad += [line] if value.replace('"', "").strip() else []
        elif damage == 1:
            bad.append(line)
            buffer.write('"a" b,c\n')
        else:
            good.append((line, value, label))
            writer.writerow((value, label))
    path = tmp_path_factory.getbasetemp() / "rows.csv"
    config = DataConfig(max_quarantined_fraction=1.0)
    if not good:
        with pytest.raises((MalformedBatchError, EmptyBatchError)):
            read_rows(path.parent, path.name, buffer.getvalue(), config)
        return
    read, aside = read_rows(path.parent, path.name, buffer.getvalue(), config)
    assert read == good
    assert [one[0] for one in aside] == bad


@settings(deadline=None)
@given(st.lists(st.sampled_from([_GOOD, "", " ", "[]", "{", "7", "null", '{"text": 1}', '{"text": "\\ud800"}', "{}"])))
def test_every_line_of_json_is_read_or_set_aside(tmp_path_factory: pytest.TempPathFactory, lines: list[str]) -> None:
    path = tmp_path_factory.getbasetemp() / "rows.jsonl"
    content = "\n".join([_GOOD, *lines])
    read, aside = read_rows(path.parent, path.name, content, DataConfig(max_quarantined_fraction=1.0))
    rows = [number for number, line in enumerate(content.split("\n"), start=1) if line.strip()]
    assert sorted([row for row, *_ in read] + [row for row, *_ in aside]) == rows


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.text(max_size=3) | st.none(), st.sampled_from([None, "", "x", "y", "z", "1.0"])), max_size=30)
)
def test_every_row_is_an_example_or_rejected_also_with_unknown_labels(
    rows: list[tuple[str | None, str | None]],
) -> None:
    config = DataConfig(labels=("x", "y"), label_mapping={"1": "y"}, max_quarantined_fraction=1.0)
    frame = raw(("surely", "x"), ("certainly", "y"), *rows)
    result = clean(frame, config)
    both = pl.concat([result.examples.select("batch", "row"), result.rejected.select("batch", "row")])
    assert sorted(both.rows()) == sorted(frame.select("batch", "row").rows())
    unknown = [row for row, (_, label) in enumerate(rows, start=4) if label == "z"]
    assert [row for row, reason in reasons(result).items() if reason == "unknown_label"] == unknown


# In the assets


def _step(project: Path, **data: object) -> Step:
    return Step(FtzardConfig(data=DataConfig(**data)), project)  # type: ignore[arg-type]


def test_raw_data_keeps_what_was_set_aside_with_counts_and_examples(tmp_path: Path) -> None:
    put(tmp_path, "data/raw/a.csv", _rows_with(40, 2))
    put(tmp_path, "data/raw/b.jsonl", "\n".join([_GOOD] * 20 + ["{"]))
    result = raw_data(step=_step(tmp_path))
    assert result.value.quarantined.select("batch", "row", "reason", "value").rows() == [
        ("data/raw/a.csv", 42, "too_few_fields", "bad"),
        ("data/raw/a.csv", 43, "too_few_fields", "bad"),
        ("data/raw/b.jsonl", 21, "not_json", "{"),
    ]
    assert result.value.examples.height == 60
    assert result.metrics["num_quarantined"] == 3
    assert result.metrics["num_quarantined_too_few_fields"] == 2
    shown = result.metadata["quarantined"], result.metadata["quarantined_examples"]
    assert isinstance(shown[0], pl.DataFrame)
    assert shown[0].rows() == [("too_few_fields", 2), ("not_json", 1)]
    assert isinstance(shown[1], pl.DataFrame)
    assert shown[1].equals(result.value.quarantined)


def test_cleaned_keeps_rows_of_unknown_labels_with_counts_and_examples(tmp_path: Path) -> None:
    good = "".join(f"text {n},{LABELS[n % 2]}\n" for n in range(40))
    put(tmp_path, "data/raw/a.csv", f"text,label\n{good}so so,neutral\n")
    step = _step(tmp_path, labels=LABELS)
    result = cleaned(raw_data(step=step).value, step)
    assert result.value.rejected.rows() == [("so so", "neutral", "data/raw/a.csv", 42, "unknown_label")]
    assert result.metrics["num_rejected_unknown_label"] == 1
    shown = result.metadata["unknown_labels"]
    assert isinstance(shown, pl.DataFrame)
    assert shown.rows() == [("data/raw/a.csv", 42, "neutral", "so so")]


def test_rows_of_an_incoming_file_that_cannot_be_read_are_left_out_and_the_others_answered(tmp_path: Path) -> None:
    path = put(tmp_path, "x.csv", "text\n" + "".join(f"text {n}\n" for n in range(40)) + "a,b\n")
    result = read_unlabelled(path, "x.csv", DataConfig())
    assert result.examples.height == 40
    assert result.rejected.rows() == [("a,b", None, "x.csv", 42, "too_many_fields")]
    put(tmp_path, "x.csv", "text\nfine\na,b\n")
    with pytest.raises(MalformedBatchError, match=r"1 of the 2 row\(s\) of x\.csv"):
        read_unlabelled(path, "x.csv", DataConfig())
