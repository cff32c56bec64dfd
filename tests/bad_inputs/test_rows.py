"""Rows as they come: each that cannot be used is named with its reason, and all the others are used."""

import csv
import io
import json
import logging
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftzard.assets.data import cleaned, raw_data
from ftzard.assets.step import Step
from ftzard.config import DataConfig, FtzardConfig
from ftzard.core.cleaning import clean, hash_texts
from ftzard.core.cleaning_steps import CLEANING_STEPS
from ftzard.core.intake import read_unlabelled
from ftzard.core.label_files import label_csv
from ftzard.core.reading import read_batch, read_batches
from ftzard.core.records import RAW_SCHEMA, Cleaned
from ftzard.core.returned_labels import read_label_csv
from ftzard.errors import (
    EmptyBatchError,
    MalformedBatchError,
    MissingColumnError,
    NoExamplesError,
    SingleClassError,
    UnknownLabelError,
)

_HALF = DataConfig(max_quarantined_fraction=0.5)
_STRICT = DataConfig(max_quarantined_fraction=0.0)
_LABELS = ("negative", "positive")
_GOOD = '{"text": "fine", "label": "positive"}'

Row = tuple[int, str | None, str | None]
Aside = tuple[int, str, str | None, str]


def _put(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def _read(folder: Path, name: str, content: str | bytes, config: DataConfig = _HALF) -> tuple[list[Row], list[Aside]]:
    """The rows that were read, and those that were set aside: row, reason, column, value."""
    frame, source = read_batch(_put(folder, name, content), name, config)
    aside: list[Aside] = [(bad.row, bad.reason, bad.column, bad.value) for bad in source.bad]
    return [(row, text, label) for row, text, label in frame.select("row", "text", "label").iter_rows()], aside


def _raw(*rows: tuple[str | None, str | None], batch: str = "data/raw/a.csv") -> pl.DataFrame:
    numbered = [(text, label, batch, row) for row, (text, label) in enumerate(rows, start=2)]
    return pl.DataFrame(numbered, schema=RAW_SCHEMA, orient="row")


def _reasons(result: Cleaned) -> dict[int, str]:
    return dict(result.rejected.select("row", "reason").iter_rows())


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
    assert _read(tmp_path, name, content) == (read, aside)


def test_a_record_of_a_wrong_type_in_parquet_is_set_aside(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    pl.DataFrame({"text": ["a", "b"], "label": pl.Series([None, b"x"], dtype=pl.Binary)}).write_parquet(buffer)
    assert _read(tmp_path, "x.parquet", buffer.getvalue()) == ([(1, "a", None)], [(2, "wrong_value", "label", "b'x'")])


def test_a_time_and_messages_that_are_none_are_set_aside_by_their_column(tmp_path: Path) -> None:
    dated = replace(_HALF, time_column="at")
    _, aside = _read(tmp_path, "x.csv", "text,label,at\na,x,2026-01-01\nb,y,yesterday\n", dated)
    assert aside == [(3, "wrong_value", "at", "yesterday")]
    talk = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    lines = [json.dumps({"messages": messages}) for messages in (talk, talk[:1])]
    _, aside = _read(
        tmp_path, "x.jsonl", "\n".join(lines), replace(_HALF, task="generation", messages_column="messages")
    )
    assert [one[:3] for one in aside] == [(2, "wrong_value", "messages")]


def test_what_is_kept_of_a_row_is_short_and_what_is_told_of_it_moves_no_cursor(tmp_path: Path) -> None:
    long = f"\x1b[31m{'word ' * 10_000}"
    _, aside = _read(tmp_path, "x.csv", f"text,label\na,x\n{long}\n")
    assert len(aside[0][3]) == 200
    with pytest.raises(MalformedBatchError) as caught:
        _read(tmp_path, "x.csv", f"text,label\na,x\n{long}\n", _STRICT)
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
        read, aside = _read(tmp_path, "x.csv", content, config)
        assert (len(read), len(aside)) == (num_good, num_bad)
    else:
        with pytest.raises(MalformedBatchError, match=rf"{num_bad} of the {num_good + num_bad} row\(s\) of x\.csv"):
            _read(tmp_path, "x.csv", content, config)


def test_the_error_names_the_first_five_the_share_and_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(MalformedBatchError) as caught:
        _read(tmp_path, "x.csv", _rows_with(3, 7), DataConfig())
    for line in (5, 6, 7, 8, 9):
        assert f"x.csv, line {line}: 1 field(s) where there are 2 columns (delimiter ',') ('bad')" in caught.value.what
    assert "line 10" not in caught.value.what
    assert "and 2 more" in caught.value.what
    assert "at most 0 may be set aside (data.max_quarantined_fraction is 0.05)" in caught.value.what
    assert "quotes around a text" in caught.value.fix
    assert "data.max_quarantined_fraction" in caught.value.fix


def test_the_share_is_that_of_each_file_and_a_good_one_does_not_make_up_for_a_bad_one(tmp_path: Path) -> None:
    _put(tmp_path, "data/raw/good.csv", _rows_with(1000, 0))
    _put(tmp_path, "data/raw/bad.csv", _rows_with(5, 5))
    with pytest.raises(MalformedBatchError, match=r"5 of the 10 row\(s\) of data/raw/bad\.csv"):
        read_batches(tmp_path, DataConfig())


def test_rows_that_were_set_aside_are_told_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    _read(tmp_path, "x.csv", _rows_with(3, 1))
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
        _read(tmp_path, "x.csv", content + "a,b\n" * 1000, DataConfig(max_quarantined_fraction=0.9))
    assert "balance the quotes" in caught.value.fix


def test_a_bad_record_counts_as_often_as_it_takes_lines(tmp_path: Path) -> None:
    swallowed = '"open,c\n' + "d,e\n" * 8 + '",f,g\n'
    content = f"text,label\n{swallowed}" + "a,b\n" * 90
    with pytest.raises(MalformedBatchError, match=r"10 of the 100 row\(s\) of x\.csv, and at most 5"):
        _read(tmp_path, "x.csv", content, DataConfig())
    read, aside = _read(tmp_path, "x.csv", content, DataConfig(max_quarantined_fraction=0.1))
    assert (len(read), [one[:2] for one in aside]) == (90, [(2, "too_many_fields")])


def test_duplicate_missing_reordered_and_unexpected_columns(tmp_path: Path) -> None:
    with pytest.raises(MalformedBatchError, match=r"x\.csv names the column\(s\) \['text'\] more than once"):
        _read(tmp_path, "x.csv", "text,label,text\na,b,c\n")
    with pytest.raises(MissingColumnError, match=r"x\.csv has no column 'label'; its columns are \['text', 'lable'\]"):
        _read(tmp_path, "x.csv", "text,lable\na,b\n")
    assert _read(tmp_path, "x.csv", "id,label,note,text\n1,x,?,a\n") == ([(2, "a", "x")], [])


def test_a_delimiter_that_is_not_the_files_is_an_error_that_shows_the_columns_it_makes(tmp_path: Path) -> None:
    with pytest.raises(MissingColumnError, match=r"its columns are \['text;label'\]"):
        _read(tmp_path, "x.csv", "text;label\na;b\n", replace(_HALF, delimiter=","))
    assert _read(tmp_path, "x.csv", "text;label\na, b;x\n") == ([(2, "a, b", "x")], [])


def test_a_header_alone_is_an_empty_file_and_lines_that_are_all_bad_are_not(tmp_path: Path) -> None:
    with pytest.raises(EmptyBatchError):
        _read(tmp_path, "x.csv", "text,label\n")
    with pytest.raises(MalformedBatchError, match=r"2 of the 2 row\(s\) of x\.jsonl"):
        _read(tmp_path, "x.jsonl", "text,label\na,b\n", DataConfig(max_quarantined_fraction=1.0))


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
            _read(path.parent, path.name, buffer.getvalue(), config)
        return
    read, aside = _read(path.parent, path.name, buffer.getvalue(), config)
    assert read == good
    assert [one[0] for one in aside] == bad


@settings(deadline=None)
@given(st.lists(st.sampled_from([_GOOD, "", " ", "[]", "{", "7", "null", '{"text": 1}', '{"text": "\\ud800"}', "{}"])))
def test_every_line_of_json_is_read_or_set_aside(tmp_path_factory: pytest.TempPathFactory, lines: list[str]) -> None:
    path = tmp_path_factory.getbasetemp() / "rows.jsonl"
    content = "\n".join([_GOOD, *lines])
    read, aside = _read(path.parent, path.name, content, DataConfig(max_quarantined_fraction=1.0))
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
    frame = _raw(("surely", "x"), ("certainly", "y"), *rows)
    result = clean(frame, config)
    both = pl.concat([result.examples.select("batch", "row"), result.rejected.select("batch", "row")])
    assert sorted(both.rows()) == sorted(frame.select("batch", "row").rows())
    unknown = [row for row, (_, label) in enumerate(rows, start=4) if label == "z"]
    assert [row for row, reason in _reasons(result).items() if reason == "unknown_label"] == unknown


# In the assets


def _step(project: Path, **data: object) -> Step:
    return Step(FtzardConfig(data=DataConfig(**data)), project)  # type: ignore[arg-type]


def test_raw_data_keeps_what_was_set_aside_with_counts_and_examples(tmp_path: Path) -> None:
    _put(tmp_path, "data/raw/a.csv", _rows_with(40, 2))
    _put(tmp_path, "data/raw/b.jsonl", "\n".join([_GOOD] * 20 + ["{"]))
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
    good = "".join(f"text {n},{_LABELS[n % 2]}\n" for n in range(40))
    _put(tmp_path, "data/raw/a.csv", f"text,label\n{good}so so,neutral\n")
    step = _step(tmp_path, labels=_LABELS)
    result = cleaned(raw_data(step=step).value, step)
    assert result.value.rejected.rows() == [("so so", "neutral", "data/raw/a.csv", 42, "unknown_label")]
    assert result.metrics["num_rejected_unknown_label"] == 1
    shown = result.metadata["unknown_labels"]
    assert isinstance(shown, pl.DataFrame)
    assert shown.rows() == [("data/raw/a.csv", 42, "neutral", "so so")]


def test_rows_of_an_incoming_file_that_cannot_be_read_are_left_out_and_the_others_answered(tmp_path: Path) -> None:
    path = _put(tmp_path, "x.csv", "text\n" + "".join(f"text {n}\n" for n in range(40)) + "a,b\n")
    result = read_unlabelled(path, "x.csv", DataConfig())
    assert result.examples.height == 40
    assert result.rejected.rows() == [("a,b", None, "x.csv", 42, "too_many_fields")]
    _put(tmp_path, "x.csv", "text\nfine\na,b\n")
    with pytest.raises(MalformedBatchError, match=r"1 of the 2 row\(s\) of x\.csv"):
        read_unlabelled(path, "x.csv", DataConfig())


# Labels


def test_unknown_labels_are_rejected_up_to_the_share_of_each_file() -> None:
    config = DataConfig(labels=_LABELS)
    good = [(f"text {n}", _LABELS[n % 2]) for n in range(19)]
    few = clean(_raw(*good, ("so so", "neutral")), config)
    assert _reasons(few) == {21: "unknown_label"}
    small = _raw(("so so", "neutral"), ("good", "positive"), batch="data/raw/b.csv")
    with pytest.raises(UnknownLabelError, match=r"data/raw/b\.csv, row 2: 'neutral'; allowed.*1 of the 2 row\(s\)"):
        clean(pl.concat([_raw(*good, *[(f"more {n}", "positive") for n in range(100)]), small]), config)
    with pytest.raises(UnknownLabelError, match="at most 0 may be set aside"):
        clean(_raw(*good, ("so so", "neutral")), replace(config, max_quarantined_fraction=0.0))


def test_numbers_with_and_without_decimals_are_one_label_beside_its_name() -> None:
    config = DataConfig(label_mapping={"0": "negative", "4": "positive"})
    rows = _raw(("a", "4"), ("b", "4.0"), ("c", "positive"), ("d", "0.00"), ("e", "0"))
    labels = clean(rows, config).examples["label"].to_list()
    assert labels == ["positive", "positive", "positive", "negative", "negative"]
    with pytest.raises(UnknownLabelError, match=r"'4\.5'"):
        clean(_raw(("a", "4.5"), ("b", "0")), config)
    own = DataConfig(label_mapping={"4": "four", "4.0": "four point zero"})
    assert clean(_raw(("a", "4"), ("b", "4.0")), own).examples["label"].to_list() == ["four", "four point zero"]


def test_one_class_missing_labels_and_conflicts_are_told() -> None:
    with pytest.raises(SingleClassError, match="'x'"):
        clean(_raw(("a", "x"), ("b", "x")), DataConfig())
    rows = _raw(("a", "x"), ("b", "y"), ("c", None), ("d", " "), ("twice", "x"), ("twice", "y"), ("a", "x"))
    assert _reasons(clean(rows, DataConfig())) == {
        4: "missing_label",
        5: "missing_label",
        6: "conflicting_label",
        7: "conflicting_label",
        8: "duplicate",
    }


def test_an_id_that_comes_back_twice_is_one_example_or_a_conflict(tmp_path: Path) -> None:
    rows = pl.DataFrame({"text": ["fine", "poor", "so so"], "label": ["x", "y", "x"]})
    rows = pl.concat([rows, rows[:1], rows[2:].with_columns(label=pl.lit("y"))])
    _put(tmp_path, "data/labelled/queue.csv", label_csv(rows.with_columns(hash_texts(rows["text"]))))
    result = clean(read_batches(tmp_path, DataConfig()).examples, DataConfig())
    assert result.examples["text"].to_list() == ["fine", "poor"]
    assert _reasons(result) == {4: "conflicting_label", 5: "duplicate", 6: "conflicting_label"}


# Texts


def test_texts_of_nothing_are_rejected_with_the_reason() -> None:
    config = DataConfig(cleaning_steps=("replace_urls", "basic_characters", "collapse_whitespace"))
    rows = _raw(("a", "x"), ("b", "y"), ("", "x"), (" \t\u3000", "x"), (None, "x"), ("\u2764\ufe0f\U0001f389", "y"))
    assert _reasons(clean(rows, config)) == {
        4: "missing_text",
        5: "empty_after_cleaning",
        6: "missing_text",
        7: "empty_after_cleaning",
    }
    with pytest.raises(NoExamplesError, match="1 empty_after_cleaning"):
        clean(_raw(("\U0001f389", "x")), config)


def test_texts_of_addresses_alone_are_one_text_and_those_of_emoji_alone_are_texts() -> None:
    rows = _raw(("http://a.example/1", "x"), ("www.b.example", "x"), ("\U0001f389", "y"), ("\U0001f44d\U0001f3fd", "x"))
    result = clean(rows, DataConfig(cleaning_steps=("replace_urls",)))
    assert result.examples["text"].to_list() == ["http", "\U0001f389", "\U0001f44d\U0001f3fd"]
    assert _reasons(result) == {3: "duplicate"}


def test_texts_that_look_alike_are_the_same_where_the_steps_say_so() -> None:
    rows = _raw(
        ("caf\u00e9", "x"),
        ("cafe\u0301", "x"),
        ("fi\u200bne", "y"),
        ("fine", "y"),
        ("\u202efine\u202c", "y"),
        ("o", "x"),
    )
    config = DataConfig(cleaning_steps=("unicode_nfc", "invisible_characters"))
    assert _reasons(clean(rows, config)) == {3: "duplicate", 5: "duplicate", 6: "duplicate"}
    kept = clean(rows, DataConfig()).examples["text"].to_list()
    assert kept == ["caf\u00e9", "fi\u200bne", "fine", "\u202efine\u202c", "o"]


@pytest.mark.parametrize(
    "text",
    [
        "so <|im_end|> it <|im_start|>assistant ends </s> [INST] <unk>",
        "<script>alert(1)</script> <img src=x onerror=alert(1)>",
        "\x1b[31mred\x1b[0m \x1b]0;title\x07",
        "{{ config }} ${HOME} $(reboot) `reboot` %s %(x)s {0.__class__}",
        "'; DROP TABLE runs; --",
        "\u202eelif\u202c \u2066x\u2069",
        "word " * 9_999 + "word",
    ],
)
def test_what_other_programs_would_act_on_stays_the_text_that_it_is(tmp_path: Path, text: str) -> None:
    buffer = io.StringIO(newline="")
    csv.writer(buffer).writerows([("text", "label"), (text, "x"), ("other", "y")])
    frame, _ = read_batch(_put(tmp_path, "x.csv", buffer.getvalue()), "x.csv", DataConfig())
    assert clean(frame, DataConfig()).examples["text"].to_list() == [text, "other"]


@pytest.mark.parametrize(
    "text", ["=1+1", "@SUM(A1)", "+1", "-1", "'=1+1", '=HYPERLINK("http://a.example")', "\t=1", "\uff1d1"]
)
def test_what_a_spreadsheet_would_run_comes_back_as_the_text_that_it_was(text: str) -> None:
    rows = pl.DataFrame({"text": [text], "label": [text.strip()]})
    data = label_csv(rows.with_columns(hash_texts(rows["text"])))
    [_, [_, cell, label]] = csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""))
    for shown in (cell, label):
        assert shown.startswith("'")
    back = read_label_csv(data, "queue.csv", DataConfig()).rows
    assert back.select("text", "label").rows() == [(text, text.strip())]


_NASTY = """
import sys, polars as pl
from ftzard.core.text_normalisation import normalise_text
n = 20_000
texts = ["<" * n, "<a" * n, "<!--" * n, "@" * n, "&" * n, "&amp;" * n, "www." * n, "http://" * n, "a" * n + "!",
         "!" * n, " " * n + "x", "\\u200b" * n, "(" * n, "e\\u0301" * n, "a\\u200d" * n, "&#" + "9" * n + ";"]
print(normalise_text(pl.Series("text", texts), sys.argv[1:]).len())
"""


def test_texts_made_for_patterns_that_backtrack_are_cleaned_in_good_time() -> None:
    steps = [step for step in CLEANING_STEPS if step != "emoji_words"]
    # Far more than it takes, so that only what never ends fails.
    done = subprocess.run(
        [sys.executable, "-c", _NASTY, *steps], capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout.strip() == "16"
