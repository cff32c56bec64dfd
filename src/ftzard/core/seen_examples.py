"""Which examples, and with which answers, the weights of an adapter have seen.

An example whose label was corrected is news to weights that were trained on the wrong one. So what was seen is known by
the text, which says what an adapter must not be judged on, and by text and answer together, which says what is new.
"""

import polars as pl

from ftzard.core.champion_records import SEEN_SCHEMA
from ftzard.core.cleaning import hash_texts


def seen_in(train: pl.DataFrame) -> pl.DataFrame:
    """What weights that are trained on these examples have seen.

    Args:
        train: Columns `text_hash` and `label`.

    Returns:
        `SEEN_SCHEMA`, sorted, without duplicates.
    """
    return _identified(train).select(SEEN_SCHEMA.names()).unique().sort(SEEN_SCHEMA.names())


def with_earlier(seen: pl.DataFrame, earlier: pl.DataFrame) -> pl.DataFrame:
    """What weights have seen that were trained on: of each text, what they saw last.

    Args:
        seen: `SEEN_SCHEMA`: in the training that went on.
        earlier: `SEEN_SCHEMA`: what the weights had seen before.

    Returns:
        `SEEN_SCHEMA`, sorted.
    """
    before = earlier.join(seen, on="text_hash", how="anti")
    return pl.concat([seen, before]).sort(SEEN_SCHEMA.names())


def new_to(seen: pl.DataFrame, train: pl.DataFrame) -> pl.DataFrame:
    """The examples that weights have not seen, or have seen with other answers only.

    Args:
        seen: `SEEN_SCHEMA`; a text whose answer of then is not known is not new, whatever its answer is now.
        train: `EXAMPLE_SCHEMA`.

    Returns:
        Rows of `train`, in its order.
    """
    known = seen.drop_nulls("example_hash")
    unknown = seen.filter(pl.col("example_hash").is_null())
    new = _identified(train).join(known, on="example_hash", how="anti", maintain_order="left")
    return new.join(unknown, on="text_hash", how="anti", maintain_order="left").select(train.columns)


def _identified(train: pl.DataFrame) -> pl.DataFrame:
    # The hash of a text has one length, so that no two pairs of text and answer read the same.
    pairs = train.select(pl.concat_str("text_hash", "label")).to_series()
    return train.with_columns(hash_texts(pairs).alias("example_hash"))
