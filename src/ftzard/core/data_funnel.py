"""Where the rows went: in and out of each step, for the whole of the data and for each file."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

import polars as pl

from ftzard.config import DataConfig
from ftzard.core.cleaning_questions import question_lengths
from ftzard.core.frozen_test import FrozenTest
from ftzard.core.label_names import label_names
from ftzard.core.records import Cleaned, Splits
from ftzard.core.split_draws import IN_VALIDATION
from ftzard.core.splitting import HELD_FOR_TEST, IN_TEST_SPLIT

# What a reason code means to somebody who has not read the code.
MEANINGS: Final[Mapping[str, str]] = {
    "too_few_fields": "the line has fewer fields than there are columns",
    "too_many_fields": "the line has more fields than there are columns",
    "broken_quotes": "text stands beside a quoted field, or its quotes are not closed",
    "stray_line_end": "a line ends in another way than the others",
    "not_json": "the line is not JSON",
    "not_an_object": "the line is JSON, and no object",
    "wrong_value": "a value is of a kind that it cannot be",
    "half_character": "half a character stands in a text (a lone surrogate)",
    "unknown_label": "the label is neither in data.labels nor in data.label_mapping",
    "other_language": "the text is in a language that data.languages does not name",
    "missing_text": "there is no text",
    "missing_label": "there is no label",
    "missing_answer": "there is no answer, or half a pair",
    "empty_after_cleaning": "cleaning left nothing of the text",
    "too_short": "the text is shorter than data.min_characters",
    "too_long": "the text is longer than data.max_characters",
    "equal_answers": "the chosen answer is the rejected one",
    "conflicting_label": "the same text has other labels elsewhere (data.conflicting_labels)",
    "duplicate": "an earlier row says the same",
    "repeated_prompt": "an earlier row answers the same prompt otherwise",
    "not_sampled": "data.sample_fraction takes a share of the examples",
    IN_TEST_SPLIT: "it repeats a test row, exactly or nearly",
    HELD_FOR_TEST: "it was drawn for test after that was frozen (`ftzard splits refreeze`)",
    IN_VALIDATION: "it is near a validation row of another group or time",
}


@dataclass(frozen=True, eq=False)
class StoredData:
    """The data of a project as it is stored; whatever is not there is None.

    Attributes:
        raw: `RAW_SCHEMA`.
        cleaned: The examples, and the rows that are none.
        splits: What is trained on, and what it is judged on.
        frozen: The frozen test split.
        files: Batch files that are in the data folders now, newest first; they may have changed since.
        unreadable: `UNREADABLE_SCHEMA`: the rows of these files that could not be read.
        incoming: `EXAMPLE_SCHEMA` without labels, for each of the files that came in last, newest first.
    """

    raw: pl.DataFrame | None = None
    cleaned: Cleaned | None = None
    splits: Splits | None = None
    frozen: FrozenTest | None = None
    files: tuple[str, ...] = ()
    unreadable: pl.DataFrame | None = None
    incoming: tuple[pl.DataFrame, ...] = ()

    @property
    def batches(self) -> tuple[str, ...]:
        """The files that there are rows of, newest first; those that are there no longer come last."""
        frames = [] if self.raw is None else [self.raw]
        frames += [self.cleaned.examples] if self.cleaned else []
        frames += [self.splits.labelled] if self.splits else []
        known = {name for frame in frames for name in frame["batch"].unique()}
        return (*(name for name in self.files if name in known), *sorted(known - set(self.files)))

    @property
    def unread(self) -> tuple[str, ...]:
        """Files of which `raw_data` has no row."""
        return tuple(name for name in self.files if self.raw is None or name not in set(self.raw["batch"].unique()))

    @property
    def parts(self) -> dict[str, pl.DataFrame]:
        """The examples by split, or all in one where there are no splits."""
        if self.splits:
            return {"train": self.splits.train, "validation": self.splits.validation, "test": self.splits.test}
        return {"cleaned": self.cleaned.examples} if self.cleaned else {}


@dataclass(frozen=True)
class FunnelStep:
    """A step that rows go through.

    Attributes:
        name: For people.
        num_rows: Rows that are left after it.
        lost: Reason -> rows that it took out, most first.
    """

    name: str
    num_rows: int
    lost: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class BatchRows:
    """What became of a file's rows; None where the step that would know was not done.

    Attributes:
        batch: The file.
        read: Rows that were read.
        examples: Rows that became examples.
        lost: Reason -> rows that did not, or were quarantined, most first.
        splits: Split -> rows.
        labels: Label -> examples, the most frequent first; empty where the answers are free text.
        median_length: Characters of a text, of the examples.
    """

    batch: str
    read: int | None
    examples: int | None
    lost: dict[str, int]
    splits: dict[str, int]
    labels: dict[str, int]
    median_length: float | None


def funnel(stored: StoredData) -> tuple[FunnelStep, ...]:
    """The steps that were done, in their order; of the splits each is one."""
    steps = []
    if stored.raw is not None:
        lost = {} if stored.unreadable is None else _reasons(stored.unreadable)
        steps.append(FunnelStep("read", stored.raw.height, lost))
    if stored.cleaned is not None:
        steps.append(FunnelStep("cleaned", stored.cleaned.examples.height, _reasons(stored.cleaned.rejected)))
    if stored.splits is not None:
        splits = stored.splits
        placed = sum(frame.height for frame in stored.parts.values())
        lost = _reasons(splits.quarantined)
        before = stored.cleaned.examples.height if stored.cleaned else 0
        not_drawn = before - placed - splits.quarantined.height
        if not_drawn > 0:
            lost["not_sampled"] = not_drawn
        steps.append(FunnelStep("split", placed, lost))
    return tuple(steps)


def inconsistencies(stored: StoredData) -> Iterator[str]:
    """Say where what is stored was not made from each other, as after a step that failed, or a new file."""
    if stored.raw is not None and stored.cleaned is not None:
        num_rows = stored.cleaned.examples.height + stored.cleaned.rejected.height
        if num_rows != stored.raw.height:
            yield f"`cleaned` accounts for {num_rows:,} rows, and `raw_data` has {stored.raw.height:,} now."
    if stored.cleaned is not None and stored.splits is not None:
        strangers = stored.splits.labelled.join(stored.cleaned.examples, on="text_hash", how="anti").height
        if strangers:
            yield f"`splits` has {strangers:,} rows that `cleaned` does not have now."


def batch_rows(stored: StoredData, config: DataConfig) -> tuple[BatchRows, ...]:
    """What became of each file's rows, in the order of `StoredData.batches`."""
    examples = stored.cleaned.examples if stored.cleaned else None
    read = _by_batch(stored.raw)
    kept = _by_batch(examples)
    lengths = {} if examples is None else _median_lengths(examples, config)
    splits = {name: _by_batch(frame) for name, frame in stored.parts.items() if stored.splits}
    lost = _lost_by_batch(stored)
    labels = {} if examples is None or not config.has_labels else _label_counts_by_batch(examples, config)
    return tuple(
        BatchRows(
            batch=batch,
            read=None if stored.raw is None else read.get(batch, 0),
            examples=None if examples is None else kept.get(batch, 0),
            lost=dict(Counter(lost.get(batch, {})).most_common()),
            splits={name: counts.get(batch, 0) for name, counts in splits.items()},
            labels=dict(Counter(labels.get(batch, {})).most_common()),
            median_length=lengths.get(batch),
        )
        for batch in stored.batches
    )


