"""Which label of which row is doubted, and how likely it is, for whoever corrects files."""

from collections.abc import Iterator

import numpy as np
import polars as pl

from ftzard.core.cell_values import shorten
from ftzard.core.label_sets import indicators
from ftzard.core.records import LabelQueue
from ftzard.core.visible_text import visible

DOUBTED_SCHEMA = pl.Schema(
    {
        "batch": pl.String(),
        "row": pl.Int64(),
        "text": pl.String(),
        "label": pl.String(),
        "doubted": pl.String(),
        "is_given": pl.Boolean(),
        "probability": pl.Float64(),
    }
)


def doubted_labels(queue: LabelQueue, examples: pl.DataFrame) -> pl.DataFrame:
    """Name the label that each queued example is doubted for.

    Args:
        queue: As `find_label_errors` or `find_set_label_errors` made it.
        examples: `EXAMPLE_SCHEMA`: what it was made of.

    Returns:
        `DOUBTED_SCHEMA`, in the order of the queue. `label` is what the row says, a set where it says one; `doubted` is
        the label that is probably wrong there; `is_given` says whether it is one too many, or else missing;
        `probability` in [0, 1] is how likely the text is to have it.
    """
    said = queue.sidecar.select("text_hash", "uncertainty", "probabilities")
    queued = queue.rows.sort("position").select("text_hash").join(said, on="text_hash", maintain_order="left")
    queued = queued.join(examples, on="text_hash", maintain_order="left")
    if not queue.takes_sets:
        found = queued.with_columns(doubted="label", is_given=True, probability=1 - pl.col("uncertainty"))
        return found.select(DOUBTED_SCHEMA.names())
    labels = list(queue.labels)
    true = indicators(queued["label"], labels)
    probabilities = queued["probabilities"].struct.unnest().select(labels).to_numpy()
    worst = np.abs(true - probabilities).argmax(axis=1) if queued.height else np.empty(0, dtype=np.int64)
    numbers = np.arange(queued.height)
    found = queued.with_columns(
        doubted=pl.Series([labels[code] for code in worst], dtype=pl.String),
        is_given=pl.Series(true[numbers, worst], dtype=pl.Boolean),
        probability=pl.Series(probabilities[numbers, worst], dtype=pl.Float64),
    )
    return found.select(DOUBTED_SCHEMA.names())


def doubts_in_words(doubted: pl.DataFrame) -> Iterator[str]:
    """A line for each row of `doubted_labels`."""
    for batch, row, text, label, one, is_given, probability in doubted.iter_rows():
        said = "" if one == label else f"{label!r} with " if is_given else f"{label!r} without "
        yield f"{visible(batch)}, row {row}: {said}{one!r}, which is {probability:.0%} likely: {visible(shorten(text))}"
