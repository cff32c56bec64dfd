"""Rows that are not independent of each other, because one user or thread wrote them: what is drawn together.

Ten rows of one user tell less than ten of ten users, so that whatever is said of the luck of the rows is about groups.
"""

from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ftzard.core.metrics import FloatArray, IntArray

# How many rows there are, each by itself; or the number of each row's group, shape (n,), from 0 without gaps.
Rows = int | IntArray

_GROUP: Final = "group"


def group_keys(examples: pl.DataFrame) -> pl.Series:
    """What each example is drawn by: its group, or its text where it says none.

    Args:
        examples: With `text_hash` and `group`.
    """
    return examples.select(pl.coalesce(pl.format("group:{}", _GROUP), "text_hash")).to_series()


def with_groups(test: pl.DataFrame, examples: pl.DataFrame) -> pl.DataFrame:
    """The test split with the groups of its rows, where the examples that it is made of have any."""
    if _GROUP not in examples.columns:
        return test
    return test.join(examples.select("text_hash", _GROUP), "text_hash", "left", maintain_order="left")


def rows_of(test: pl.DataFrame) -> Rows:
    """The rows of the test split, in its order, as the bootstrap draws them.

    Args:
        test: With `text_hash`; `group` only where `data.group_column` says what belongs together.
    """
    if _GROUP not in test.columns:
        return test.height
    numbers = group_keys(test).rank("dense").to_numpy().astype(np.int64) - 1
    return test.height if len(np.unique(numbers)) == test.height else numbers


def rows_of_hashes(text_hashes: pl.Series, test: pl.DataFrame | None) -> Rows:
    """As `rows_of`, of some rows of the test split.

    Args:
        text_hashes: Theirs, in the order that is wanted; one that is not in `test` stands alone.
        test: As for `rows_of`; None where nothing is known of groups.
    """
    if test is None or _GROUP not in test.columns:
        return text_hashes.len()
    return rows_of(with_groups(text_hashes.alias("text_hash").to_frame(), test))


def num_rows(rows: Rows) -> int:
    """How many there are."""
    return rows if isinstance(rows, int) else rows.size


def num_drawn(rows: Rows) -> int:
    """How many are drawn by themselves: the rows, or their groups."""
    return rows if isinstance(rows, int) else int(rows.max(initial=-1)) + 1


def part_of(rows: Rows, indices: IntArray) -> Rows:
    """Some of them, shape (m,)."""
    if isinstance(rows, int):
        return indices.size
    return np.unique(rows[indices], return_inverse=True)[1].astype(np.int64)


def group_sums(values: NDArray[np.number], rows: Rows) -> FloatArray:
    """A number for each row, shape (n,), added up by groups."""
    if isinstance(rows, int):
        return np.asarray(values, dtype=np.float64)
    return np.bincount(rows, weights=values).astype(np.float64)
