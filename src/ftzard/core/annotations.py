"""What people said of a row: the latest word of each, the majority of all, and how far they agree."""

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import polars as pl

# One word of one person on one row. `annotated_at` is in UTC; `strategy` and `champion_version` say what queued it.
ANNOTATION_SCHEMA: Final = pl.Schema(
    {
        "text_hash": pl.String(),
        "text": pl.String(),
        "label": pl.String(),
        "annotator": pl.String(),
        "annotated_at": pl.Datetime("us", "UTC"),
        "strategy": pl.String(),
        "champion_version": pl.String(),
    }
)


@dataclass(frozen=True)
class Resolution:
    """What the annotations come to.

    Attributes:
        labels: Columns `text_hash`, `text`, `label`, sorted by `text_hash`: rows with one label that more people
            gave than any other.
        ties: Columns `text_hash` and `labels` (a list, sorted), sorted by `text_hash`: rows with several such labels.
    """

    labels: pl.DataFrame
    ties: pl.DataFrame


@dataclass(frozen=True)
class Agreement:
    """How far two people agree.

    Attributes:
        annotators: Their names, sorted.
        num_rows: Rows that both labelled, at least one.
        observed: Share of them with the same label, in [0, 1].
        kappa: `cohens_kappa`; None where it is not defined.
    """

    annotators: tuple[str, str]
    num_rows: int
    observed: float
    kappa: float | None


def latest_annotations(annotations: pl.DataFrame) -> pl.DataFrame:
    """Each person's last word on each row, so that whoever erred can correct it.

    Args:
        annotations: `ANNOTATION_SCHEMA`, in any order; of equally old ones the later in the frame counts.

    Returns:
        The same columns, sorted by text hash and annotator.
    """
    return (
        annotations.sort("annotated_at", maintain_order=True)
        .unique(["text_hash", "annotator"], keep="last", maintain_order=True)
        .sort("text_hash", "annotator")
    )


def resolve(annotations: pl.DataFrame) -> Resolution:
    """Take the label that most people gave; one person, one vote.

    Args:
        annotations: `ANNOTATION_SCHEMA`, in any order.
    """
    votes = latest_annotations(annotations).group_by("text_hash", "label").agg(pl.len(), pl.col("text").first())
    most = votes.filter(pl.col("len") == pl.col("len").max().over("text_hash")).sort("text_hash", "label")
    is_tie = pl.len().over("text_hash") > 1
    ties = most.filter(is_tie).group_by("text_hash", maintain_order=True).agg(labels="label")
    return Resolution(most.filter(~is_tie).select("text_hash", "text", "label"), ties)


def agreements(annotations: pl.DataFrame) -> tuple[Agreement, ...]:
    """How far each two people agree on the rows that both labelled; pairs without such rows are left out.

    Args:
        annotations: `ANNOTATION_SCHEMA`, in any order.
    """
    latest = latest_annotations(annotations)
    labels = {
        str(name): dict(rows.select("text_hash", "label").iter_rows())
        for (name,), rows in latest.partition_by("annotator", as_dict=True).items()
    }
    found = []
    for first, second in itertools.combinations(sorted(labels), 2):
        both = sorted(labels[first].keys() & labels[second].keys())
        if both:
            pair = [labels[first][row] for row in both], [labels[second][row] for row in both]
            observed = sum(one == other for one, other in zip(*pair, strict=True)) / len(both)
            found.append(Agreement((first, second), len(both), observed, cohens_kappa(*pair)))
    return tuple(found)


def cohens_kappa(first: Sequence[str], second: Sequence[str]) -> float | None:
    """Agreement beyond chance: (p_o - p_e) / (1 - p_e).

    Cohen, "A Coefficient of Agreement for Nominal Scales", Educational and Psychological Measurement 20, 1960: p_o is
    the share of rows with the same label, p_e the share that two people with the same habits would agree on by chance.

    Args:
        first: One person's labels.
        second: The other's, of the same rows in the same order.

    Returns:
        In [-1, 1]: 1 for perfect agreement, 0 for as much as by chance; None where there are no rows, and where both
        gave one and the same label to all rows, so that chance alone explains it all.

    Raises:
        ValueError: They are not equally many.
    """
    total = len(first)
    if len(second) != total:
        message = f"{total} labels cannot be compared with {len(second)}"
        raise ValueError(message)
    if not total:
        return None
    num_equal = sum(one == other for one, other in zip(first, second, strict=True))
    ours, theirs = Counter(first), Counter(second)
    # In whole numbers, because the case without a kappa is one of equality.
    num_expected = sum(ours[label] * theirs[label] for label in ours)
    if num_expected == total * total:
        return None
    return (num_equal * total - num_expected) / (total * total - num_expected)