def label_counts(frame: pl.DataFrame, task: str = "classification") -> dict[str, int]:
    """Label -> rows, the most frequent first, then by name; rows with several labels count for each."""
    names = label_names(frame["label"], task).alias("label").to_frame()
    counts = names.group_by("label").len().sort("len", "label", descending=[True, False])
    return dict(counts.iter_rows())


def _label_counts_by_batch(examples: pl.DataFrame, config: DataConfig) -> dict[str, dict[str, int]]:
    parts = examples.sort("batch").partition_by("batch", maintain_order=True)
    return {str(part["batch"][0]): dict(sorted(label_counts(part, config.task).items())) for part in parts}


def _reasons(frame: pl.DataFrame) -> dict[str, int]:
    counts = frame.group_by("reason").len().sort("len", "reason", descending=[True, False])
    return dict(counts.iter_rows())


def _by_batch(frame: pl.DataFrame | None) -> dict[str, int]:
    return {} if frame is None else dict(frame.group_by("batch").len().iter_rows())


def _lost_by_batch(stored: StoredData) -> dict[str, dict[str, int]]:
    frames = [] if stored.unreadable is None else [stored.unreadable]
    frames += [stored.cleaned.rejected] if stored.cleaned else []
    frames += [stored.splits.quarantined] if stored.splits else []
    return _nested(frames, "reason")


def _median_lengths(examples: pl.DataFrame, config: DataConfig) -> dict[str, float]:
    lengths = question_lengths(examples["text"], config).alias("length")
    return dict(examples.select("batch", lengths).group_by("batch").agg(pl.col("length").median()).iter_rows())


def _nested(frames: list[pl.DataFrame], column: str) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for frame in frames:
        for batch, value, rows in frame.group_by("batch", column).len().sort("batch", column).iter_rows():
            found.setdefault(batch, {})[value] = rows
    return found
