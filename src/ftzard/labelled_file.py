"""A file of labelled texts that somebody brings along, read and cleaned as the pipeline will do it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import polars as pl

from ftzard.composition import validate
from ftzard.config import DataConfig
from ftzard.core.batch_names import KNOWN_SUFFIXES, is_passed_over, kind_of, printable
from ftzard.core.cleaning import clean, labels_of
from ftzard.core.label_names import label_counts, num_without_label
from ftzard.core.reading import read_batch
from ftzard.errors import FtzardError, MalformedBatchError, MissingColumnError, NoExamplesError, StorageError

_ELSE = "; or make the project without --data, put the file into its data/raw/ and say in conf/data/ how to read it"


@dataclass(frozen=True)
class LabelledFile:
    """Labelled texts that can be trained on.

    Attributes:
        path: The file.
        num_rows: Its rows, before cleaning.
        examples: `EXAMPLE_SCHEMA`, of what is left after cleaning.
        labels: Those of the examples, sorted.
        task: `data.task` as it was read: a text with one label, or with any number.
    """

    path: Path
    num_rows: int
    examples: pl.DataFrame
    labels: tuple[str, ...]
    task: Literal["classification", "multi_label"] = "classification"

    def label_counts(self) -> dict[str, int]:
        """The number of examples of each label, in the order of `labels`."""
        counts = label_counts(self.examples["label"], self.task)
        return {label: counts[label] for label in self.labels}

    @property
    def num_without_label(self) -> int:
        """Examples that say that they have none of the labels."""
        return num_without_label(self.examples["label"], self.task)


def read_labelled_file(
    path: Path, text_column: str, label_column: str, label_separator: str | None = None
) -> LabelledFile:
    """Read a file of labelled texts, and see that there is something to learn from it.

    Args:
        path: The file.
        text_column: Its column with the texts.
        label_column: Its column with the labels.
        label_separator: What separates the labels of a text; None: each has one.

    Raises:
        ConfigError: The separator can be none.
        StorageError: There is no such file, or it cannot be read.
        MalformedBatchError: It is of a kind that is not read, or not what its name says.
        MissingColumnError: It lacks a column; the message names those it has.
        NoExamplesError: No row has a label, or none is left after cleaning.
        SingleClassError: All rows carry the same label.
        FtzardError: As `read_batch`.
    """
    path = path.expanduser().resolve()
    _check_file(path)
    several = {} if label_separator is None else {"task": "multi_label", "label_separator": label_separator}
    config = validate({"data": {"text_column": text_column, "label_column": label_column, **several}}).data
    rows = _read(path, config)
    if rows["label"].fill_null("").str.strip_chars().eq("").all():
        raise NoExamplesError(
            f"the column {label_column!r} of {path} is empty in all {rows.height} rows",
            fix="name the column that holds the labels with --label",
        )
    examples = clean(rows, config).examples
    return LabelledFile(
        path, rows.height, examples, labels_of(examples, config), "multi_label" if several else "classification"
    )


def _check_file(path: Path) -> None:
    if not path.is_file():
        what = "is a folder, not a file" if path.is_dir() else "is no file" if path.exists() else "does not exist"
        raise StorageError(
            f"{printable(str(path))} {what}", fix="give the path of a file with labelled texts to --data"
        )
    if kind_of(path.name) is None or is_passed_over(path.name):
        raise MalformedBatchError(
            f"{printable(path.name)} is no name under which FTzard looks for data",
            fix=f"name the file by what it is ({KNOWN_SUFFIXES}), with no '.' or '~' at its beginning",
        )


def _read(path: Path, config: DataConfig) -> pl.DataFrame:
    try:
        return read_batch(path, str(path), config)[0]
    except MissingColumnError as error:
        raise MissingColumnError(
            error.what, fix=f"name its columns with --text and --label; a file needs a first row with names{_ELSE}"
        ) from error
    except FtzardError as error:
        raise type(error)(error.what, fix=error.fix + _ELSE) from error
