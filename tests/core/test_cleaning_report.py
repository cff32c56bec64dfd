"""What a person is told of cleaning: counts by step, examples that show the change, texts with several labels."""

import json
from pathlib import Path
from typing import Literal

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from ftzard.assets.bookkeeping import result_metadata
from ftzard.assets.data import cleaned
from ftzard.assets.step import Step, StepResult
from ftzard.config import DataConfig, FtzardConfig
from ftzard.core.cleaning import clean
from ftzard.core.cleaning_questions import question_changes
from ftzard.core.cleaning_report import examples_table, find_conflicts
from ftzard.core.cleaning_steps import CLEANING_STEPS
from ftzard.core.conversations import write_messages
from ftzard.core.records import RAW_SCHEMA, Cleaned, Raw
from ftzard.core.text_normalisation import StepChanges, normalise_text, step_changes

HOSTILE = "<img src=x onerror=alert(1)> | [a](javascript:1) **b**\u202e @ann &lt;script&gt;"
TEXTS = st.lists(st.none() | st.text(st.sampled_from("@a  \n!Ab&lt;<>")), max_size=8)


def _raw(*rows: tuple[str | None, str | None]) -> pl.DataFrame:
    numbered = [(text, label, "a.csv", row) for row, (text, label) in enumerate(rows, start=2)]
    return pl.DataFrame(numbered, schema=RAW_SCHEMA, orient="row")


def _result(rows: pl.DataFrame, *steps: str) -> StepResult[Cleaned]:
    return cleaned(Raw(rows), Step(FtzardConfig(data=DataConfig(cleaning_steps=steps)), Path()))


def test_each_step_has_the_number_of_rows_that_it_changed_and_five_of_them() -> None:
    texts = pl.Series([*(f"@ann {number}" for number in range(7)), "@ann 0", " b", None, "", "plain"])
    users, whitespace, lower = step_changes(texts, ["user_names", "collapse_whitespace", "lowercase"])
    assert (users.name, users.num_rows) == ("user_names", 8)
    assert users.examples == tuple((f"@ann {number}", f"user ann {number}") for number in range(5))
    assert whitespace == StepChanges("collapse_whitespace", 1, ((" b", "b"),))
    assert lower == StepChanges("lowercase", 0, ())


def test_a_row_that_a_step_changes_in_two_passes_is_counted_once() -> None:
    urls, characters = step_changes(pl.Series(["http://a ww(w.b", "ww(w.c"]), ["replace_urls", "basic_characters"])
    assert (urls.num_rows, characters.num_rows) == (2, 2)
    assert urls.examples == (("http://a ww(w.b", "http ww(w.b"), ("http www.b", "http http"), ("www.c", "http"))


def test_cleaning_tells_what_its_steps_change_in_the_order_of_batch_and_row() -> None:
    rows = _raw(("@ann so", "x"), (None, "x"), (" B", "y"), ("@bob", "y"))
    config, told = DataConfig(cleaning_steps=("user_names", "collapse_whitespace")), list[StepChanges]()
    clean(rows.sort("row", descending=True), config, told.extend)
    users, whitespace = told
    assert users == StepChanges("user_names", 2, (("@ann so", "user ann so"), ("@bob", "user bob")))
    assert whitespace == StepChanges("collapse_whitespace", 1, ((" B", "B"),))


@settings(deadline=None, max_examples=50)
@given(TEXTS, st.permutations(["user_names", "collapse_whitespace", "html_entities", "html_tags", "lowercase"]))
def test_a_step_that_changed_no_row_can_be_left_out_and_one_that_did_has_examples(
    texts: list[str | None], steps: list[str]
) -> None:
    series = pl.Series(texts, dtype=pl.String)
    changes = step_changes(series, steps)
    assert all(len(change.examples) >= min(change.num_rows, 1) for change in changes)
    needed = [change.name for change in changes if change.num_rows]
    assert normalise_text(series, needed).equals(normalise_text(series, steps))
    assert sum(change.num_rows for change in changes) >= series.ne_missing(normalise_text(series, steps)).sum()


