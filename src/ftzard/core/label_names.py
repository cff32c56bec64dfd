"""Which labels stand in the cells of a column `label`, whatever the task: one in each, or a set of them."""

from collections.abc import Callable, Mapping
from typing import Final

import polars as pl

from ftzard.core.label_sets import EMPTY, set_members


def _one_each(cells: pl.Series) -> pl.Series:
    return cells


def _of_sets(cells: pl.Series) -> pl.Series:
    return set_members(cells).explode().drop_nulls()


_NAMES: Final[Mapping[str, Callable[[pl.Series], pl.Series]]] = {"multi_label": _of_sets}


def label_names(cells: pl.Series, task: str) -> pl.Series:
    """Every label of the cells, as often as it is given; of a set each of its labels.

    Args:
        cells: The column `label` of cleaned examples.
        task: `data.task`.
    """
    return _NAMES.get(task, _one_each)(cells)


def label_counts(cells: pl.Series, task: str) -> dict[str, int]:
    """Label -> how many cells have it, by name."""
    return dict(label_names(cells, task).value_counts().sort(cells.name).iter_rows())


def num_without_label(cells: pl.Series, task: str) -> int:
    """How many cells say that there is none of the labels; 0 where each has one."""
    return int((cells == EMPTY).sum()) if task == "multi_label" else 0
