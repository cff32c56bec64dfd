"""Texts in a language that nobody asked for are left out, and doubt keeps a text."""

import sys

import polars as pl
import pytest

from ftzard.config import DataConfig
from ftzard.core import language_filter
from ftzard.core.cleaning import clean
from ftzard.core.cleaning_answers import clean_for_task
from ftzard.core.cleaning_questions import clean_unlabelled
from ftzard.core.language_filter import OTHER_LANGUAGE, with_language_reason
from ftzard.core.records import RAW_SCHEMA
from ftzard.core.tweets import sample_tweets
from ftzard.errors import ConfigError, MissingPackageError

_ENGLISH = ["the flight was late again and nobody told us why", "thank you so much for the wonderful dinner yesterday"]
_OTHERS = [
    "der Flug war schon wieder zu spät und niemand hat uns etwas gesagt",
    "le vol était encore en retard et personne ne nous a rien dit",
    "今日はとても楽しい",
    "это очень плохой сервис",
]
# What nobody could tell.
_DOUBTFUL = ["ok", "lol", "!!!", "😂", "@user"]


def _reasons(texts: list[str], *languages: str) -> list[str | None]:
    rows = pl.DataFrame({"cleaned": texts, "reason": [None] * len(texts)}, schema_overrides={"reason": pl.String})
    return with_language_reason(rows, DataConfig(languages=languages))["reason"].to_list()


def test_a_text_in_another_language_has_a_reason_against_it_and_one_that_nobody_can_tell_has_none() -> None:
    found = _reasons([*_ENGLISH, *_OTHERS, *_DOUBTFUL], "en")
    assert found == [None] * len(_ENGLISH) + [OTHER_LANGUAGE] * len(_OTHERS) + [None] * len(_DOUBTFUL)


def test_several_languages_can_be_wanted_and_where_none_is_named_all_are() -> None:
    assert _reasons([*_ENGLISH, *_OTHERS], "en", "de", "fr", "ja", "ru") == [None] * 6
    assert _reasons([*_ENGLISH, *_OTHERS], "de") == [OTHER_LANGUAGE] * 2 + [None] + [OTHER_LANGUAGE] * 3
    assert _reasons([*_ENGLISH, *_OTHERS]) == [None] * 6


def test_the_order_of_the_texts_and_repetitions_change_nothing() -> None:
    texts = [*_ENGLISH, *_OTHERS, *_DOUBTFUL]
    assert _reasons([*texts[::-1], *texts], "en") == [*_reasons(texts[::-1], "en"), *_reasons(texts, "en")]


def test_a_row_that_has_a_reason_keeps_it() -> None:
    rows = pl.DataFrame({"cleaned": [_OTHERS[0]], "reason": ["too_long"]})
    assert with_language_reason(rows, DataConfig(languages=("en",)))["reason"].to_list() == ["too_long"]


def test_labelled_and_unlabelled_texts_and_prompts_are_all_looked_at() -> None:
    config = DataConfig(languages=("en",))
    raw = pl.DataFrame(
        {
            "text": [*_ENGLISH, *_OTHERS],
            "label": ["a", "b"] * 3,
            "batch": ["data/raw/a.csv"] * 6,
            "row": range(2, 8),
        },
        schema=RAW_SCHEMA,
    )
    prompts = DataConfig(languages=("en",), task="generation")
    for cleaned in (clean(raw, config), clean_unlabelled(raw, config), clean_for_task(raw, prompts)):
        assert cleaned.examples["text"].to_list() == _ENGLISH
        assert cleaned.rejected["reason"].to_list() == [OTHER_LANGUAGE] * 4
        assert cleaned.rejected["text"].to_list() == _OTHERS


def test_hardly_any_tweet_of_an_english_corpus_is_left_out() -> None:
    tweets = sample_tweets(300, seed=3)["text"].to_list()
    assert sum(reason is not None for reason in _reasons(tweets, "en")) <= 3


def test_an_unknown_language_is_an_error_that_names_it_and_those_that_are_known() -> None:
    with pytest.raises(ConfigError, match=r"(?s)'xx'.*\bde, .*two letters"):
        _reasons(["a"], "xx")


def test_without_the_package_it_is_an_error_that_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lingua", None)
    language_filter._languages.cache_clear()
    with pytest.raises(MissingPackageError, match=r"(?s)data\.languages.*ftzard\[language\]"):
        _reasons(["a"], "en")
