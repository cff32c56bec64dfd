"""Prompts, completions, messages and pairs of answers become texts and labels; what cannot is named by its row."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftzard.config import DataConfig
from ftzard.core.conversations import read_messages, write_messages
from ftzard.core.intake import read_unlabelled
from ftzard.core.reading import read_batch
from ftzard.core.row_columns import read_pair, write_pair
from ftzard.errors import MalformedBatchError, MissingColumnError

_PROMPTS = DataConfig(task="generation")
_MESSAGES = DataConfig(task="generation", messages_column="messages")
_PAIRS = DataConfig(task="preference")
_PAIRS_OF_TALKS = DataConfig(task="preference", messages_column="prompt")
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


_WITH_CONTEXT = DataConfig(task="generation", prompt_column="q", context_column="input", completion_column="a")


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_a_context_stands_below_its_prompt_where_there_is_one(tmp_path: Path, suffix: str) -> None:
    rows = [{"q": "Sum up.", "input": "Once\nupon.", "a": "A tale."}, {"q": "Hi!", "input": "", "a": "Hello."}]
    path = tmp_path / f"a.{suffix}"
    if suffix == "jsonl":
        path.write_text(_lines(*rows, {"q": "Bye!", "a": "See you."}))
    else:
        frame = pl.DataFrame([*rows, {"q": "Bye!", "input": None, "a": "See you."}])
        frame.write_csv(path) if suffix == "csv" else frame.write_parquet(path)
    found, _ = read_batch(path, path.name, _WITH_CONTEXT)
    assert found["text"].to_list() == ["Sum up.\n\nOnce\nupon.", "Hi!", "Bye!"]
    assert found["label"].to_list() == ["A tale.", "Hello.", "See you."]
    asked = read_unlabelled(path, path.name, _WITH_CONTEXT).examples
    assert asked["text"].to_list() == ["Sum up. Once upon.", "Hi!", "Bye!"]


def test_a_context_without_a_prompt_is_none_and_one_that_is_no_text_is_named(tmp_path: Path) -> None:
    found = _read(tmp_path, "a.jsonl", _lines({"q": None, "input": "x", "a": "y"}), _WITH_CONTEXT)
    assert found["text"].to_list() == [None]
    with pytest.raises(MalformedBatchError, match=r"line 1.*the context \[1\] is not text"):
        _read(tmp_path, "b.jsonl", _lines({"q": "q", "input": [1], "a": "y"}), _WITH_CONTEXT)
    with pytest.raises(MissingColumnError, match="'input'"):
        _read(tmp_path, "c.csv", "q,a\n1,2\n", _WITH_CONTEXT)


@pytest.mark.parametrize("task", ["classification", "multi_label"])
def test_a_title_has_its_body_below_it_and_either_is_a_text(tmp_path: Path, task: Any) -> None:
    config = DataConfig(task=task, text_column="title", context_column="body")
    content = "title,body,label\nRain,It falls.,a\nSun,,b\n,Alone.,a\n"
    rows = _read(tmp_path, "a.csv", content, config)
    assert rows["text"].to_list() == ["Rain\n\nIt falls.", "Sun", "Alone."]
    assert rows["label"].to_list() == ["a", "b", "a"]
    nulls = _read(tmp_path, "a.jsonl", _lines({"title": None, "body": "Alone.", "label": "a"}), config)
    assert nulls["text"].to_list() == ["Alone."]
    asked = read_unlabelled(tmp_path / "a.csv", "a.csv", config).examples
    assert asked["text"].to_list() == ["Rain It falls.", "Sun", "Alone."]
    with pytest.raises(MalformedBatchError, match=r"line 1.*column 'label'"):
        _read(tmp_path, "b.jsonl", _lines({"title": "a", "body": "b", "label": {"a": 1}}), config)


def test_a_context_of_a_pair_stands_below_its_prompt_too(tmp_path: Path) -> None:
    pairs = DataConfig(task="preference", context_column="context")
    found = _read(tmp_path, "a.csv", "prompt,chosen,rejected,context\nWho?,Me,You,Here.\n", pairs)
    assert (found["text"][0], read_pair(found["label"][0])) == ("Who?\n\nHere.", ("Me", "You"))


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


_ASKED = [{"role": "user", "content": "Hi"}]
_LIKED, _OTHER = {"role": "assistant", "content": "Hello!"}, {"role": "assistant", "content": "Go away."}


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": _ASKED, "chosen": [_LIKED], "rejected": [_OTHER]},
        {"chosen": [*_ASKED, _LIKED], "rejected": [*_ASKED, _OTHER]},
        {"prompt": _ASKED, "chosen": [*_ASKED, _LIKED], "rejected": [*_ASKED, _OTHER]},
        {"prompt": "Hi", "chosen": [*_ASKED, _LIKED], "rejected": [*_ASKED, _OTHER], "score_chosen": 8.5},
        {"prompt": "Hi", "chosen": [_LIKED], "rejected": [_OTHER]},
        {"prompt": _ASKED, "chosen": "Hello!", "rejected": "Go away."},
    ],
    ids=["explicit", "implicit", "both", "a prompt in words too", "a prompt in words alone", "answers in words"],
)
@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_pairs_of_conversations_are_read_as_they_come(tmp_path: Path, row: dict[str, Any], suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    if suffix == "parquet":
        pl.DataFrame([row]).write_parquet(path)
    else:
        path.write_text(_lines(row))
    rows, _ = read_batch(path, path.name, _PAIRS_OF_TALKS)
    assert read_messages(rows["text"][0]) == _ASKED
    assert read_pair(rows["label"][0]) == ("Hello!", "Go away.")


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"chosen": [_LIKED], "rejected": [_OTHER]}, "no message before it"),
        ({"chosen": [*_ASKED, _LIKED], "rejected": [*_TALK[:2], _OTHER]}, "end different messages"),
        ({"prompt": _ASKED, "chosen": _ASKED, "rejected": [_OTHER]}, "of the chosen answer, the last message is of"),
        (
            {"prompt": _ASKED, "chosen": [_LIKED], "rejected": [{"role": "bot", "content": "x"}]},
            "of the rejected answer",
        ),
        ({"prompt": _ASKED, "chosen": 7, "rejected": [_OTHER]}, "of the chosen answer, the messages 7 are not a list"),
    ],
)
def test_pairs_of_conversations_that_are_none_are_refused(tmp_path: Path, row: dict[str, Any], problem: str) -> None:
    with pytest.raises(MalformedBatchError, match=rf"a\.jsonl, line 1.*{problem}"):
        _read(tmp_path, "a.jsonl", _lines(row), _PAIRS_OF_TALKS)


def test_pairs_of_conversations_say_how_they_are_read_where_texts_are_expected(tmp_path: Path) -> None:
    row = {"prompt": "Hi", "chosen": [*_ASKED, _LIKED], "rejected": [*_ASKED, _OTHER]}
    with pytest.raises(MalformedBatchError, match=r"data\.messages_column .* names the column"):
        _read(tmp_path, "a.jsonl", _lines(row), _PAIRS)


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": _ASKED, "chosen": [_LIKED], "rejected": None},
        {"chosen": [*_ASKED, _LIKED], "rejected": None},
        {"chosen": None, "rejected": [*_ASKED, _OTHER]},
    ],
)
def test_half_a_pair_of_conversations_is_none(tmp_path: Path, row: dict[str, Any]) -> None:
    rows = _read(tmp_path, "a.jsonl", _lines(row), _PAIRS_OF_TALKS)
    assert (read_messages(rows["text"][0]), rows["label"].to_list()) == (_ASKED, [None])


def test_messages_that_were_written_as_text_are_no_users_text_before_a_pair(tmp_path: Path) -> None:
    row = {"prompt": json.dumps(_ASKED), "chosen": [_LIKED], "rejected": [_OTHER]}
    with pytest.raises(MalformedBatchError, match="write the list itself"):
        _read(tmp_path, "a.jsonl", _lines(row), _PAIRS_OF_TALKS)


def test_messages_with_sharegpts_names_are_the_same_messages(tmp_path: Path) -> None:
    names = {"system": "system", "user": "human", "assistant": "gpt"}
    shared = [{"from": names[message["role"]], "value": message["content"]} for message in _TALK]
    weighted = [{**message, "weight": None} for message in shared]
    rows = _read(tmp_path, "a.jsonl", _lines({"messages": shared}, {"messages": weighted}), _MESSAGES)
    for text, label in rows.select("text", "label").iter_rows():
        assert (read_messages(text), label) == (_TALK[:2], "Me.")
    counted = [{**message, "weight": 1} for message in shared]
    with pytest.raises(MalformedBatchError, match=r"has \['weight'\] beside role and content"):
        _read(tmp_path, "b.jsonl", _lines({"messages": counted}), _MESSAGES)


def test_pairs_of_texts_of_all_that_was_said_are_pairs_of_chats(tmp_path: Path) -> None:
    said = "\n\nHuman: Hi\n\nAssistant: Hello!\n\nHuman: Who\nare you?\n\nAssistant:"
    row = {"chosen": f"{said} Me.", "rejected": f"{said} Go away."}
    apart = {"prompt": said, "chosen": " Me.", "rejected": " Go away."}
    rows = _read(tmp_path, "a.jsonl", _lines(row, {"prompt": said, **row}, apart), _PAIRS_OF_TALKS)
    asked = [*_ASKED, _LIKED, {"role": "user", "content": "Who\nare you?"}]
    for text, label in rows.select("text", "label").iter_rows():
        assert (read_messages(text), [answer.strip() for answer in read_pair(label)]) == (asked, ["Me.", "Go away."])
    (tmp_path / "b.jsonl").write_text(_lines({"prompt": said}), encoding="utf-8")
    coming = read_unlabelled(tmp_path / "b.jsonl", "b.jsonl", _PAIRS_OF_TALKS).examples
    assert [message["role"] for message in read_messages(coming["text"][0])] == ["user", "assistant", "user"]


def test_texts_that_differ_before_their_answers_are_no_pair(tmp_path: Path) -> None:
    row = {"chosen": "\n\nHuman: Hi\n\nAssistant: Me.", "rejected": "\n\nHuman: Ho\n\nAssistant: You."}
    with pytest.raises(MalformedBatchError, match="end different messages"):
        _read(tmp_path, "a.jsonl", _lines(row), _PAIRS_OF_TALKS)


def test_half_a_pair_is_none(tmp_path: Path) -> None:
    rows = _read(tmp_path, "a.csv", "prompt,chosen,rejected\nHi,Hello!,\n", _PAIRS)
    assert rows["label"].to_list() == [None]


_MARKED = DataConfig(task="multi_label", label_columns=("rude", "late"))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", "text,rude,late\nboth,1,1\none,0,1.0\nnone,0,0.0\nunknown,,\n"),
        (
            "a.jsonl",
            (
                '{"text": "both", "rude": 1, "late": true}\n{"text": "one", "rude": 0.0, "late": 1}\n'
                '{"text": "none", "rude": false, "late": 0}\n{"text": "unknown", "rude": null}\n'
            ),
        ),
    ],
)
def test_labels_that_have_a_column_each_are_a_set(tmp_path: Path, name: str, content: str) -> None:
    rows = _read(tmp_path, name, content, _MARKED)
    assert dict(rows.select("text", "label").iter_rows()) == {
        "both": "rude|late",
        "one": "late",
        "none": "[]",
        "unknown": None,
    }


@pytest.mark.parametrize("mark", ["0.7", "-1", "", "yes"])
def test_what_marks_no_label_and_does_not_say_that_there_is_none_is_refused(tmp_path: Path, mark: str) -> None:
    with pytest.raises(MalformedBatchError, match=rf"a\.csv, line 3.*'{mark}' in the column 'late' is neither 1 nor 0"):
        _read(tmp_path, "a.csv", f"text,rude,late\na,1,0\nb,0,{mark}\n", _MARKED)


def test_a_file_without_one_of_the_labels_columns_is_told_how_they_are_named(tmp_path: Path) -> None:
    with pytest.raises(MissingColumnError, match="no column 'late'") as caught:
        _read(tmp_path, "a.csv", "text,rude\na,1\n", _MARKED)
    assert "data.label_columns=[NAME,NAME]" in caught.value.fix


def test_a_user_may_ask_about_json(tmp_path: Path) -> None:
    asked = '[{"user": "Ada"}] as YAML, please'
    rows = _read(tmp_path, "a.jsonl", _lines({"prompt": asked, "chosen": "y", "rejected": "n"}), _PAIRS_OF_TALKS)
    assert read_messages(rows["text"][0]) == [{"role": "user", "content": asked}]


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


def test_a_text_that_comes_in_where_messages_are_expected_is_what_a_user_says(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(_lines({"messages": "Who?"}), encoding="utf-8")
    examples = read_unlabelled(tmp_path / "a.jsonl", "a.jsonl", _MESSAGES).examples
    assert read_messages(examples["text"][0]) == [{"role": "user", "content": "Who?"}]
