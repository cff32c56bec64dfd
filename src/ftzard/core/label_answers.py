"""What one person's label file says: one label for each row, and only labels that there are."""

from collections.abc import Iterable, Sequence
from typing import Final

import polars as pl

from ftzard.config import DataConfig
from ftzard.core.label_sets import map_label_sets
from ftzard.errors import ConflictingLabelsError, UnknownLabelError

_NUM_CULPRITS_SHOWN: Final = 5
_NOTHING_TAKEN: Final = "nothing of the file was taken in"


def answers(returned: pl.DataFrame, name: str, labels: Sequence[str], config: DataConfig) -> pl.DataFrame:
    """Check a label file and take its labels out.

    Args:
        returned: `RETURNED_SCHEMA`; rows without a label are passed over, and a row may occur more than once.
        name: The file's name for messages.
        labels: Those that may be given.
        config: Says what a cell stands for: one label, or a set of them.

    Returns:
        Columns `text_hash` and `label`, one row for each text with a label, in the order of the file.

    Raises:
        ConflictingLabelsError: A text has several labels.
        UnknownLabelError: A label is none of `labels`.
    """
    given, is_unknown = read_answers(returned.drop_nulls("label"), labels, config)
    unknown = given.filter(is_unknown)
    if unknown.height:
        raise UnknownLabelError(
            f"{name} has {unknown.height} row(s) with an unknown label: {_labels_shown(unknown)}; "
            f"allowed: {list(labels)}",
            fix=f"correct the labels; {_NOTHING_TAKEN}",
        )
    conflicting = given.filter(pl.col("label").n_unique().over("text_hash") > 1)
    if conflicting.height:
        raise ConflictingLabelsError(
            f"{name} gives {conflicting['text_hash'].n_unique()} text(s) several labels: {_texts_shown(conflicting)}",
            fix="leave one label for each text, and import what several people said one by one (Label Studio's export "
            f"without --annotator, which takes the names from it); {_NOTHING_TAKEN}",
        )
    return given.unique("text_hash", keep="first", maintain_order=True).select("text_hash", "label")


def read_answers(given: pl.DataFrame, labels: Sequence[str], config: DataConfig) -> tuple[pl.DataFrame, pl.Series]:
    """What people's cells stand for, in the spelling of `cleaned`; and which of them are not made of the labels.

    Args:
        given: With a column `label` without null.
        labels: Those that may be given; none: any.
        config: As for `answers`.

    Returns:
        The same rows, less those in which a set names nothing; and a truth value for each.
    """
    if config.task != "multi_label":
        mapped = given.with_columns(pl.col("label").replace(dict(config.label_mapping)))
        return mapped, ~mapped["label"].is_in(list(labels))
    read = map_label_sets(given, config, labels).drop_nulls("mapped")
    # What cannot be a set stays as it was written, for the message.
    label = pl.when("is_unknown").then("label").otherwise("mapped")
    return read.with_columns(label=label).select(given.columns), read["is_unknown"]


def _labels_shown(rows: pl.DataFrame) -> str:
    """Each label once, however many rows have it: one slip of the pen is mostly that of all."""
    labels = rows.group_by("label", maintain_order=True).agg(pl.col("row").first(), num_more=pl.len() - 1)
    return _joined(
        f"row {row}{f' and {num_more} more' if num_more else ''}: {label!r}"
        for label, row, num_more in labels.iter_rows()
    )


def _texts_shown(rows: pl.DataFrame) -> str:
    """The first row of each label of a text, texts in the order of the file."""
    distinct = rows.sort("row").unique(["text_hash", "label"], keep="first", maintain_order=True)
    texts = distinct.group_by("text_hash", maintain_order=True).agg("row", "label")
    return _joined(
        " and ".join(f"row {row}: {label!r}" for row, label in zip(rows, labels, strict=True))
        for _, rows, labels in texts.iter_rows()
    )


def _joined(culprits: Iterable[str]) -> str:
    found = list(culprits)
    more = f"; and {len(found) - _NUM_CULPRITS_SHOWN} more" if len(found) > _NUM_CULPRITS_SHOWN else ""
    return "; ".join(found[:_NUM_CULPRITS_SHOWN]) + more
