"""Sets of labels, each written as one text, so that all that moves rows about has one column of labels to deal with.

A set has one spelling: its labels sorted and joined by `|`, and `[]` for none of them. So equal sets are equal texts,
and a conflict between two labels, a duplicate or a correction is found as it is for single labels. No label can hold
the sign that parts them, or be `[]`.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ftzard.config import DataConfig
from ftzard.core.cell_values import canonical_label, shorten

SEPARATOR: Final = "|"
EMPTY: Final = "[]"

BoolArray = NDArray[np.bool_]


def join_set(labels: Iterable[str]) -> str:
    """The one spelling of a set, from its labels in any order."""
    return SEPARATOR.join(sorted(set(labels))) or EMPTY


def split_set(cell: str) -> tuple[str, ...]:
    """The labels of a set that is spelled so, sorted."""
    return () if cell == EMPTY else tuple(cell.split(SEPARATOR))


def set_members(cells: pl.Series) -> pl.Series:
    """The labels of each set that is spelled so, as lists; null for null."""
    lists = pl.when(pl.col("cell") == EMPTY).then(pl.lit([], pl.List(pl.String))).otherwise(_parts("cell"))
    return cells.cast(pl.String).to_frame("cell").select(lists.alias(cells.name)).to_series()


def answers_of(cells: pl.Series) -> pl.Series:
    """What each set says, as lists that are not empty: its labels, or `[]`, that it has none of them; null for null."""
    none = pl.lit([EMPTY], pl.List(pl.String))
    members = set_members(cells).to_frame(cells.name)
    is_empty = pl.col(cells.name).list.len() == 0
    return members.select(pl.when(is_empty).then(none).otherwise(cells.name).alias(cells.name)).to_series()


def indicators(cells: pl.Series, labels: Sequence[str]) -> BoolArray:
    """Which of the k labels each of n sets has, shape (n, k).

    Args:
        cells: Sets in their one spelling; null counts as none of the labels.
        labels: In the order of the columns; a label of a set that is not among them is passed over.
    """
    members = set_members(cells)
    columns = [members.list.contains(label).fill_null(value=False).to_numpy() for label in labels]
    return np.column_stack(columns).astype(np.bool_) if columns else np.empty((len(cells), 0), dtype=np.bool_)


def spelled(has_label: BoolArray, labels: Sequence[str]) -> list[str]:
    """The sets that `indicators` gives, shape (n, k), as texts."""
    names = np.array(labels, dtype=object)
    return [join_set(names[row]) for row in has_label]


def cell_of_list(labels: Sequence[object], config: DataConfig) -> str:
    """A list of labels, as JSON and Parquet can hold it, as a cell of delimited text would say it.

    Raises:
        TypeError: One is no label.
        ValueError: One is blank, or holds what separates labels.
    """
    names = [canonical_label(label) for label in labels]
    separators = dict.fromkeys((config.label_separator, SEPARATOR))
    for name in names:
        if name is None or not name.strip():
            message = f"the labels {shorten(repr(list(labels)))} hold one that is empty"
            raise ValueError(message)
        if found := next((sign for sign in separators if sign in name), None):
            message = f"the label {shorten(repr(name))} holds {found!r}, which separates labels"
            raise ValueError(message)
    return SEPARATOR.join(str(name) for name in names) or EMPTY


def refuse_written_list(cell: str) -> str:
    """A cell as it is, or ValueError where a program wrote a list as text into it, such as `['joy', 'anger']`."""
    written = cell.strip()
    if written.startswith("[") and written.endswith("]") and written[1:-1].strip():
        message = f"the labels {shorten(repr(cell))} are a list that was written as text; write label|label"
        raise ValueError(message)
    return cell


def map_label_sets(rows: pl.DataFrame, config: DataConfig, allowed: Sequence[str] | None = None) -> pl.DataFrame:
    """Add `mapped`: the set of labels in its one spelling, null where there is no answer; and `is_unknown`.

    A set is unknown where one of its labels is not allowed, or where it says that there are none and names one.

    Args:
        rows: Columns of `RAW_SCHEMA`.
        config: Separates, maps and restricts the labels.
        allowed: Which labels there may be, where that is known better; none: any.
    """
    known = list((config.labels or dict.fromkeys(config.label_mapping.values())) if allowed is None else allowed)
    # Of many rows most say what others have said.
    cells = rows.select("label").unique(maintain_order=True)
    read = cells.with_columns(_read_cells(cells, config, known))
    return rows.join(read, on="label", how="left", nulls_equal=True, maintain_order="left")


def _read_cells(cells: pl.DataFrame, config: DataConfig, known: list[str]) -> list[pl.Series]:
    """`mapped` and `is_unknown`, as `map_label_sets` adds them."""
    words, mapping = [EMPTY, config.no_label], dict(config.label_mapping)
    names = pl.element().str.strip_chars()
    cell = pl.col("label").str.replace_all(config.label_separator, SEPARATOR, literal=True)
    found = cell.str.split(SEPARATOR).list.eval(names.filter(names != "")).list.unique().list.sort()
    given = cells.select(given=found)
    says_none = pl.col("given").list.eval(pl.element().is_in(words)).list.any()
    is_empty = says_none & (pl.col("given").list.len() == 1)
    members = pl.col("given")
    if mapping:
        members = members.list.eval(pl.element().replace(mapping)).list.unique().list.sort()
    others = members.list.eval(~pl.element().is_in(known)).list.any() if known else pl.lit(value=False)
    mapped = pl.when(is_empty).then(pl.lit(EMPTY)).when(members.list.len() > 0).then(members.list.join(SEPARATOR))
    is_unknown = mapped.is_not_null() & ~is_empty & (says_none | others)
    return given.select(mapped=mapped, is_unknown=is_unknown.fill_null(value=False)).get_columns()


def _parts(column: str) -> Any:
    return pl.col(column).str.split(SEPARATOR)
