"""What becomes of a text that occurs with several labels, which is for the project to decide."""

import logging
from typing import Final, Literal

import polars as pl

_logger = logging.getLogger(__name__)

_NUM_CULPRITS_SHOWN: Final = 5

Policy = Literal["drop", "majority", "keep"]


def repetition_reason(policy: Policy) -> pl.Expr:
    """The reason against a row whose cleaned text occurs more than once; the reason it has already stays.

    Args:
        policy: `drop` rejects all rows of a text with several labels, because nothing says which is right. `majority`
            rejects those whose label fewer of its rows have, and all of them where two labels are equally frequent.
            `keep` rejects none. Of several rows with one text and one label the first is kept.

    Returns:
        An expression over the columns `cleaned`, `mapped` and `reason`, the rows being sorted.
    """
    text, text_and_label = ["cleaned", "reason"], ["cleaned", "mapped", "reason"]
    return (
        pl.when(pl.col("reason").is_not_null())
        .then(pl.col("reason"))
        .when(_is_refused(policy, text, text_and_label))
        .then(pl.lit("conflicting_label"))
        .when(pl.int_range(pl.len()).over(text_and_label) > 0)
        .then(pl.lit("duplicate"))
    )


def _is_refused(policy: Policy, text: list[str], text_and_label: list[str]) -> pl.Expr:
    if policy == "keep":
        return pl.lit(value=False)
    if policy == "drop":
        return pl.col("mapped").n_unique().over(text) > 1
    votes = pl.len().over(text_and_label)
    is_most = votes == votes.max().over(text)
    num_winners = pl.when(is_most).then(pl.col("mapped")).drop_nulls().n_unique().over(text)
    return ~is_most | (num_winners > 1)


def log_conflicts(rows: pl.DataFrame, policy: Policy) -> None:
    """Warn of texts with several labels.

    Args:
        rows: Columns `cleaned`, `mapped`, `reason`, `batch` and `row`.
        policy: What was done with them.
    """
    if policy == "keep":
        kept = rows.filter(pl.col("reason").is_null())
        conflicts = kept.filter(pl.len().over("cleaned") > 1)
    else:
        conflicts = rows.filter(pl.col("reason") == "conflicting_label")
    if conflicts.is_empty():
        return
    shown = conflicts.sort("cleaned", maintain_order=True).head(_NUM_CULPRITS_SHOWN)
    culprits = "; ".join(
        f"{batch}, row {row}: {label!r}" for batch, row, label in shown.select("batch", "row", "mapped").iter_rows()
    )
    _logger.warning(
        "%s %d rows %s the same text has different labels, of %d texts: %s%s",
        *(("kept", conflicts.height, "although") if policy == "keep" else ("rejected", conflicts.height, "because")),
        conflicts["cleaned"].n_unique(),
        culprits,
        ", ..." if conflicts.height > shown.height else "",
    )
