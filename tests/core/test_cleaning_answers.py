"""Cleaning where the answers are free text: every row becomes an example or is kept with its reason."""

from dataclasses import replace

import polars as pl
import pytest

from ftzard.config import DataConfig
from ftzard.core.cleaning import clean
from ftzard.core.cleaning_answers import answer_lengths, clean_answers, clean_for_task
from ftzard.core.conversations import read_messages, write_messages
from ftzard.core.records import RAW_SCHEMA, Cleaned
from ftzard.core.row_columns import write_pair
from ftzard.core.splitting import split
from ftzard.errors import NoExamplesError, TooFewExamplesError

_PROMPTS = DataConfig(task="generation")
_MESSAGES = DataConfig(task="generation", messages_column="messages")


def _raw(*rows: tuple[str | None, str | None]) -> pl.DataFrame:
    numbered = [(text, label, "a.csv", number) for number, (text, label) in enumerate(rows, start=2)]
    return pl.DataFrame(numbered, schema=RAW_SCHEMA, orient="row")


def _reasons(cleaned: Cleaned) -> dict[int, str]:
    return dict(cleaned.rejected.select("row", "reason").iter_rows())


def test_a_prompt_is_normalised_and_an_answer_only_loses_the_whitespace_around_it() -> None:
    example = clean_answers(_raw((" Say\n hi ", "\n Hi,\n  you! ")), _PROMPTS).examples.row(0, named=True)
    assert example["text"] == "Say hi"
    assert example["label"] == "Hi,\n  you!"


def test_every_row_that_is_no_example_has_its_reason() -> None:
    rows = _raw(
        ("one", "1"),
        (None, "1"),
        ("two", "  "),
        ("two", None),
        (" ", "1"),
        ("one", "1"),
        ("one", "uno"),
        ("one", "uno"),
    )
    cleaned = clean_answers(rows, _PROMPTS)
    assert cleaned.examples["row"].to_list() == [2]
    assert _reasons(cleaned) == {
        3: "missing_text",
        4: "missing_answer",
        5: "missing_answer",
        6: "empty_after_cleaning",
        7: "duplicate",
        8: "repeated_prompt",
        9: "duplicate",
    }


def test_an_answer_is_as_long_as_what_it_says_and_each_of_a_pair_counts_for_itself() -> None:
    alone = answer_lengths(pl.Series(["Hi,\nyou!", "é"]), _PROMPTS)
    assert {what: lengths.to_list() for what, lengths in alone.items()} == {"answers": [8, 1]}
    pairs = answer_lengths(pl.Series([write_pair("no", 'a "b"')]), DataConfig(task="preference"))
    assert {what: lengths.to_list() for what, lengths in pairs.items()} == {
        "chosen answers": [2],
        "rejected answers": [5],
    }


def test_answers_that_are_left_out_for_an_earlier_one_are_warned_of_with_their_rows(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clean_answers(_raw(("one", "1"), ("one", "1"), ("two", "2")), _PROMPTS)
    assert not caplog.text
    clean_answers(_raw(("one", "1"), ("two", "2"), ("one", "uno")), _PROMPTS)
    assert "rejected 1 rows because an earlier row answers the same prompt otherwise" in caplog.text
    assert "a.csv, row 4" in caplog.text


@pytest.mark.parametrize(
    ("rows", "config", "named"),
    [
        ([("one", " "), ("two", None), ("", "x")], _PROMPTS, "data.completion_column"),
        ([(None, "1"), ("", "2")], _PROMPTS, "data.prompt_column"),
        ([("one", write_pair("a", " a"))], DataConfig(task="preference"), "data.chosen_column"),
        ([(" ", "1")], _PROMPTS, "data.cleaning_steps"),
    ],
)
def test_where_nothing_is_left_the_advice_fits_the_reason(
    rows: list[tuple[str | None, str | None]], config: DataConfig, named: str
) -> None:
    with pytest.raises(NoExamplesError) as raised:
        clean_answers(_raw(*rows), config)
    assert named in raised.value.fix


def test_the_limits_of_length_are_for_the_prompt_and_of_messages_for_their_contents() -> None:

    prompts = _raw((" a ", "long enough"), ("ab", "1"), ("abcde", "2"))
    assert _reasons(clean_answers(prompts, replace(_PROMPTS, min_characters=2, max_characters=4))) == {
        2: "too_short",
        4: "too_long",
    }
    asked = [write_messages([{"role": "user", "content": content}]) for content in ("a", "abcd", "abcde")]
    rows = _raw(*((text, "1") for text in asked))
    assert _reasons(clean_answers(rows, replace(_MESSAGES, min_characters=2, max_characters=4))) == {
        2: "too_short",
        4: "too_long",
    }


def test_a_pair_of_equal_answers_teaches_nothing() -> None:
    pairs = DataConfig(task="preference")
    rows = _raw(("one", write_pair("yes", " yes ")), ("two", write_pair("yes", "no")), ("three", None))
    cleaned = clean_answers(rows, pairs)
    assert _reasons(cleaned) == {2: "equal_answers", 4: "missing_answer"}
    assert cleaned.examples["label"].to_list() == [write_pair("yes", "no")]


def test_of_messages_what_people_say_is_normalised_and_what_the_model_said_is_not() -> None:
    talk = [
        {"role": "user", "content": "  Hi\n there "},
        {"role": "assistant", "content": " One\n two "},
        {"role": "user", "content": "And\tthen?"},
    ]
    text = clean_answers(_raw((write_messages(talk), "Nothing.")), _MESSAGES).examples["text"][0]
    assert [message["content"] for message in read_messages(text)] == ["Hi there", " One\n two ", "And then?"]


def test_messages_that_end_with_nothing_are_empty() -> None:
    talk = write_messages([{"role": "user", "content": " \n"}])
    with pytest.raises(NoExamplesError, match="1 empty_after_cleaning"):
        clean_answers(_raw((talk, "Nothing.")), _MESSAGES)


def test_a_classification_is_cleaned_as_it_was() -> None:
    rows = _raw(("one", "a"), ("two", "b"), ("two", "a"), ("three", "b"))
    cleaned, before = clean_for_task(rows, DataConfig()), clean(rows, DataConfig())
    assert _reasons(cleaned) == {3: "conflicting_label", 4: "conflicting_label"}
    assert cleaned.examples.equals(before.examples)


def test_prompts_are_split_without_labels_and_a_prompt_is_in_one_split() -> None:
    examples = clean_answers(
        _raw(*((f"prompt {number}", f"answer {number}") for number in range(60))), _PROMPTS
    ).examples
    splits = split(examples, _PROMPTS)
    parts = [set(frame["text"]) for frame in (splits.train, splits.validation, splits.test)]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 60
    assert all(parts)


def test_too_few_prompts_for_a_test_split_are_told() -> None:
    examples = clean_answers(_raw(("one", "1")), _PROMPTS).examples
    with pytest.raises(TooFewExamplesError, match="is empty"):
        split(examples, _PROMPTS)
