"""Which columns make a row, by task, and how they become its `text` and its `label`.

Whatever the task, a row as read has a text (what the model is asked) and a label (what it should answer):

    classification   the text, and the name of its class
    multi_label      the text, and the names of its classes in one cell
    generation       the prompt, and its completion
    with messages    the messages up to the last answer as JSON, and that answer
    preference       the prompt, and the chosen and the rejected answer as JSON

So all that moves rows about (cleaning, splits, storage) has one shape to deal with.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import polars as pl

from ftzard.config import DataConfig
from ftzard.core.cell_values import canonical_label
from ftzard.core.label_sets import cell_of_list, refuse_written_list

_ROLES: Final = ("system", "user", "assistant", "tool")
_MESSAGE_KEYS: Final = ("role", "content")
_MAX_SHOWN: Final = 60
_COLUMNS: Final[Mapping[str, tuple[str, ...]]] = {
    "classification": ("text_column", "label_column"),
    "multi_label": ("text_column", "label_column"),
    "generation": ("prompt_column", "completion_column"),
    "preference": ("prompt_column", "chosen_column", "rejected_column"),
}

Combine = Callable[[Sequence[object]], tuple[object, object]]


@dataclass(frozen=True)
class RowColumns:
    """The columns that a row is read from.

    Attributes:
        names: Keys of `data` -> the column that each names, in the order in which `combine` takes the values.
        combine: From the values of the columns to text and label. Raises TypeError or ValueError, with what is wrong,
            where they are none.
        read_label: From a label to text; raises as `combine`.
        needs_structure: Whether a value is more than text, so that delimited files cannot hold it.
        placement: Names of `PLACEMENT_SCHEMA` -> the column, for those that are configured; a file may lack it.
    """

    names: Mapping[str, str]
    combine: Combine
    read_label: Callable[[object], str | None] = canonical_label
    needs_structure: bool = False
    placement: Mapping[str, str] = field(default_factory=dict)


def row_columns(config: DataConfig, *, answered: bool = True) -> RowColumns:
    """The columns of a task.

    Args:
        config: Names the task and its columns.
        answered: Whether messages must end with an answer; without, one at their end is passed over.
    """
    if config.messages_column is not None:
        messages, split = {"messages_column": config.messages_column}, _split_messages if answered else _ask
        return RowColumns(messages, split, needs_structure=True, placement=_placement(config))
    keys = _COLUMNS[config.task]
    names = {key: str(getattr(config, key)) for key in keys}
    combine = _join_pair if config.task == "preference" else _pass_on
    read_label = _labels_of(config) if config.task == "multi_label" else canonical_label
    return RowColumns(names, combine, read_label=read_label, placement=_placement(config))


def _placement(config: DataConfig) -> dict[str, str]:
    columns = {"group": config.group_column, "time": config.time_column}
    return {name: column for name, column in columns.items() if column is not None}


def read_messages(text: str) -> list[dict[str, str]]:
    """The messages that a text of a `generation` with messages holds; see `is_messages`."""
    found: list[dict[str, str]] = json.loads(text)
    return found


def read_pair(label: str) -> tuple[str, str]:
    """The chosen and the rejected answer that a label of `preference` holds."""
    found = json.loads(label)
    return found["chosen"], found["rejected"]


def write_messages(messages: Sequence[Mapping[str, str]]) -> str:
    """One spelling for equal messages."""
    return json.dumps([{key: message[key] for key in _MESSAGE_KEYS} for message in messages], ensure_ascii=False)


def write_pair(chosen: str, rejected: str) -> str:
    """One spelling for equal pairs."""
    return json.dumps({"chosen": chosen, "rejected": rejected}, ensure_ascii=False)


def _pass_on(values: Sequence[object]) -> tuple[object, object]:
    text, label = values
    return text, label


def _labels_of(config: DataConfig) -> Callable[[object], str | None]:
    def read(label: object) -> str | None:
        # A Parquet column of lists arrives as polars series.
        found: Any = label.to_list() if isinstance(label, pl.Series) else label
        if isinstance(found, list):
            return cell_of_list(found, config)
        return refuse_written_list(found) if isinstance(found, str) else canonical_label(found)

    return read


def _join_pair(values: Sequence[object]) -> tuple[object, object]:
    text, *answers = values
    for name, answer in zip(("chosen", "rejected"), answers, strict=True):
        if answer is not None and not isinstance(answer, str):
            message = f"the {name} answer {_shown(answer)} is not text"
            raise TypeError(message)
    chosen, rejected = ("" if answer is None else str(answer) for answer in answers)
    # Half a pair is none.
    return text, write_pair(chosen, rejected) if chosen.strip() and rejected.strip() else None


def _split_messages(values: Sequence[object]) -> tuple[object, object]:
    if values[0] is None:
        return None, None
    messages = _checked(values[0])
    if messages[-1]["role"] != "assistant":
        message = f"the last message is of the role {messages[-1]['role']!r}, and must be the assistant's answer"
        raise ValueError(message)
    if len(messages) == 1:
        message = "there is an answer and no message before it"
        raise ValueError(message)
    return write_messages(messages[:-1]), messages[-1]["content"]


def _ask(values: Sequence[object]) -> tuple[object, object]:
    """The messages without the answer that they may end with."""
    if values[0] is None:
        return None, None
    messages = _checked(values[0])
    asked = messages[:-1] if messages[-1]["role"] == "assistant" else messages
    if not asked:
        message = "there is an answer and no message before it"
        raise ValueError(message)
    return write_messages(asked), None


def _checked(value: Any) -> list[dict[str, str]]:
    """A list of messages, or an error that says which of them is none."""
    # A Parquet column of lists arrives as a polars series of structs.
    messages = value.to_list() if hasattr(value, "to_list") else value
    if not isinstance(messages, list) or not messages:
        message = f"the messages {_shown(value)} are not a list with at least one"
        if isinstance(messages, str) and messages.lstrip().startswith("["):
            message += ", but a text that looks like one: write the list itself, because JSON in a text is not read"
        raise TypeError(message)
    for number, found in enumerate(messages, start=1):
        problem = _problem(found)
        if problem:
            message = f"message {number} of {len(messages)} {problem}"
            raise ValueError(message)
    return messages


def _problem(message: Any) -> str:
    if not isinstance(message, dict):
        return f"is {_shown(message)}, not an object with role and content"
    others = sorted(key for key, value in message.items() if key not in _MESSAGE_KEYS and value is not None)
    if others:
        return f"has {others} beside role and content, which cannot be trained on"
    if message.get("role") not in _ROLES:
        return f"has the role {_shown(message.get('role'))}; it must be one of {', '.join(_ROLES)}"
    if not isinstance(message.get("content"), str):
        return f"has the content {_shown(message.get('content'))}, which is not text"
    return ""


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _MAX_SHOWN else f"{text[: _MAX_SHOWN - 1]}…"