def test_what_many_texts_are_cleaned_to_and_what_is_told_of_it_is_that_of_each_text(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    texts = pl.Series([*(f"<b>row {number}</b>  &amp;amp;" for number in range(23)), None, "plain"])
    steps = ["html_entities", "html_tags", "collapse_whitespace"]
    together, told = normalise_text(texts, steps), step_changes(texts, steps)
    monkeypatch.setattr("ftzard.core.text_normalisation._NUM_TOGETHER", 4)
    assert normalise_text(texts, steps).equals(together)
    in_pieces = step_changes(texts, steps)
    assert [change.num_rows for change in in_pieces] == [change.num_rows for change in told]
    assert [change.num_rows for change in told] == [23, 23, 23]
    for change in in_pieces:
        assert len(change.examples) == 5
        assert {before for before, _ in change.examples} != {after for _, after in change.examples}


def test_of_messages_rows_are_counted_and_an_assistants_words_are_left_alone() -> None:
    talk = [{"role": "user", "content": "A"}, {"role": "assistant", "content": "B"}, {"role": "user", "content": "C"}]
    config = DataConfig(task="generation", messages_column="messages", cleaning_steps=("lowercase",))
    (change,) = question_changes(pl.Series([write_messages(talk), None, write_messages(talk[:1])]), config)
    assert change == StepChanges("lowercase", 2, (("A", "a"), ("C", "c")))


def test_an_example_shows_what_cannot_be_seen_and_where_a_long_text_begins_to_differ() -> None:
    pairs = (
        ("a  b\n", "a b"),
        ("e\u0301\u202e", "\xe9"),
        ("x" * 500 + "  y" + "z" * 500, "x" * 500 + " y" + "z" * 500),
    )
    rows = examples_table([StepChanges("any", 3, pairs)]).rows()
    assert rows[:2] == [("any", "a␣␣b\\n", "a b"), ("any", "e\\u0301\\u202e", "é")]
    assert rows[2][1] == f"…{'x' * 14}␣␣y{'z' * 43}…"
    assert rows[2][2] == f"…{'x' * 14} y{'z' * 44}…"


def test_the_asset_shows_counts_and_examples_and_logs_them() -> None:
    result = _result(_raw(("@a  b", "x"), ("c", "y"), ("d", "y"), ("D", "x")), "user_names", "lowercase")
    assert result.metrics["num_changed_user_names"] == 1
    assert result.metrics["num_changed_lowercase"] == 1
    assert result.metrics["num_conflicting_texts"] == 1
    shown = {name: getattr(value, "value", None) for name, value in result_metadata(result, "cleaned").items()}
    assert "| user&#95;names | 1 |" in str(shown["rows_changed"])
    assert "| user&#95;names | &#64;a␣␣b | user a␣␣b |" in str(shown["rows_changed_for_example"])
    assert "| d | x&#58; 1, y&#58; 1 | 2 |" in str(shown["conflicting_labels"])
    users, _ = json.loads(result.texts["cleaning/changes.json"])
    assert users == {
        "step": "user_names",
        "description": CLEANING_STEPS["user_names"].description,
        "rows_changed": 1,
        "examples": [{"before": "@a␣␣b", "after": "user a␣␣b"}],
    }


def test_examples_do_not_depend_on_the_order_of_the_rows_and_without_conflicts_there_is_no_table() -> None:
    rows = _raw(*((f"TEXT {number}", "xy"[number % 2]) for number in range(9)))
    first, second = _result(rows, "lowercase"), _result(rows.reverse(), "lowercase")
    assert first.texts == second.texts
    assert "conflicting_labels" not in first.metadata


def test_a_text_cannot_become_markup_where_its_change_is_shown() -> None:
    result = _result(_raw((HOSTILE, "x"), (HOSTILE, "y"), ("a", "x"), ("b", "y")), *sorted(CLEANING_STEPS))
    for name in ("rows_changed_for_example", "conflicting_labels"):
        html = (
            MarkdownIt("commonmark", {"html": True})
            .enable("table")
            .render(result_metadata(result, "cleaned")[name].value)
        )
        assert html.count("<table>") == 1
        assert all(mark not in html for mark in ("<img", "<script", "<a ", "<strong", "\u202e"))


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.tuples(st.sampled_from(["a", " a", "b", "c"]), st.sampled_from(["x", "y", "z"])), max_size=12),
    st.sampled_from(["drop", "majority", "keep"]),
)
def test_the_report_of_conflicts_counts_all_rows_whatever_became_of_them(
    rows: list[tuple[str, str]], policy: Literal["drop", "majority", "keep"]
) -> None:
    config = DataConfig(conflicting_labels=policy)
    raw = _raw(*rows, ("surely", "x"), ("certainly", "y"))
    found = find_conflicts(clean(raw, config), config)
    said: dict[str, list[str]] = {}
    for text, label in rows:
        said.setdefault(text.strip(), []).append(label)
    expected = {text: len(labels) for text, labels in said.items() if len(set(labels)) > 1}
    assert dict(found.select("text", "rows").iter_rows()) == expected
    for text, labels in found.select("text", "labels").iter_rows():
        assert labels.count(":") == len(set(said[text]))
        assert all(f"{label}: {said[text].count(label)}" in labels for label in said[text])


@pytest.mark.parametrize("task", ["generation", "preference"])
def test_free_answers_do_not_conflict(task: Literal["generation", "preference"]) -> None:
    config = DataConfig(task=task)
    assert find_conflicts(Cleaned(_raw(), _raw().with_columns(reason=pl.lit(""))), config).is_empty()
