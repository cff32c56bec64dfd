"""Tokens as numbers, against the expression that says what a token is."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftzard.core import text_tokens
from ftzard.core.text_tokens import read_short_tokens, read_tokens
from ftzard.core.tweets import sample_tweets

_PIECES = st.sampled_from(
    [
        "@bob",
        "http",
        "httptco",
        "https",
        "HTTP://x.y/z",
        "https://x",
        "www.a",
        "wwwa",
        "www",
        "don't",
        "Don\u2019t",
        "\ufb01t",
        "\u0130x",
        "日本語",
        "ไทย",
        "é",
        "e\u0301",
        "☆",
    ]
)
_TEXTS = st.lists(_PIECES | st.text(st.sampled_from("aB1 _-'`\n\x00.@é日") | st.characters(codec="utf-8")), max_size=6)


def tokens_by_definition(texts: pl.Series) -> list[list[str]]:
    plain = pl.col("text").str.normalize("NFKC").str.replace_all(text_tokens._NOISE, " ")
    words = plain.str.replace_all(text_tokens._APOSTROPHE, "").str.to_lowercase().str.extract_all(text_tokens._WORD)
    return texts.to_frame("text").select(words).to_series().to_list()


def assert_as_defined(texts: pl.Series) -> None:
    read, expected = read_tokens(texts), tokens_by_definition(texts)
    assert read.lengths.tolist() == [len(words) for words in expected]
    flat = [word for words in expected for word in words]
    pairs = set(zip(flat, read.tokens.tolist(), strict=True))
    assert len(pairs) == len(set(flat)) == len(set(read.tokens.tolist()))
    same = ["".join(words) or text for words, text in zip(expected, texts, strict=True)]
    assert len(set(zip(same, read.same.tolist(), strict=True))) == len(set(same)) == len(set(read.same.tolist()))


@settings(deadline=None, max_examples=300)
@given(st.lists(_TEXTS.map(" ".join) | _TEXTS.map("".join), max_size=8), st.integers(1, 3))
def test_each_token_has_a_number_and_each_number_a_token(texts: list[str], at_once: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_tokens, "_NUM_ROWS_AT_ONCE", at_once)
        assert_as_defined(pl.Series(texts, dtype=pl.String))


def test_real_tweets_are_read_as_defined() -> None:
    assert_as_defined(sample_tweets(18_000, seed=0)["text"])


def test_halves_of_the_hashes_are_read_alike() -> None:
    texts = sample_tweets(500, seed=0)["text"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_tokens, "_NUM_ROWS_AT_ONCE", 70)
        short, whole = read_short_tokens(texts), read_tokens(texts)
    assert short.same.tolist() == whole.same.tolist()
    assert short.lengths.tolist() == whole.lengths.tolist()
    assert short.tokens.tolist() == (whole.tokens >> np.uint64(32)).tolist()
