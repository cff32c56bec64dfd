"""What of the test split is elsewhere: shown where it was quarantined, and found where it should not be."""

from dataclasses import dataclass
from typing import Final

import polars as pl

from ftzard.config import DataConfig
from ftzard.core.cleaning_questions import compared_texts
from ftzard.core.frozen_test import FROZEN_SCHEMA, FrozenTest
from ftzard.core.near_duplicates import find_near
from ftzard.core.records import Splits
from ftzard.core.splitting import IN_TEST_SPLIT

_NUM_SHOWN: Final = 10


@dataclass(frozen=True, eq=False)
class Leakage:
    """What is wrong with splits.

    Attributes:
        copies: Rows of train and validation that are in the test split, exactly or nearly: where they stand and what
            of. Columns `split`, `batch`, `row`, `text`, `test_text`, `num_edits`.
        num_foreign: Test rows that nobody froze.
    """

    copies: pl.DataFrame
    num_foreign: int

    @property
    def is_none(self) -> bool:
        """Whether nothing is wrong."""
        return self.copies.is_empty() and self.num_foreign == 0


def find_leakage(splits: Splits, frozen: FrozenTest | None, config: DataConfig) -> Leakage:
    """Look for test rows where they should not be, without a look at how the splits were made.

    Args:
        splits: To be checked.
        frozen: The frozen test split; its rows count also where they are gone from the data. None: there is none.
        config: Says what is near.
    """
    named = {"train": splits.train, "validation": splits.validation}
    trained = pl.concat([frame.with_columns(split=pl.lit(name)) for name, frame in named.items()])
    known = pl.concat([splits.test.select(FROZEN_SCHEMA.names()), *([frozen.rows] if frozen else [])])
    known = known.unique("text_hash").sort("text_hash")
    copies = _paired(trained, known, config).select("split", "batch", "row", "text", "test_text", "num_edits")
    foreign = splits.test.join(frozen.rows, on="text_hash", how="anti").height if frozen else 0
    return Leakage(copies, foreign)


def quarantined_examples(splits: Splits, frozen: FrozenTest | None, config: DataConfig) -> pl.DataFrame:
    """A few of the rows that were quarantined because they are in the test split, beside what they repeat.

    Returns:
        Columns `batch`, `row`, `text`, `test_text`, `num_edits`.
    """
    aside = splits.quarantined.filter(reason=IN_TEST_SPLIT).sort("batch", "row").head(_NUM_SHOWN)
    known = frozen.rows if frozen else splits.test
    return _paired(aside, known, config).select("batch", "row", "text", "test_text", "num_edits")


def _paired(rows: pl.DataFrame, known: pl.DataFrame, config: DataConfig) -> pl.DataFrame:
    references, candidates = (compared_texts(frame["text"], config) for frame in (known, rows))
    found = find_near(references, candidates, config.near_duplicate_edits)
    tests = known["text"].gather(found["reference"]).alias("test_text")
    return rows[found["candidate"].to_list()].with_columns(tests, found["num_edits"])
