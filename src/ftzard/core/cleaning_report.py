"""What cleaning did, for a person to look at: which step changed how many rows, and which texts have several labels."""

import json
import re
import unicodedata
from collections.abc import Sequence
from itertools import takewhile
from typing import Final

import polars as pl

from ftzard.config import DataConfig
from ftzard.core.cleaning import map_labels
from ftzard.core.cleaning_questions import normalise_questions
from ftzard.core.records import Cleaned
from ftzard.core.step_registry import find_step
from ftzard.core.text_normalisation import StepChanges

# An example shows this much of a text, from a little before the first difference on.
_NUM_CHARACTERS: Final = 60
_NUM_BEFORE: Final = 15
_NUM_CONFLICTS: Final = 5
_CONFLICTS_SCHEMA: Final = pl.Schema({"text": pl.String, "labels": pl.String, "rows": pl.Int64})
# By a table.
_SWALLOWED_SPACES: Final = re.compile("^ +| +$| {2,}")


def changes_table(changes: Sequence[StepChanges]) -> pl.DataFrame:
    """Columns `step` and `rows_changed`, in the order of the steps."""
    rows = [(step.name, step.num_rows) for step in changes]
    return pl.DataFrame(rows, schema={"step": pl.String, "rows_changed": pl.Int64}, orient="row")


def examples_table(changes: Sequence[StepChanges]) -> pl.DataFrame:
    """Columns `step`, `before` and `after`: where a text begins to differ, with all that cannot be seen written out."""
    rows = [(step.name, *_excerpts(*pair)) for step in changes for pair in step.examples]
    return pl.DataFrame(rows, schema={"step": pl.String, "before": pl.String, "after": pl.String}, orient="row")


def changes_document(changes: Sequence[StepChanges]) -> str:
    """The same of all steps as JSON, with what each step does."""
    steps = [
        {
            "step": step.name,
            "description": find_step(step.name).description,
            "rows_changed": step.num_rows,
            "examples": [dict(zip(("before", "after"), _excerpts(*pair), strict=True)) for pair in step.examples],
        }
        for step in changes
    ]
    return json.dumps(steps, indent=2, ensure_ascii=False)


def find_conflicts(cleaned: Cleaned, config: DataConfig) -> pl.DataFrame:
    """The texts that occur with several labels, whatever became of their rows.

    Args:
        cleaned: As `ftzard.core.cleaning.clean` made it.
        config: The configuration that it was made with.

    Returns:
        Columns `text` (cleaned), `labels` (each label with the number of its rows, most frequent first) and `rows`,
        sorted by rows, most first, then by text. None where the answers are free text.
    """
    if not config.has_labels:
        return pl.DataFrame(schema=_CONFLICTS_SCHEMA)
    repeated = cleaned.rejected.filter(pl.col("reason").is_in(["conflicting_label", "duplicate"]))
    rejected = map_labels(repeated, config).select(
        text=normalise_questions(repeated["text"], config), label=pl.col("mapped")
    )
    # Most texts occur once, and are not counted.
    is_repeated = pl.col("text").is_in(rejected["text"].unique().implode())
    if config.conflicting_labels == "keep":
        is_repeated |= pl.col("text_hash").is_duplicated()
    rows = pl.concat([rejected, cleaned.examples.filter(is_repeated).select("text", "label")])
    votes = rows.group_by("text", "label").len("votes").filter(pl.len().over("text") > 1)
    return (
        votes.sort("votes", "label", descending=[True, False])
        .group_by("text", maintain_order=True)
        .agg(labels=pl.format("{}: {}", "label", "votes").str.join(", "), rows=pl.col("votes").sum())
        .sort("rows", "text", descending=[True, False])
        .cast(_CONFLICTS_SCHEMA)
    )


def first_conflicts(conflicts: pl.DataFrame) -> pl.DataFrame:
    """The first five of `find_conflicts`, for a table."""
    return conflicts.head(_NUM_CONFLICTS)


def _excerpts(before: str, after: str) -> tuple[str, str]:
    num_alike = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(before, after, strict=False)))
    start = max(0, num_alike - _NUM_BEFORE)
    return _excerpt(before, start), _excerpt(after, start)


def _excerpt(text: str, start: int) -> str:
    shown = "".join(map(_visible, text[start : start + _NUM_CHARACTERS]))
    shown = _SWALLOWED_SPACES.sub(lambda spaces: "␣" * len(spaces[0]), shown)
    return f"{'…' if start else ''}{shown}{'…' if len(text) > start + _NUM_CHARACTERS else ''}"


def _visible(character: str) -> str:
    """A character as it is, or its escape where it is not seen, or not seen to be another one."""
    if character == " " or (character.isprintable() and not unicodedata.combining(character)):
        return character
    return character.encode("unicode_escape").decode("ascii")
