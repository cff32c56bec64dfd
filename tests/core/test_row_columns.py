"""Prompts, completions, messages and pairs of answers become texts and labels; what cannot is named by its row."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftzard.config import DataConfig
from ftzard.core.intake import read_unlabelled
from ftzard.core.reading import read_batch
from ftzard.core.row_columns import read_messages, read_pair, write_messages, write_pair
from ftzard.errors import MalformedBatchError, MissingColumnError

_PROMPTS = DataConfig(task="generation")
_MESSAGES = DataConfig(task="generation", messages_column="messages")
_PAIRS = DataConfig(task="preference")
_TALK = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Who?"},
    {"role": "assistant", "content": "Me."},
]


def _read(folder: Path, name: str, content: str, config: DataConfig) -> pl.DataFrame:
    (folder / name).write_text(content, encoding="utf-8")
    return read_batch(folder / name, name, config)[0]


def _lines(*rows: dict[str, Any]) -> str:
    return "".join(f"{json.dumps(row)}\n" for row in rows)


def test_a_completion_is_the_label_of_its_prompt(tmp_path: Path) -> None:
    rows = _read(tmp_path, "a.csv", 'id,completion,prompt\n1,Paris,"Capital of\nFrance?"\n', _PROMPTS)
    assert rows.row(0) == ("Capital of\nFrance?", "Paris", "a.csv", 2)


def test_messages_are_split_at_the_last_answer_in_json_lines_and_in_parquet(tmp_path: Path) -> None:
    rows = _read(tmp_path, "a.jsonl", _lines({"messages": _TALK}), _MESSAGES)
    pl.DataFrame({"messages": [_TALK]}).write_parquet(tmp_path / "a.parquet")
    others, _ = read_batch(tmp_path / "a.parquet", "a.parquet", _MESSAGES)
    assert rows.select("text", "label").equals(others.select("text", "label"))
    assert read_messages(rows["text"][0]) == _TALK[:2]
    assert rows["label"][0] == "Me."


def test_a_pair_of_answers_is_one_label(tmp_path: Path) -> None:
    rows = _read(tmp_path, "a.csv", "prompt,chosen,rejected\nHi,Hello!,Go away.\n", _PAIRS)
    assert read_pair(rows["label"][0]) == ("Hello!", "Go away.")


def test_half_a_pair_is_none(tmp_path: Path) -> None:
    rows = _read(tmp_path, "a.csv", "prompt,chosen,rejected\nHi,Hello!,\n", _PAIRS)
    assert rows["label"].to_list() == [None]


@pytest.mark.parametrize(
    ("messages", "problem"),
    [
        ("Hi", "'Hi' are not a list"),
        ([], "not a list with at least one"),
        ('[{"role": "user", "content": "Hi"}]', "write the list itself, because JSON in a text is not read"),
        (["Hi"], "message 1 of 1 is 'Hi'"),
        ([{"role": "user"}, *_TALK], "message 1 of 4 has the content None"),
        ([{"role": "robot", "content": "x"}, *_TALK], "the role 'robot'; it must be one of system, user"),
        (_TALK[:2], "the last message is of the role 'user'"),
        (_TALK[2:], "no message before it"),
        ([_TALK[0], {**_TALK[1], "images": ["x"]}, _TALK[2]], "has ['images'] beside role and content"),
    ],
)
def test_messages_that_are_none_are_refused_with_file_and_line(tmp_path: Path, messages: object, problem: str) -> None:
    content = _lines({"messages": _TALK}, {"messages": messages})
    with pytest.raises(MalformedBatchError) as raised:
        _read(tmp_path, "talks.jsonl", content, _MESSAGES)
    assert raised.value.what.startswith("talks.jsonl, line 2: ")
    assert problem in raised.value.what
    assert "data.messages_column" in raised.value.fix


def test_messages_in_delimited_text_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MalformedBatchError, match="cannot hold the lists of messages") as raised:
        _read(tmp_path, "a.csv", "messages\nhello\n", _MESSAGES)
    assert ".jsonl" in raised.value.fix


@pytest.mark.parametrize(
    ("config", "header", "key"),
    [
        (_PROMPTS, "prompts,completion", "data.prompt_column"),
        (_PROMPTS, "prompt,answer", "data.completion_column"),
        (_PAIRS, "prompt,chosen,refused", "data.rejected_column"),
    ],
)
def test_a_missing_column_is_named_by_its_own_key(tmp_path: Path, config: DataConfig, header: str, key: str) -> None:
    values = ",".join("x" for _ in header.split(","))
    with pytest.raises(MissingColumnError) as raised:
        _read(tmp_path, "a.csv", f"{header}\n{values}\n", config)
    assert key in raised.value.fix


def test_an_answer_that_is_no_text_is_named_by_its_row(tmp_path: Path) -> None:
    with pytest.raises(MalformedBatchError, match=r"a\.jsonl, line 1: the chosen answer 3 is not text"):
        _read(tmp_path, "a.jsonl", _lines({"prompt": "x", "chosen": 3, "rejected": "y"}), _PAIRS)


@pytest.mark.parametrize(
    ("config", "name", "content"),
    [
        (_PROMPTS, "a.csv", "prompt\nWho?\n"),
        (_PAIRS, "a.csv", "prompt,note\nWho?,x\n"),
        (_PROMPTS, "a.jsonl", _lines({"prompt": "Who?"})),
    ],
)
def test_prompts_that_come_in_need_no_answers(tmp_path: Path, config: DataConfig, name: str, content: str) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    examples = read_unlabelled(tmp_path / name, name, config).examples
    assert examples["text"].to_list() == ["Who?"]
    assert examples["label"].to_list() == [None]


@pytest.mark.parametrize("messages", [_TALK, _TALK[:2]])
def test_messages_that_come_in_may_end_with_an_answer_which_is_passed_over(
    tmp_path: Path, messages: list[dict[str, str]]
) -> None:
    (tmp_path / "a.jsonl").write_text(_lines({"messages": messages}), encoding="utf-8")
    examples = read_unlabelled(tmp_path / "a.jsonl", "a.jsonl", _MESSAGES).examples
    assert read_messages(examples["text"][0]) == _TALK[:2]


@given(st.text(), st.text())
def test_what_is_written_is_read_again(one: str, other: str) -> None:
    messages = [{"role": "user", "content": one}, {"role": "assistant", "content": other}]
    assert read_messages(write_messages(messages)) == messages
    assert read_pair(write_pair(one, other)) == (one, other)
