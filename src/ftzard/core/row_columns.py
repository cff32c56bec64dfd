"""Which columns make a row, by task, and how they become its `text` and its `label`.

Whatever the task, a row as read has a text (what the model is asked) and a label (what it should answer):

    classification   the text, with its context below, and the name of its class
    multi_label      the text, and the names of its classes in one cell, or a column of 0 and 1 for each
    generation       the prompt, likewise, and its completion
    with messages    the messages up to the last answer as JSON, and that answer
    preference       the prompt, and the chosen and the rejected answer as JSON
    with messages    the messages up to the two answers as JSON, and those

So all that moves rows about (cleaning, splits, storage) has one shape to deal with.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import polars as pl

from ftzard.config import DataConfig
from ftzard.core.cell_values import canonical_label
from ftzard.core.conversations import answer_in, before_answers, shown, split_answer, without_answer
from ftzard.core.label_sets import cell_of_list, refuse_written_list

_COLUMNS: Final[Mapping[str, tuple[str, ...]]] = {
    "classification": ("text_column", "label_column"),
    "multi_label": ("text_column", "label_column"),
    "generation": ("prompt_column", "completion_column"),
    "preference": ("prompt_column", "chosen_column", "rejected_column"),
}

# A number of a table that holds fractions elsewhere ends in `.0`.
_YES: Final = frozenset({"1", "1.0", "true"})
_NO: Final = frozenset({"0", "0.0", "false"})

Combine = Callable[[Sequence[object]], tuple[object, object]]


@dataclass(frozen=True)
class RowColumns:
    """The columns that a row is read from.

    Attributes:
        names: Keys of `data` -> the column that each names, in the order in which `combine` takes the values. A key
            that names several has their numbers behind it, as `label_columns.0`.
        combine: From the values of the columns to text and label. Raises TypeError or ValueError, with what is wrong,
            where they are none.
        read_label: From a label to text; raises as `combine`.
        needs_structure: Whether a value is more than text, so that delimited files cannot hold it.
        optional: Those of the keys whose column a file may lack.
        placement: Names of `PLACEMENT_SCHEMA` -> the column, for those that are configured; a file may lack it.
    """

    names: Mapping[str, str]
    combine: Combine
    read_label: Callable[[object], str | None] = canonical_label
    needs_structure: bool = False
    optional: frozenset[str] = frozenset()
    placement: Mapping[str, str] = field(default_factory=dict)

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys of `data` that name the columns, those included that place a row."""
        placing = (f"{name}_column" for name in self.placement)
        return tuple(dict.fromkeys(key.partition(".")[0] for key in (*self.names, *placing)))


def row_columns(config: DataConfig, *, answered: bool = True) -> RowColumns:
    """The columns of a task.

    Args:
        config: Names the task and its columns.
        answered: Whether messages must end with an answer; without, one at their end is passed over.
    """
    if config.messages_column is not None:
        return _message_columns(config, config.messages_column, answered=answered)
    asked, *answers = _COLUMNS[config.task]
    names = {key: str(getattr(config, key)) for key in answers}
    combine: Combine = _join_pair if config.task == "preference" else _pass_on
    if config.label_columns:
        names = {f"label_columns.{number}": column for number, column in enumerate(config.label_columns)}
        combine = _marked(config.label_columns)
    if config.context_column is not None:
        # A question is none without a prompt; a body without a title is a text.
        combine = _with_context(combine, or_alone=config.has_labels)
        names = {"context_column": config.context_column, **names}
    names = {asked: str(getattr(config, asked)), **names}
    read_label = _labels_of(config) if config.task == "multi_label" else canonical_label
    return RowColumns(names, combine, read_label=read_label, placement=_placement(config))


def _message_columns(config: DataConfig, column: str, *, answered: bool) -> RowColumns:
    names, combine = {"messages_column": column}, split_answer if answered else without_answer
    optional: frozenset[str] = frozenset()
    if config.task == "preference":
        # The messages may stand at the beginning of both answers, and nowhere else.
        names |= {"chosen_column": config.chosen_column, "rejected_column": config.rejected_column}
        combine, optional = _join_conversations, frozenset({"messages_column"})
    return RowColumns(names, combine, needs_structure=True, optional=optional, placement=_placement(config))


def _placement(config: DataConfig) -> dict[str, str]:
    columns = {"group": config.group_column, "time": config.time_column}
    return {name: column for name, column in columns.items() if column is not None}


def read_pair(label: str) -> tuple[str, str]:
    """The chosen and the rejected answer that a label of `preference` holds."""
    found = json.loads(label)
    return found["chosen"], found["rejected"]


def write_pair(chosen: str, rejected: str) -> str:
    """One spelling for equal pairs."""
    return json.dumps({"chosen": chosen, "rejected": rejected}, ensure_ascii=False)


def _pass_on(values: Sequence[object]) -> tuple[object, object]:
    text, label = values
    return text, label


def _marked(columns: Sequence[str]) -> Combine:
    """The labels whose columns say so; none known where all are empty."""

    def join(values: Sequence[object]) -> tuple[object, object]:
        text, *marks = values
        if all(mark is None or mark == "" for mark in marks):
            return text, None
        return text, [column for column, mark in zip(columns, marks, strict=True) if _is_marked(column, mark)]

    return join


def _is_marked(column: str, mark: object) -> bool:
    said = str(mark).strip().lower()
    if said not in {*_YES, *_NO}:
        message = f"{shown(mark)} in the column {column!r} is neither 1 nor 0: whether the text has that label"
        raise ValueError(message)
    return said in _YES


def _with_context(combine: Combine, *, or_alone: bool) -> Combine:
    """The same, where the second value is the context of the first."""

    def join(values: Sequence[object]) -> tuple[object, object]:
        prompt, context, *answers = values
        if context is not None and not isinstance(context, str):
            message = f"the context {shown(context)} is not text"
            raise TypeError(message)
        if prompt is None and or_alone:
            prompt = context
        elif context and context.strip() and isinstance(prompt, str):
            prompt = f"{prompt.rstrip()}\n\n{context.strip()}".lstrip("\n")
        return combine((prompt, *answers))

    return join


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
            message = f"the {name} answer {shown(answer)} is not text"
            if isinstance(answer, (list, pl.Series)):
                message += (
                    "; data.messages_column (`ftzard init`: --messages) names the column of the messages before it"
                )
            raise TypeError(message)
    chosen, rejected = ("" if answer is None else str(answer) for answer in answers)
    # Half a pair is none.
    return text, write_pair(chosen, rejected) if chosen.strip() and rejected.strip() else None


def _join_conversations(values: Sequence[object]) -> tuple[object, object]:
    asked, *pair = values
    named = zip(("chosen", "rejected"), pair, strict=True)
    answers = [answer_in(name, answer) for name, answer in named if answer is not None]
    if asked is None and not answers:
        return None, None
    if any(answer.before != answers[0].before for answer in answers):
        message = "the chosen and the rejected answer end different messages, and a pair has one prompt"
        raise ValueError(message)
    contents = [answer.content for answer in answers if answer.content.strip()]
    # Half a pair is none.
    label = write_pair(*contents) if len(contents) == len(pair) else None
    return before_answers(asked, answers[0].before if answers else []), label
