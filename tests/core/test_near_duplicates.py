"""What is near what: exactly those that few edits of words lead to, and copies in other clothes."""

import random
from collections.abc import Sequence

import numpy as np
import polars as pl
import pytest
from benchmarks.near_duplicates import EDITS
from hypothesis import given, settings
from hypothesis import strategies as st

from ftzard.core import near_duplicates
from ftzard.core.near_duplicates import NEAR_SCHEMA, find_near, find_repeated, is_near
from ftzard.core.text_sketches import sketch
from ftzard.core.tweets import sample_tweets

_TEXT = "My flight was late again and nobody at the gate knew why"


def num_edits(text: str, other: str) -> int | None:
    """What is said of two texts; None where they are not near."""
    found = find_near(pl.Series([other]), pl.Series([text]))
    return None if found.is_empty() else found["num_edits"].item()


@pytest.mark.parametrize(
    "copy",
    [
        _TEXT.upper(),
        "my flight was late, again... and nobody at the gate knew why?!",
        f"{_TEXT} https://t.co/Ab12",
        f"@airline {_TEXT} www.example.com/x",
        f"{_TEXT} http",
        "My flight was  late again\tand nobody at the gate knewwhy",
        "My flight was late again and nobody at the gate knew why ✈",
        "\uff2d\uff59 flight was late again and nobody at the gate knew why",
    ],
)
def test_case_punctuation_spaces_addresses_and_user_names_make_no_difference(copy: str) -> None:
    assert num_edits(copy, _TEXT) == 0


def test_one_or_two_edited_words_are_near_and_three_are_not() -> None:
    assert num_edits("Our flight was late again and nobody at the gate knew why", _TEXT) == 1
    assert num_edits("My flight was late and nobody at the gate really knew why", _TEXT) == 2
    assert num_edits("Our train was late again and nobody at the gate knew anything", _TEXT) is None
    assert num_edits("was late again and nobody at the gate knew", _TEXT) is None


def test_in_a_short_text_a_word_is_the_message() -> None:
    assert num_edits("great crew", "awful crew") is None
    assert num_edits("the crew was great", "the crew was awful") is None
    assert num_edits("the crew was great today", "the crew was awful today") is None
    assert num_edits("the crew was really great today", "the crew was really awful today") == 1
    assert num_edits("the crew was really great yesterday", "the crew was really awful today") is None


def test_texts_of_signs_alone_and_empty_ones_are_near_to_equal_ones_only() -> None:
    assert num_edits("!!!", "!!!") == 0
    assert num_edits("!!!", "???") is None
    assert num_edits("", "") == 0
    assert num_edits("😀😀", "😡😡") is None


def test_scripts_without_spaces_are_compared_by_character() -> None:
    assert num_edits("今日はとても良い天気です", "今日はとても悪い天気です") == 1
    assert num_edits("今日はとても良い天気です", "明日の会議は三時に始まる") is None


def test_without_edits_only_what_reads_the_same_is_near() -> None:
    texts = pl.Series([_TEXT.lower(), f"So {_TEXT}"])
    assert is_near(pl.Series([_TEXT]), texts, max_edits=0).to_list() == [True, False]
    assert is_near(pl.Series([_TEXT]), texts, max_edits=1).to_list() == [True, True]


def test_nothing_is_near_nothing() -> None:
    none = pl.Series([], dtype=pl.String)
    assert find_near(none, pl.Series([_TEXT])).schema == NEAR_SCHEMA
    assert find_near(pl.Series([_TEXT]), none).is_empty()


def test_sketches_of_different_orders_are_compared_as_the_texts_are() -> None:
    tweets = sample_tweets(400, seed=2)["text"]
    known, asked = tweets.head(250), tweets.slice(150)
    rows = np.arange(0, 250, 2)
    found = find_near(sketch(known).take(rows), sketch(asked))
    assert found.height >= 50
    assert found.equals(find_near(known[rows.tolist()], asked))


_WORDS = st.lists(st.sampled_from("abc"), max_size=11).map(lambda words: [f"w{word}" for word in words])


@settings(deadline=None, max_examples=60)
@given(st.lists(_WORDS, max_size=12), st.lists(_WORDS, max_size=12), st.integers(0, 2), st.integers(1, 64))
def test_what_is_found_is_what_comparing_each_with_each_finds(
    references: list[list[str]], candidates: list[list[str]], max_edits: int, at_a_time: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(near_duplicates, "_NUM_REFERENCES_AT_A_TIME", at_a_time)
        patch.setattr(near_duplicates, "_NUM_PAIRS_AT_A_TIME", at_a_time)
        patch.setattr(near_duplicates, "_NUM_ROWS_AT_A_TIME", at_a_time)
        found = find_near(_texts(references), _texts(candidates), max_edits)
    near = {
        (candidate, reference)
        for candidate, words in enumerate(candidates)
        for reference, others in enumerate(references)
        if _distance(words, others) <= min(max_edits, _allowed(min(len(words), len(others))))
    }
    assert found["candidate"].to_list() == sorted({candidate for candidate, _ in near})
    for candidate, reference, edits in found.iter_rows():
        assert (candidate, reference) in near
        assert edits == _distance(candidates[candidate], references[reference])


@settings(deadline=None, max_examples=60)
@given(st.lists(_WORDS, max_size=14), st.integers(0, 2), st.integers(1, 64))
def test_a_text_is_repeated_where_it_is_near_an_earlier_one(
    rows: list[list[str]], max_edits: int, at_a_time: int
) -> None:
    texts = _texts(rows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(near_duplicates, "_NUM_REFERENCES_AT_A_TIME", at_a_time)
        patch.setattr(near_duplicates, "_NUM_PAIRS_AT_A_TIME", at_a_time)
        found = find_repeated(texts, max_edits)
    near = [
        index for index in range(len(rows)) if is_near(texts.head(index), texts[index : index + 1], max_edits).any()
    ]
    assert found["candidate"].to_list() == near
    for candidate, reference, edits in found.iter_rows():
        assert reference < candidate
        assert edits == _distance(rows[candidate], rows[reference])


def test_edited_copies_of_real_tweets_are_found_and_other_tweets_are_not() -> None:
    tweets = sample_tweets(1_000, seed=1)["text"]
    test, others = tweets.head(300), tweets.slice(300)
    draw = random.Random(0)  # noqa: S311 - no secret
    copied = [tweet for tweet in test if len(tweet.split()) >= 5][:198]
    kinds = [list(EDITS)[number % len(EDITS)] for number in range(len(copied))]
    copies = [EDITS[kind](tweet, draw, ["seat", "never", "blue"]) for kind, tweet in zip(kinds, copied, strict=True)]
    assert is_near(test, pl.Series(copies)).sum() >= 0.95 * len(copies)
    # Retweets, which are hits, included.
    assert is_near(test, others).sum() <= 0.03 * len(others)


def _texts(rows: Sequence[Sequence[str]]) -> pl.Series:
    return pl.Series([" ".join(words) for words in rows], dtype=pl.String)


def _allowed(num_words: int) -> int:
    return 2 if num_words >= 8 else 1 if num_words >= 6 else 0


def _distance(one: Sequence[str], other: Sequence[str]) -> int:
    """The edit distance by its definition."""
    row = list(range(len(other) + 1))
    for i, word in enumerate(one, start=1):
        before, row[0] = row[0], i
        for j, found in enumerate(other, start=1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (word != found))
    return row[-1]
