"""The steps that need a table or more than a pattern: every entity, every emoji, and text made to be slow."""

import html
import sys
from html.entities import html5

import polars as pl
import pytest
from emoji import EMOJI_DATA
from hypothesis import given
from hypothesis import strategies as st

from ftzard.config import DataConfig
from ftzard.core import emoji_words
from ftzard.core.cleaning_steps import CLEANING_STEPS
from ftzard.core.html_entities import unescape
from ftzard.core.text_normalisation import normalise_text, step_changes
from ftzard.core.tweets import sample_tweets
from ftzard.errors import MissingPackageError

ENTITY_PARTS = st.sampled_from(["&", "amp", "lt", "#38", "#x26", "#x3", "6", "semi", ";", "a", "\u200b"])


def test_every_entity_of_html_that_ends_with_a_semicolon_is_its_character() -> None:
    names = [name for name in html5 if name.endswith(";")]
    escaped = pl.Series([f"&{name}" for name in names])
    # Of what looks like an entity again, that character stands for itself.
    assert normalise_text(escaped, ["html_entities"]).to_list() == [html5[name] for name in names]


@given(st.lists(ENTITY_PARTS).map("".join))
def test_unescaping_leaves_nothing_that_could_be_unescaped(text: str) -> None:
    once = unescape(text)
    assert unescape(once) == once
    assert "&amp;" not in once
    assert "&#38;" not in once


@given(st.text(st.sampled_from("ab <>'\"é日")), st.integers(0, 5))
def test_a_text_that_was_escaped_again_and_again_comes_back(text: str, num_times: int) -> None:
    escaped = text
    for _ in range(num_times):
        escaped = html.escape(escaped)
    assert unescape(escaped) == text


def test_texts_made_to_be_unescaped_or_to_backtrack_forever_are_cleaned_in_few_passes() -> None:
    depth = 20_000
    hostile = [
        "&#x3" * depth + "6;" + ";" * depth,
        "&" + "amp;" * depth,
        "<" * depth + "b>" * depth,
        "<a" * depth,
        "<!--" * depth,
        "a" * depth,
        "www." * depth,
        "@" * depth,
        "\u200b" * depth,
        " " * depth,
    ]
    steps = [name for name in CLEANING_STEPS if name != "basic_characters"]
    # The bound on passes (a thousand) is an error: what settles stays below it.
    cleaned = normalise_text(pl.Series(hostile), steps)
    assert normalise_text(cleaned, steps).equals(cleaned)
    assert cleaned[1] == "&"


def test_many_texts_are_cleaned_as_few_are_and_keep_their_order() -> None:
    tweets = sample_tweets(4_000, seed=0)["text"]
    texts = pl.concat([tweets, pl.Series("text", [None], dtype=pl.String), "&lt;b&gt;" + tweets + " 😍!!!"])
    steps = [name for name in CLEANING_STEPS if name != "basic_characters"]
    pieces = [normalise_text(texts[start : start + 2_000], steps) for start in range(0, texts.len(), 2_000)]
    assert normalise_text(texts, steps).equals(pl.concat(pieces))
    changed = {change.name: change.num_rows for change in step_changes(texts, steps)}
    assert changed["html_tags"] >= 4_000
    assert changed["emoji_words"] >= 4_000


def test_every_emoji_becomes_words() -> None:
    cleaned = normalise_text(pl.Series(list(EMOJI_DATA)), ["emoji_words"])
    assert cleaned.to_list() == [f" {data['en'].strip(':').replace('_', ' ')} " for data in EMOJI_DATA.values()]


def test_every_letter_that_was_decoded_wrongly_once_or_twice_comes_back_and_rows_keep_their_places() -> None:
    words = ["Übergröße", "naïveté", "São João", "Łódź", "Привет", "日本語です", "10 €"]
    spoilt = [word.encode().decode("cp1252", errors="replace") for word in words]
    twice = [word.encode().decode("latin-1").encode().decode("latin-1") for word in words]
    texts = pl.Series([None, "plain", *words, *spoilt[:3], *twice])
    assert normalise_text(texts, ["mojibake"]).to_list() == [None, "plain", *words, *words[:3], *words]
    (change,) = step_changes(texts, ["mojibake"])
    assert change.num_rows == len(words) + 3


def test_emoji_words_without_the_package_are_an_error_that_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "emoji", None)
    emoji_words._names.cache_clear()
    with pytest.raises(MissingPackageError, match=r"(?s)emoji_words.*ftzard\[emoji\]"):
        normalise_text(pl.Series(["a"]), ["emoji_words"])
    assert normalise_text(pl.Series(["😍"]), DataConfig().cleaning_steps).to_list() == ["😍"]


@given(st.lists(st.text(st.sampled_from("aB @_.\u0301\n\t\u2003w<&;!") | st.characters(codec="utf-8")), max_size=9))
def test_a_step_changes_no_text_that_it_says_not_to_be_concerned_with(texts: list[str]) -> None:
    told = [step for step in CLEANING_STEPS.values() if step.concerns is not None]
    assert {"unicode_nfc", "collapse_whitespace"} <= {step.name for step in told}
    rows = pl.DataFrame({"text": [*texts, *(f"{text} http://x" for text in texts)]}, schema={"text": pl.String})
    for step in told:
        assert step.concerns is not None
        left = rows.filter(~step.concerns(pl.col("text")))
        assert left.select(step.apply(pl.col("text"))).equals(left)
