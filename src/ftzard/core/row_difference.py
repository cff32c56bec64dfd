"""Which labelled rows two tables have in common, and what became of the others."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import polars as pl

from ftzard.core.visible_text import visible

# Where labels are answers in words, almost each is another one, and long.
_MAX_COUNTED = 10
_MAX_CHARACTERS = 60
_MAX_TEXT_CHARACTERS = 200


@dataclass(frozen=True)
class LabelledRow:
    """A row that one of the two tables has more often than the other.

    Attributes:
        text: Its text.
        label: Its label.
    """

    text: str
    label: str


@dataclass(frozen=True)
class RelabelledRow:
    """A text that both tables have, under another label.

    Attributes:
        text: Its text.
        before: Its label in the first.
        after: Its label in the second.
    """

    text: str
    before: str
    after: str


@dataclass(frozen=True)
class RowDifference:
    """What leads from one table to another; a row that stands several times counts as often.

    Attributes:
        added: Rows that only the second has, sorted.
        removed: Rows that only the first has, sorted.
        relabelled: Rows that both have, under another label, sorted.
        num_same: How many rows both have alike.
    """

    added: tuple[LabelledRow, ...]
    removed: tuple[LabelledRow, ...]
    relabelled: tuple[RelabelledRow, ...]
    num_same: int

    @property
    def is_empty(self) -> bool:
        """Whether the tables hold the same rows."""
        return not (self.added or self.removed or self.relabelled)

    def to_dict(self, num_examples: int) -> dict[str, Any]:
        """The counts, and some of the rows, as JSON types.

        Args:
            num_examples: How many rows of each kind, at most.
        """
        relabelled = Counter(f"{row.before} -> {row.after}" for row in self.relabelled)
        return {
            "same": self.num_same,
            "added": _told(self.added, num_examples),
            "removed": _told(self.removed, num_examples),
            "relabelled": {
                "rows": len(self.relabelled),
                "labels": dict(sorted(relabelled.items())),
                "examples": [vars(row) for row in self.relabelled[:num_examples]],
            },
        }


def row_difference(before: pl.DataFrame, after: pl.DataFrame) -> RowDifference:
    """Compare two tables as multisets of rows, whatever their order.

    Args:
        before: With the columns `text` and `label`.
        after: Likewise.
    """
    counts = _counts(before).join(
        _counts(after), on=["text", "label"], how="full", coalesce=True, nulls_equal=True, suffix="_after"
    )
    counts = counts.with_columns(pl.col("len", "len_after").fill_null(0).cast(pl.Int64))
    same = counts.select(pl.min_horizontal("len", "len_after").sum()).item()
    removed: defaultdict[str, list[str]] = defaultdict(list)
    added: defaultdict[str, list[str]] = defaultdict(list)
    changed = counts.filter(pl.col("len") != pl.col("len_after")).sort("text", "label")
    for text, label, first, second in changed.select("text", "label", "len", "len_after").iter_rows():
        (removed if first > second else added)[text] += [label] * abs(first - second)
    texts = sorted({*removed, *added})
    # What is left of the longer list has no partner.
    return RowDifference(
        tuple(LabelledRow(text, label) for text in texts for label in added[text][len(removed[text]) :]),
        tuple(LabelledRow(text, label) for text in texts for label in removed[text][len(added[text]) :]),
        tuple(RelabelledRow(text, *pair) for text in texts for pair in zip(removed[text], added[text], strict=False)),
        same,
    )


def difference_lines(name: str, difference: RowDifference, num_examples: int) -> Iterator[str]:
    """The difference for a person, with some of the rows.

    Args:
        name: What the table is called.
        difference: What to tell.
        num_examples: How many rows of each kind, at most.
    """
    if difference.is_empty:
        yield f"{name}: the same {difference.num_same} rows"
        return
    yield f"{name}: {difference.num_same} rows are the same"
    told = difference.to_dict(num_examples)
    for kind in ("added", "removed", "relabelled"):
        one = told[kind]
        if one["rows"]:
            yield f"  {kind}: {one['rows']} ({_counted(one['labels'])})"
            for row in one["examples"]:
                labels = [row["label"]] if "label" in row else [row["before"], row["after"]]
                yield f"    {' -> '.join(map(_short, labels))}: {_short_text(row['text'])!r}"


def _counted(labels: dict[str, int]) -> str:
    if len(labels) > _MAX_COUNTED:
        return f"{len(labels)} distinct labels"
    return ", ".join(f"{_short(label)}: {rows}" for label, rows in labels.items())


def _short(label: str) -> str:
    """A label in one line."""
    line = visible(" ".join(label.split()))
    return line if len(line) <= _MAX_CHARACTERS else f"{line[: _MAX_CHARACTERS - 3]}..."


def _short_text(text: str) -> str:
    """A text that is not too long for a line; prompts can be pages."""
    return text if len(text) <= _MAX_TEXT_CHARACTERS else f"{text[: _MAX_TEXT_CHARACTERS - 3]}..."


def _counts(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.group_by(pl.col("text").cast(pl.String), pl.col("label").cast(pl.String)).len()


def _told(rows: tuple[LabelledRow, ...], num_examples: int) -> dict[str, Any]:
    return {
        "rows": len(rows),
        "labels": dict(sorted(Counter(row.label for row in rows).items())),
        "examples": [vars(row) for row in rows[:num_examples]],
    }
