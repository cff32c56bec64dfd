"""Messages between people and an assistant, as a row holds them: a list of role and content.

A text of `EXAMPLE_SCHEMA` that holds messages is their JSON, in one spelling. What is read may have ShareGPT's names,
`from` (human, gpt) and `value`, or be one text of all that was said, as in Anthropic's HH-RLHF.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeGuard

_ASSISTANT, _USER = "assistant", "user"
_ROLES: Final = ("system", _USER, _ASSISTANT, "tool")
_ROLE_OF: Final[Mapping[object, str]] = {"human": _USER, "gpt": _ASSISTANT, "Human": _USER, "Assistant": _ASSISTANT}
# Each message of Anthropic's texts begins so, the first one too.
_TURN: Final = re.compile(r"\n\n(Human|Assistant):")
_MESSAGE_KEYS: Final = ("role", "content")
# As JSON and as Python have it; a text that begins with other JSON is what somebody says.
_WRITTEN_LIST: Final = re.compile(r"""\s*\[\s*\{\s*["'](?:role|content|from|value)["']\s*:""")
_MAX_SHOWN: Final = 60

Messages = list[dict[str, str]]


@dataclass(frozen=True)
class Answer:
    """The assistant's last message.

    Attributes:
        before: The messages before it, which may be none.
        content: What it says.
    """

    before: Messages
    content: str


def read_messages(text: str) -> Messages:
    """The messages that a text holds."""
    found: Messages = json.loads(text)
    return found


def write_messages(messages: Sequence[Mapping[str, str]]) -> str:
    """One spelling for equal messages."""
    return json.dumps([{key: message[key] for key in _MESSAGE_KEYS} for message in messages], ensure_ascii=False)


def split_answer(values: Sequence[object]) -> tuple[object, object]:
    """The messages before the last answer, and that; nothing of nothing.

    Args:
        values: One: a list of messages.

    Raises:
        TypeError, ValueError: It is none, or ends with no answer, or begins with it.
    """
    if values[0] is None:
        return None, None
    answer = _answer_in(_checked(values[0]))
    return before_answers(None, answer.before), answer.content


def without_answer(values: Sequence[object]) -> tuple[object, object]:
    """The messages without the answer that they may end with; a text is a user's. As `split_answer` otherwise."""
    if values[0] is None:
        return None, None
    if _is_said(values[0]):
        return before_answers(values[0], []) if values[0].strip() else "", None
    messages = _checked(values[0])
    return before_answers(None, messages[:-1] if messages[-1]["role"] == _ASSISTANT else messages), None


def answer_in(name: str, value: object) -> Answer:
    """What a value answers: a text by itself, or messages up to an answer.

    Args:
        name: Of the answer, for messages.
        value: The value.

    Raises:
        TypeError, ValueError: It is neither.
    """
    if isinstance(value, str) and not _TURN.match(value):
        return Answer([], value)
    try:
        return _answer_in(_checked(value))
    except (TypeError, ValueError) as error:
        message = f"of the {name} answer, {error}"
        raise type(error)(message) from error


def before_answers(asked: object, before: Messages) -> str | None:
    """The messages that are answered.

    Args:
        asked: Messages, or what a user says, as a column of their own has it; None: there is none.
        before: What stands before the answers; it may begin with the messages that were asked.

    Raises:
        TypeError, ValueError: There is neither.
    """
    if _is_said(asked):
        first = [{"role": _USER, "content": asked}] if asked.strip() and not before else []
    else:
        first = [] if asked is None else _begun(_checked(asked))
    messages = before if before[: len(first)] == first else [*first, *before]
    if not messages:
        message = "there is an answer and no message before it"
        raise ValueError(message)
    return write_messages(messages)


def shown(value: object) -> str:
    """A value for a message to people."""
    # A Parquet column of lists arrives as a polars series, whose own text is a table.
    text = repr(value.to_list() if hasattr(value, "to_list") else value)
    return text if len(text) <= _MAX_SHOWN else f"{text[: _MAX_SHOWN - 1]}…"


def _begun(messages: Messages) -> Messages:
    """The same without the empty answer that Anthropic's prompts end with, where the answer is to go."""
    is_open = messages[-1]["role"] == _ASSISTANT and not messages[-1]["content"].strip()
    return messages[:-1] if is_open else messages


def _is_said(value: object) -> TypeGuard[str]:
    """Whether a value is what somebody says, and not messages that were written as text."""
    return isinstance(value, str) and not _TURN.match(value) and not _WRITTEN_LIST.match(value)


def _answer_in(messages: Messages) -> Answer:
    if messages[-1]["role"] != _ASSISTANT:
        message = f"the last message is of the role {messages[-1]['role']!r}, and must be the assistant's answer"
        raise ValueError(message)
    return Answer(messages[:-1], messages[-1]["content"])


def _checked(value: Any) -> Messages:
    """A list of messages, or an error that says which of them is none."""
    # A Parquet column of lists arrives as a polars series of structs.
    messages = value.to_list() if hasattr(value, "to_list") else value
    if isinstance(messages, str) and _TURN.match(messages):
        messages = _turns(messages)
    if not isinstance(messages, list) or not messages:
        message = f"the messages {shown(value)} are not a list with at least one"
        if isinstance(messages, str) and _WRITTEN_LIST.match(messages):
            message += ", but a text that looks like one: write the list itself, because JSON in a text is not read"
        raise TypeError(message)
    messages = [_renamed(found) for found in messages]
    for number, found in enumerate(messages, start=1):
        problem = _problem(found)
        if problem:
            message = f"message {number} of {len(messages)} {problem}"
            raise ValueError(message)
    return [{key: message[key] for key in _MESSAGE_KEYS} for message in messages]


def _turns(text: str) -> Messages:
    """The messages of a text that begins with the sign of one."""
    _, *parts = _TURN.split(text)
    turns = zip(parts[::2], parts[1::2], strict=True)
    return [{"role": _ROLE_OF[speaker], "content": content.strip()} for speaker, content in turns]


def _renamed(message: Any) -> Any:
    """ShareGPT's names of the same: who a message is from, and its value."""
    if not isinstance(message, dict) or message.get("from") is None or message.get("role") is not None:
        return message
    others = {key: value for key, value in message.items() if key not in ("from", "value")}
    return {**others, "role": _ROLE_OF.get(message["from"], message["from"]), "content": message.get("value")}


def _problem(message: Any) -> str:
    if not isinstance(message, dict):
        return f"is {shown(message)}, not an object with role and content"
    others = sorted(key for key, value in message.items() if key not in _MESSAGE_KEYS and value is not None)
    if others:
        return f"has {others} beside role and content, which cannot be trained on"
    if message.get("role") not in _ROLES:
        return f"has the role {shown(message.get('role'))}; it must be one of {', '.join(_ROLES)}"
    if not isinstance(message.get("content"), str):
        return f"has the content {shown(message.get('content'))}, which is not text"
    return ""
