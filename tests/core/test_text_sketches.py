"""What is near is never ruled out by a sketch, whatever the order of the tokens; what is not mostly is."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftzard.core.text_sketches import MAX_EDITS, MIN_TOKENS, sketch
from ftzard.core.tweets import sample_tweets

_WORDS = st.lists(st.sampled_from([f"w{number}" for number in range(12)]), min_size=MIN_TOKENS + 2, max_size=90)
_EDITS = st.lists(st.tuples(st.sampled_from(["insert", "delete", "replace"]), st.floats(0, 1)), max_size=MAX_EDITS)


def edited(words: list[str], edits: list[tuple[str, float]]) -> list[str]:
    words = list(words)
    for kind, where in edits:
        place = int(where * (len(words) - 1))
        words[place : place + (kind != "insert")] = [] if kind == "delete" else ["new"]
    return words


@settings(deadline=None, max_examples=200)
@given(_WORDS, _EDITS, st.lists(_WORDS, max_size=3))
def test_texts_that_few_edits_lead_to_share_a_key_and_nearly_all_bits(
    words: list[str], edits: list[tuple[str, float]], others: list[list[str]]
) -> None:
    rows = [words, edited(words, edits), *others]
    sketches = sketch(pl.Series([" ".join(row) for row in rows]))
    keys, bits = sketches.keys(np.arange(2)), sketches.bits(np.arange(2))
    assert np.isin(keys[0], keys[1]).any()
    assert np.bitwise_count(bits[0] ^ bits[1]) <= 2 * len(edits)


def test_few_pairs_of_different_tweets_share_a_key() -> None:
    all_keys = sketch(sample_tweets(2_000, seed=0)["text"]).keys(np.arange(2_000))
    keys, counts = np.unique(all_keys[all_keys.any(axis=1)], return_counts=True)
    assert len(keys) > 10_000
    assert (counts * (counts - 1) // 2).sum() < 0.005 * 2_000**2 / 2


@pytest.mark.parametrize("num_tokens", [MIN_TOKENS - 1, 0])
def test_texts_too_short_to_be_near_anything_have_no_keys(num_tokens: int) -> None:
    assert not sketch(pl.Series([" ".join(["word"] * num_tokens)])).keys(np.arange(1)).any()


def test_sketches_are_those_of_the_texts_alone_where_the_order_is_given() -> None:
    texts = sample_tweets(300, seed=0)["text"]
    sketches, rows = sketch(texts), np.array([17, 3, 200])
    alone, some = sketch(texts[rows.tolist()], sketches.order), sketches.take(rows)
    places = np.array([2, 0])
    assert some.keys(places).tolist() == alone.keys(places).tolist()
    assert some.bits(places).tolist() == alone.bits(places).tolist()
    assert some.lengths.tolist() == alone.lengths.tolist()
    assert some.same.tolist() == alone.same.tolist()
    assert some.text(places).to_list() == [texts[200], texts[17]]
