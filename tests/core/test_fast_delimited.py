"""The fast reader of delimited text against the careful one: the same frame, or none."""

import csv
import io
from dataclasses import replace
from typing import Literal

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from ftzard.config import DataConfig
from ftzard.core import batch_formats
from ftzard.core.batch_formats import parse_delimited
from ftzard.core.fast_delimited import parse_simple
from ftzard.errors import FtzardError

PLAIN = DataConfig()
NAMELESS = replace(PLAIN, column_names=("label", "id", "text"))
GROUPED = replace(PLAIN, group_column="id")
TIMED = replace(PLAIN, time_column="id")
SAME_COLUMN = replace(PLAIN, label_column="text")
CONFIGS = (PLAIN, NAMELESS, GROUPED, TIMED, SAME_COLUMN, replace(PLAIN, task="generation", prompt_column="text"))

FIELDS = st.text(st.sampled_from("ab \"',;\té\u2028\x0b\x85\ufeff#\x01x") | st.characters(codec="utf-8"), max_size=6)
LINE_ENDS = st.sampled_from(["\n", "\r\n"])
WILD = st.text(st.sampled_from('",\n\r\t ab1\ufeff\0x\x01'), max_size=40)


def careful(text: str, delimiter: str, config: DataConfig) -> pl.DataFrame | None:
    """What the careful reader alone makes; None where it refuses the file or sets a row aside."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batch_formats, "parse_simple", lambda *_: None)
        try:
            parsed = parse_delimited(text, "a.csv", delimiter, config)
        except FtzardError:
            return None
    return None if parsed.bad else parsed.rows


def assert_same_or_declined(text: str, delimiter: str, config: DataConfig) -> bool:
    fast = parse_simple(text, delimiter, config, min_characters=0)
    if fast is None:
        return False
    expected = careful(text, delimiter, config)
    assert expected is not None
    assert_frame_equal(fast, expected)
    return True


@st.composite
def files(draw: st.DrawFn) -> tuple[str, str]:
    """A delimited file with all kinds of fields and quoting, mostly whole and sometimes with a piece too many."""
    delimiter = draw(st.sampled_from([",", ";", "\t", "|"]))
    out, end = io.StringIO(newline=""), draw(LINE_ENDS)
    quoting: Literal[0, 1] = draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
    writer = csv.writer(out, delimiter=delimiter, quoting=quoting, lineterminator=end)
    writer.writerows(draw(st.lists(st.lists(FIELDS, min_size=3, max_size=3), max_size=4)))
    text = out.getvalue()
    place = draw(st.integers(0, len(text)))
    text = text[:place] + draw(st.just("") | WILD) + text[place:]
    return text if draw(st.booleans()) else text.removesuffix("\n"), delimiter


@settings(max_examples=400, deadline=None)
@given(files(), st.sampled_from(CONFIGS), st.sampled_from(["label{0}id{0}text\n", "text{0}label{0}id\r\n", ""]))
def test_what_the_fast_reader_does_not_decline_is_what_the_careful_one_reads(
    file: tuple[str, str], config: DataConfig, header: str
) -> None:
    rows, delimiter = file
    assert_same_or_declined(header.format(delimiter) + rows, delimiter, config)


@settings(max_examples=400, deadline=None)
@given(WILD, st.sampled_from([PLAIN, NAMELESS]))
def test_nothing_wild_is_read_in_another_way(text: str, config: DataConfig) -> None:
    assert_same_or_declined(f"label,id,text\n{text}", ",", config)


@pytest.mark.parametrize(
    "text",
    [
        'label,id,text\n"0","1","a ""b"", c"\n4,2,\n',
        "label,id,text\r\n0,1,a\r\n4,2,b",
        'text,label,id\n"",,\n , ,  \n',
        "label,id,text\n\ufeff0,#1,NA\nnull,nan,'\n",
        'label,id,text,,\n0,1,"é\u2028\x85",,\n',
    ],
)
def test_simple_text_is_not_declined(text: str) -> None:
    assert assert_same_or_declined(text, ",", PLAIN)


@pytest.mark.parametrize("config", CONFIGS)
def test_a_large_file_is_read_fast_and_the_same(config: DataConfig) -> None:
    greeting = 'say ""hi"", '
    lines = (f'"{number % 2}","{number}","{greeting * (number % 5)}é {number}"\n' for number in range(3000))
    header = "" if config.column_names else "label,id,text\n"
    if config.task == "generation":
        header = "completion,id,text\n"
    text = header + "".join(lines)
    fast = parse_simple(text, ",", config)
    assert fast is not None
    assert_frame_equal(fast, parse_delimited(text, "a.csv", ",", config).rows)
    assert_same_or_declined(text, ",", config)


@pytest.mark.parametrize(
    "rows",
    [
        '0,1,"a\nb"\n',
        "0,1,a\n\n4,2,b\n",
        "0,1,a,b\n",
        '0,1,"a\n',
        '0,1,a"b"\n',
        '0,1,"a"b\n',
        "0,1,a\r4,2,b\n",
        "0,1,a\0b\n",
        "",
    ],
)
def test_what_is_not_simple_is_declined(rows: str) -> None:
    assert parse_simple(f"label,id,text\n{rows}", ",", PLAIN, min_characters=0) is None
    assert parse_simple(f"{rows}{'0,1,a' * 2}", ",", NAMELESS, min_characters=0) is None


@pytest.mark.parametrize("header", ["label,text,text", "label,id,txt", "label,id", "text"])
def test_a_header_that_lacks_or_repeats_a_column_is_declined(header: str) -> None:
    assert parse_simple(f"{header}\n0,1,a\n", ",", PLAIN, min_characters=0) is None


def test_half_a_character_and_a_time_that_is_none_are_declined() -> None:
    assert parse_simple("label,id,text\n0,1,\ud800\n", ",", PLAIN, min_characters=0) is None
    assert parse_simple("label,id,text\n0,soon,a\n", ",", TIMED, min_characters=0) is None


def test_a_short_text_is_left_to_the_careful_reader() -> None:
    assert parse_simple("label,id,text\n0,1,a\n", ",", PLAIN) is None
