"""Texts for the eye: nothing stays hidden, and what can be read stays readable."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftzard.core.visible_text import excerpt, shortened, visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
        ("\u202eback\u202c", r"\u202eback\u202c"),
        ("zero\u200bwidth\ufeff", r"zero\u200bwidth\ufeff"),
        ("a\tb\nc\0", r"a\tb\nc\x00"),
        ("\u3164\u2800", r"\u3164\u2800"),
        ("\U000e0001", r"\U000e0001"),
        ("\x97", r"\x97"),
        ("\xa0", r"\xa0"),
    ],
)
def test_what_cannot_be_seen_is_written_out(text: str, shown: str) -> None:
    assert visible(text) == shown


@pytest.mark.parametrize(
    "text", ["plain text, 12 %", "naïve Straße", "नमस्ते दुनिया", "שלום", "مرحبًا", "สวัสดี", "你好 ✈ 😀"]
)
def test_what_can_be_read_stays_as_it_is(text: str) -> None:
    assert visible(text) == text


def test_letters_that_are_buried_under_marks_are_dug_out() -> None:
    assert visible("z" + "\u0337" * 6) == "z" + "\u0337" * 4 + r"\u0337\u0337"


@given(st.text())
def test_nothing_invisible_is_left_and_an_excerpt_cuts_no_escape_in_half(text: str) -> None:
    shown = visible(text)
    assert all(character == " " or character.isprintable() for character in shown)
    assert not any(unicodedata.category(character) in {"Cc", "Cf", "Cs", "Zl", "Zp"} for character in shown)
    assert excerpt(text, 7) == visible(text if len(text) <= 7 else f"{text[:6]}…")


def test_a_long_text_is_cut_and_says_so() -> None:
    assert shortened("abcdef", 6) == "abcdef"
    assert shortened("abcdefg", 6) == "abcde…"
