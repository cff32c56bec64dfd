"""Which old examples are seen again where a training goes on from a champion.

All examples stand in one order, that of the hashes of their texts with the seed. Of each label the first share of the
examples that have it is drawn, and so an example is drawn where it is among the first of one of its labels. That keeps
three promises, however many labels an example has:

- of each label, at least its share is drawn, rounded up, so that no label vanishes from what is seen again;
- nothing is drawn that no label asks for: where each example has one label, of each label exactly its share;
- what is drawn for one share is drawn for every larger one, and hangs on no order of the rows.

Because the order is the same for all labels, they ask for much the same examples, and little more than the share is
drawn (`docs/training.md` has numbers). Iterative stratification (Sechidis, Tsoumakas and Vlahavas, "On the
Stratification of Multi-Label Data", ECML PKDD 2011) comes nearer to it, but what it draws for a smaller share is no
part of what it draws for a larger one, and one more example can change all the others. Having none of the labels counts
as a label here.
"""

import hashlib
import math
from collections.abc import Callable, Mapping
from typing import Final

import polars as pl

from ftzard.core.label_sets import answers_of


def _one_each(cells: pl.Series) -> pl.Series:
    return cells.to_frame("cell").select(pl.concat_list("cell")).to_series()


def _all_alike(cells: pl.Series) -> pl.Series:
    return pl.Series([[""]] * len(cells), dtype=pl.List(pl.String))


# Answers in words are no labels: all examples are one kind.
_STRATA: Final[Mapping[str, Callable[[pl.Series], pl.Series]]] = {
    "classification": _one_each,
    "multi_label": answers_of,
}


def replayed(old: pl.DataFrame, fraction: float, seed: int, task: str) -> pl.DataFrame:
    """Draw a share of each label.

    Args:
        old: Columns `text_hash` and `label`, and any others.
        fraction: The share, in [0, 1].
        seed: Of the order.
        task: `data.task`; where there are no labels, a share of all examples together is drawn.

    Returns:
        The drawn rows, in the order of `old`.
    """
    draws = [hashlib.sha256(f"{seed}:replay:{text_hash}".encode()).hexdigest() for text_hash in old["text_hash"]]
    rows = pl.DataFrame(
        {
            "row": pl.int_range(len(draws), dtype=pl.Int64, eager=True),
            "draw": pl.Series(draws, dtype=pl.String),
            "label": old["label"],
            "stratum": _STRATA.get(task, _all_alike)(old["label"]),
        }
    )
    # A text that has several labels because people disagree stands there once for each.
    parts = rows.explode("stratum").sort("draw", "label").partition_by("stratum", maintain_order=True)
    drawn = {row for part in parts for row in part["row"].head(_num_drawn(fraction, part.height))}
    return old[pl.Series(sorted(drawn), dtype=pl.Int64)]


def _num_drawn(fraction: float, num_rows: int) -> int:
    # Rounded first: a tenth of 30 is 3.0000000000000004 in floating point.
    return math.ceil(round(fraction * num_rows, 9))
