"""Texts that occur more than once: exactly, nearly, and with several labels; counted, and a few of each to look at."""

from dataclasses import dataclass
from typing import Final

import polars as pl

from ftzard.config import DataConfig
from ftzard.core.cleaning_questions import compared_texts, normalise_questions
from ftzard.core.cleaning_report import find_conflicts
from ftzard.core.near_duplicates import find_repeated
from ftzard.core.records import Cleaned

_NUM_SHOWN: Final = 8
# Of more examples, so many are drawn by hash; each is compared with all of those.
_MAX_COMPARED: Final = 50_000
_REPEATED: Final = ("duplicate", "repeated_prompt")


@dataclass(frozen=True, eq=False)
class RepeatedTexts:
    """What occurs more than once.

    Attributes:
        num_duplicates: Rows that were left out because an earlier one says the same.
        num_elsewhere: Those of them whose earlier row is in another file.
        duplicates: Columns `text` (cleaned), `rows` and `batches`: the most frequent ones.
        num_conflicts: Texts with several labels.
        conflicts: Columns `text`, `labels`, `rows`: the first of `find_conflicts`.
        num_compared: Examples that were compared with each other.
        num_near: Those that are near an earlier one.
        num_near_otherwise: Those of them that have another label.
        near: Columns `text`, `label`, `other_text`, `other_label`, `num_edits`: some of them, with other labels first.
    """

    num_duplicates: int
    num_elsewhere: int
    duplicates: pl.DataFrame
    num_conflicts: int
    conflicts: pl.DataFrame
    num_compared: int
    num_near: int
    num_near_otherwise: int
    near: pl.DataFrame


def repeated_texts(cleaned: Cleaned, config: DataConfig) -> RepeatedTexts:
    """Look for what occurs more than once.

    Args:
        cleaned: As cleaning made it.
        config: Says how texts were cleaned, and how many edits are near.
    """
    repeated = _repeated(cleaned, config)
    conflicts = find_conflicts(cleaned, config)
    compared, near = _near(cleaned.examples, config)
    otherwise = pl.col("label") != pl.col("other_label")
    return RepeatedTexts(
        num_duplicates=repeated.height,
        num_elsewhere=repeated.filter(pl.col("batch") != pl.col("first_batch")).height,
        duplicates=_most_frequent(repeated, cleaned.examples),
        num_conflicts=conflicts.height,
        conflicts=conflicts.head(_NUM_SHOWN),
        num_compared=compared,
        num_near=near.height,
        num_near_otherwise=near.filter(otherwise).height if config.has_labels else 0,
        near=near.sort(~otherwise, "position").head(_NUM_SHOWN).drop("position"),
    )


def _repeated(cleaned: Cleaned, config: DataConfig) -> pl.DataFrame:
    """The rows that repeat an example, with its file."""
    rows = cleaned.rejected.filter(pl.col("reason").is_in(_REPEATED))
    texts = normalise_questions(rows["text"], config)
    first = cleaned.examples.unique("text", keep="first", maintain_order=True)
    return rows.select("batch", text=texts).join(first.select("text", first_batch="batch"), on="text")


def _most_frequent(repeated: pl.DataFrame, examples: pl.DataFrame) -> pl.DataFrame:
    """The texts with most rows, those of the examples themselves included."""
    kept = examples.join(repeated, on="text", how="semi")
    rows = pl.concat([repeated.select("text", "batch"), kept.select("text", "batch")])
    counted = rows.group_by("text").agg(rows=pl.len(), batches=pl.col("batch").n_unique())
    return counted.sort("rows", "text", descending=[True, False]).head(_NUM_SHOWN)


def _near(examples: pl.DataFrame, config: DataConfig) -> tuple[int, pl.DataFrame]:
    """How many examples were compared, and those that are near an earlier one beside that."""
    drawn = examples.unique("text_hash", keep="first").sort("text_hash").head(_MAX_COMPARED).sort("batch", "row")
    found = find_repeated(compared_texts(drawn["text"], config), config.near_duplicate_edits)
    ones, others = drawn[found["candidate"].to_list()], drawn[found["reference"].to_list()]
    near = ones.select("text", "label").with_columns(
        others["text"].alias("other_text"),
        others["label"].alias("other_label"),
        found["num_edits"],
        found["candidate"].alias("position"),
    )
    return drawn.height, near
