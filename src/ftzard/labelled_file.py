"""A file of labelled texts, or of prompts with answers, that somebody brings along, read as the pipeline will do it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import polars as pl

from ftzard.composition import validate
from ftzard.config import DataConfig
from ftzard.core.batch_names import is_passed_over, kind_of, printable, remedy_for
from ftzard.core.cleaning import clean, labels_of
from ftzard.core.cleaning_answers import clean_answers
from ftzard.core.label_names import label_counts, num_without_label
from ftzard.core.label_sets import SEPARATOR
from ftzard.core.reading import read_batch
from ftzard.core.records import Cleaned
from ftzard.errors import FtzardError, MalformedBatchError, MissingColumnError, NoExamplesError, StorageError

_ELSE = "; or make the project without --data, put the file into its data/raw/ and say in conf/data/ how to read it"
# What people put between labels, beside `|`.
_SIGNS: Final = (";", ",", "/")
_MISSING_LABEL: Final = "missing_label"
# Of prompts and answers line breaks mean something.
ANSWER_STEPS: Final = ("unicode_nfc",)


@dataclass(frozen=True)
class LabelColumns:
    """Where the texts and their labels stand.

    Attributes:
        text: The column with the texts.
        labels: The column with the labels; or columns of 0 and 1, one for each label.
        separator: What separates the labels of a text, which can then have any number; None: each has one.
        context: The column with what stands below the text, such as the body under a title; None for none.
    """

    text: str = DataConfig.text_column
    labels: tuple[str, ...] = (DataConfig.label_column,)
    separator: str | None = None
    context: str | None = None

    @property
    def are_marks(self) -> bool:
        """Whether each label has a column of its own."""
        return len(self.labels) > 1

    @property
    def values(self) -> dict[str, Any]:
        """The section `data` that says so."""
        of_labels: dict[str, Any] = (
            {"label_columns": self.labels} if self.are_marks else {"label_column": self.labels[0]}
        )
        if self.are_marks or self.separator is not None:
            of_labels |= {"task": "multi_label"}
        if self.separator is not None:
            of_labels |= {"label_separator": self.separator}
        context = {} if self.context is None else {"context_column": self.context}
        return {"text_column": self.text, **context, **of_labels}


@dataclass(frozen=True)
class AnswerColumns:
    """That answers are learned and not labels, and where they stand.

    Attributes:
        task: To write answers, or which of two is liked.
        names: Keys of `data` -> the columns of a file.
    """

    task: Literal["generation", "preference"]
    names: Mapping[str, str]

    @property
    def values(self) -> dict[str, Any]:
        """The section `data` that says so."""
        return {"task": self.task, **self.names, "cleaning_steps": ANSWER_STEPS}


@dataclass(frozen=True)
class LabelledFile:
    """Labelled texts, or prompts with answers, that can be trained on.

    Attributes:
        path: The file.
        num_rows: Its rows, before cleaning.
        examples: `EXAMPLE_SCHEMA`, of what is left after cleaning.
        labels: Those of the examples, sorted; none where they have answers.
        task: `data.task` as it was read.
        left_out: Reason code -> the number of rows that did not become examples for it, the most frequent first.
    """

    path: Path
    num_rows: int
    examples: pl.DataFrame
    labels: tuple[str, ...]
    task: Literal["classification", "multi_label", "generation", "preference"] = "classification"
    left_out: Mapping[str, int] = field(default_factory=dict)

    def label_counts(self) -> dict[str, int]:
        """The number of examples of each label, in the order of `labels`."""
        counts = label_counts(self.examples["label"], self.task) if self.labels else {}
        return {label: counts[label] for label in self.labels}

    @property
    def num_without_label(self) -> int:
        """Examples that say that they have none of the labels."""
        return num_without_label(self.examples["label"], self.task)


def read_labelled_file(path: Path, columns: LabelColumns) -> LabelledFile:
    """Read a file of labelled texts, and see that there is something to learn from it.

    Args:
        path: The file.
        columns: Its columns.

    Raises:
        ConfigError: A column or the separator can be none.
        StorageError: There is no such file, or it cannot be read.
        MalformedBatchError: It is of a kind that is not read, or not what its name says.
        MissingColumnError: It lacks a column; the message names those it has.
        NoExamplesError: No row has a label, or none is left after cleaning.
        SingleClassError: All rows carry the same label.
        FtzardError: As `read_batch`.
    """
    path = path.expanduser().resolve()
    _check_file(path)
    config = validate({"data": columns.values}).data
    rows = _read(path, config, "--text and --label")
    if rows["label"].fill_null("").str.strip_chars().eq("").all():
        raise NoExamplesError(
            f"the column {', '.join(map(repr, columns.labels))} of {path} is empty in all {rows.height} rows",
            fix="name the column that holds the labels with --label",
        )
    cleaned = clean(rows, config)
    labels = labels_of(cleaned.examples, config)
    return LabelledFile(path, rows.height, cleaned.examples, labels, config.task, _left_out(cleaned))


def read_answer_file(path: Path, columns: AnswerColumns) -> LabelledFile:
    """Read a file of prompts with answers, and see that there is something to learn from it.

    Args:
        path: The file.
        columns: Its columns.

    Raises:
        ConfigError: A column cannot have such a name.
        NoExamplesError: No prompt has an answer.
        FtzardError: As `read_labelled_file`.
    """
    path = path.expanduser().resolve()
    _check_file(path)
    config = validate({"data": columns.values}).data
    options = " and ".join(f"--{key.removesuffix('_column')}" for key in columns.names)
    if columns.task == "preference" and "prompt_column" in columns.names:
        options += (
            "; where both answers begin with the messages that they answer, `--messages prompt` stands for --prompt"
        )
    rows = _read(path, config, options)
    try:
        cleaned = clean_answers(rows, config)
    except NoExamplesError as error:
        raise NoExamplesError(error.what, fix=f"look at {path}, and name its columns with {options}") from error
    return LabelledFile(path, rows.height, cleaned.examples, (), columns.task, _left_out(cleaned))


def doubts_about_labels(labelled: LabelledFile) -> list[str]:
    """What looks as if the labels were others than the person takes them for; sentences for them to read."""
    doubts = []
    if labelled.task == "multi_label" and (num_empty := labelled.left_out.get(_MISSING_LABEL)):
        doubts.append(
            f"{num_empty} rows are left out because their cell for labels is empty, which says that a label is "
            f"missing. If they have none of the labels, write {DataConfig.no_label!r} into it, or 0 where each label "
            "has a column."
        )
    if labelled.task == "multi_label" and set(labelled.labels) == {"0", "1"}:
        doubts.append(
            "The labels are '0' and '1'. Where a file has a column for each label, name them all: "
            "`--label food --label travel`."
        )
    if several := [label for label in labelled.labels if SEPARATOR in label]:
        doubts.append(
            f"Labels such as {several[0]!r} look like several: `--multi-label` makes a project in which a text can "
            "have any number of them."
        )
    elif (sign := _separator_among(labelled.labels)) is not None:
        example = next(label for label in labelled.labels if sign in label.strip(f"{sign} "))
        doubts.append(
            f"Labels such as {example!r} look like several with {sign!r} between them: `--label-separator {sign!r}` "
            "makes a project in which a text can have any number of them."
        )
    elif labelled.task == "classification" and len(labelled.labels) > labelled.examples.height / 2:
        doubts.append(
            f"{labelled.examples.height} examples have {len(labelled.labels)} different labels. If these are answers "
            "that a model should write: `--prompt COLUMN --completion COLUMN` makes a project in which it learns to."
        )
    return doubts


def _left_out(cleaned: Cleaned) -> dict[str, int]:
    counts = cleaned.rejected["reason"].value_counts(sort=True).sort("count", "reason", descending=[True, False])
    return dict(counts.iter_rows())


def _separator_among(labels: Sequence[str]) -> str | None:
    """A sign that stands in several labels, and between parts that are no more than the labels are."""
    for sign in _SIGNS:
        parts = {part.strip() for label in labels for part in label.split(sign)} - {""}
        joined = [label for label in labels if sign in label.strip(f"{sign} ")]
        if len(joined) > 1 and len(parts) <= len(labels):
            return sign
    return None


def _check_file(path: Path) -> None:
    if not path.is_file():
        what = "is a folder, not a file" if path.is_dir() else "is no file" if path.exists() else "does not exist"
        raise StorageError(
            f"{printable(str(path))} {what}", fix="give the path of a file with labelled texts to --data"
        )
    if kind_of(path.name) is None or is_passed_over(path.name):
        raise MalformedBatchError(
            f"{printable(path.name)} is no name under which FTzard looks for data",
            fix=f"{remedy_for(path.name)}, with no '.' or '~' at its beginning",
        )


def _read(path: Path, config: DataConfig, options: str) -> pl.DataFrame:
    try:
        return read_batch(path, str(path), config)[0]
    except MissingColumnError as error:
        raise MissingColumnError(
            error.what, fix=f"name its columns with {options}; a file needs a first row with names{_ELSE}"
        ) from error
    except FtzardError as error:
        raise type(error)(error.what, fix=error.fix + _ELSE) from error
