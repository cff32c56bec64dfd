"""The section `data`: what is read, how it is cleaned and how it is split."""

from dataclasses import field
from pathlib import PurePosixPath
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator
from pydantic.dataclasses import dataclass

from ftzard.config.fields import STRICT, Fraction, Name, NonNegativeInt, PositiveInt, ProjectPath, Seed

_FRACTION_TOLERANCE = 1e-6
_LABELLED = ("classification", "multi_label")
# What stands in every cell of `multi_label` whatever is configured; see `ftzard.core.label_sets`.
_RESERVED = ("|", "[]")


@dataclass(frozen=True, config=STRICT)
class DataConfig:
    """Where batches are, how they are read and cleaned, and how examples are split."""

    raw_dir: ProjectPath = "data/raw"
    labelled_dir: ProjectPath = "data/labelled"
    # Where files without labels arrive, and where those of them that cannot be read are moved to.
    incoming_dir: ProjectPath = "data/incoming"
    rejected_dir: ProjectPath = "data/rejected"
    # What a row is: a text and its label, a text and any number of labels, a prompt and its completion, or a prompt and
    # a chosen and a rejected answer.
    task: Literal["classification", "multi_label", "generation", "preference"] = "classification"
    text_column: Name = "text"
    label_column: Name = "label"
    # For multi_label, instead of label_column: a column for each label and named like it, with 1 in the rows that have
    # the label and 0 in the others (or true and false).
    label_columns: tuple[Name, ...] = ()
    # For generation and preference; the prompt of both, then what answers it.
    prompt_column: Name = "prompt"
    completion_column: Name = "completion"
    # What belongs to the prompt or the text and has a column of its own (Alpaca's `input`, Dolly's `context`, the body
    # below a title): it is put below, after an empty line, where a row has any.
    context_column: Name | None = None
    chosen_column: Name = "chosen"
    rejected_column: Name = "rejected"
    # Lists of {role, content}. For generation, instead of prompt and completion: each ends with the assistant's answer.
    # For preference, instead of the prompt: what both answers answer, where they do not begin with it themselves.
    messages_column: Name | None = None
    # Names for the columns of files without a header row; empty means that the first row is the header.
    column_names: tuple[str, ...] = ()
    encoding: Name = "auto"
    delimiter: Name = "auto"
    # The share of a text file's bytes that may be no text in its encoding: they become U+FFFD, and are counted.
    max_replaced_fraction: Fraction = 0.0
    # A larger file is refused, as is one that has more bytes when it is unpacked: files are read in memory. 4 GiB.
    max_file_bytes: PositiveInt = 4 * 1024**3
    # What a file says -> the label, for example {"0": "negative", "4": "positive"}. Empty: labels are taken as read.
    label_mapping: dict[str, str] = field(default_factory=dict)
    # The labels that may occur, in the order of the classifier's outputs. Empty: those found, sorted.
    labels: tuple[str, ...] = ()
    # For multi_label: what separates the labels of a cell, beside `|`, which always does; and the word of a cell for a
    # text that has none of the labels, beside `[]`. An empty cell is a label that is missing.
    label_separator: Name = "|"
    no_label: Name = "none"
    # The share of the rows of a file that may be set aside because they cannot be read, or because their label is
    # unknown; with more the file is an error. 0: every row must be right.
    max_quarantined_fraction: Fraction = 0.05
    cleaning_steps: tuple[str, ...] = ("unicode_nfc", "collapse_whitespace")
    # A cleaned text with fewer or more characters is rejected, never cut; None: as long as it likes.
    min_characters: NonNegativeInt = 0
    max_characters: PositiveInt | None = None
    # Two letters of ISO 639-1 each; a text that is more probably in one other language than in all the rest together is
    # rejected. Empty: any language. Needs the extra `language`.
    languages: tuple[Annotated[str, Field(pattern=r"^[a-z]{2}$")], ...] = ()
    # The rows of a text that occurs with several labels: none is kept, those of the most frequent label, or all.
    conflicting_labels: Literal["drop", "majority", "keep"] = "drop"
    # Share of the cleaned examples that is used at all, drawn by content hash within each label.
    sample_fraction: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    train_fraction: Fraction = 0.8
    validation_fraction: Fraction = 0.1
    test_fraction: Fraction = 0.1
    # `frozen`: the test split stays what it was at its first use, until `ftzard splits refreeze`; `growing`: each new
    # example that is drawn for it joins it.
    test_split: Literal["frozen", "growing"] = "frozen"
    # Texts that so many edited words turn into each other are never in two splits, nor those that differ in case,
    # punctuation, web addresses or user names only.
    near_duplicate_edits: Annotated[int, Field(ge=0, le=2)] = 2
    # A column that names what rows belong to, such as a user or a thread: rows of one name are in one split.
    group_column: Name | None = None
    # A column with the time of a row (ISO 8601, or seconds since 1970): the newest share of the rows is the test split.
    time_column: Name | None = None
    seed: Seed = 0

    @property
    def has_labels(self) -> bool:
        """Whether the answers are labels, and not free text."""
        return self.task in _LABELLED

    @field_validator("delimiter")
    @classmethod
    def _is_one_character(cls, delimiter: str) -> str:
        if delimiter != "auto" and len(delimiter.encode()) != 1:
            message = "must be 'auto' or a single ASCII character"
            raise ValueError(message)
        return delimiter

    @field_validator("labels")
    @classmethod
    def _are_distinct(cls, labels: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(labels)) != len(labels):
            message = "must not name a label twice"
            raise ValueError(message)
        if len(labels) == 1:
            message = "must name at least two labels, or none to take those found in the data"
            raise ValueError(message)
        # What stands around a label in a file is taken away when it is read, so that no row could have it.
        if odd := [label for label in labels if label != label.strip() or not label]:
            message = f"must not hold {odd[0]!r}: a label is not empty and neither begins nor ends with whitespace"
            raise ValueError(message)
        return labels

    @model_validator(mode="after")
    def _is_placed_one_way(self) -> Self:
        if self.group_column is not None and self.time_column is not None:
            message = (
                "group_column and time_column must not both be given: the newest rows of a group are not all of it"
            )
            raise ValueError(message)
        return self

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        total = self.train_fraction + self.validation_fraction + self.test_fraction
        if abs(total - 1.0) > _FRACTION_TOLERANCE:
            message = f"train_fraction + validation_fraction + test_fraction must be 1, not {total:g}"
            raise ValueError(message)
        folders = {key: PurePosixPath(getattr(self, key)) for key in ("raw_dir", "labelled_dir", "rejected_dir")}
        for key, folder in folders.items():
            # A file that is moved aside must not be found again, and one without labels not be trained on.
            if folder.is_relative_to(self.incoming_dir) or PurePosixPath(self.incoming_dir).is_relative_to(folder):
                message = f"incoming_dir ({self.incoming_dir}) and {key} ({folder}) must not lie in each other"
                raise ValueError(message)
        if min(self.train_fraction, self.test_fraction) == 0:
            message = "train_fraction and test_fraction must both be above 0"
            raise ValueError(message)
        if self.max_characters is not None and self.max_characters < self.min_characters:
            message = f"max_characters ({self.max_characters}) must not be below min_characters ({self.min_characters})"
            raise ValueError(message)
        unknown = sorted(set(self.label_mapping.values()) - set(self.labels)) if self.labels else []
        if unknown:
            message = f"label_mapping maps to unknown label(s) {unknown}; allowed by data.labels: {list(self.labels)}"
            raise ValueError(message)
        return self

    @model_validator(mode="after")
    def _fits_its_task(self) -> Self:
        if not self.has_labels and (self.labels or self.label_mapping):
            message = f"labels and label_mapping must be empty where task is {self.task!r}: its answers are free text"
            raise ValueError(message)
        if not self.has_labels and self.conflicting_labels != "drop":
            message = f"conflicting_labels must not be given where task is {self.task!r}: its answers are no labels"
            raise ValueError(message)
        if self.languages and self.messages_column is not None:
            message = "languages must be empty where messages_column is given: only texts and prompts are looked at"
            raise ValueError(message)
        if self.context_column is not None and self.messages_column is not None:
            message = "context_column must not be given where messages_column is: messages hold everything"
            raise ValueError(message)
        if self.has_labels and self.messages_column is not None:
            message = f"messages_column must not be given where task is {self.task!r}: it reads texts, and no messages"
            raise ValueError(message)
        return self

    @model_validator(mode="after")
    def _can_be_told_in_a_cell(self) -> Self:
        """Sets of labels are written into a cell: what parts them cannot be in one, nor a word for none be a label."""
        if self.task != "multi_label":
            given = [key for key, default in (("label_separator", "|"), ("no_label", "none"), ("label_columns", ()))
                     if getattr(self, key) != default]  # fmt: skip
            if given:
                message = f"{given[0]} must not be given where task is {self.task!r}: only 'multi_label' reads it"
                raise ValueError(message)
            return self
        separators = dict.fromkeys((self.label_separator, _RESERVED[0]))
        words = dict.fromkeys((self.no_label, _RESERVED[1]))
        names = (*self.label_columns, *self.labels, *self.label_mapping, *self.label_mapping.values())
        broken = [name for name in names if name in words or any(one in name for one in separators)]
        if broken:
            message = (
                f"labels, label_columns and label_mapping must not hold {broken[0]!r}: "
                f"{' and '.join(map(repr, separators))} stand between labels, and {' and '.join(map(repr, words))} say "
                "that a text has none"
            )
            raise ValueError(message)
        columns = self.label_columns
        if columns and (len(columns) == 1 or len({self.text_column, *columns}) <= len(columns)):
            message = f"label_columns must be two or more, each another one and none the text's: {list(columns)}"
            raise ValueError(message)
        return self
