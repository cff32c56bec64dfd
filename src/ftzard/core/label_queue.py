"""The rows of one incoming file that are worth a person's time, and beside them some that chance chose.

The random control arm is what live accuracy is measured on: the rows a strategy chooses are the hard ones, and the
model's accuracy on those says nothing of the rest. The arm is drawn from all rows of the file, whatever the model says
of them, before the strategy chooses; people see one shuffled list, and only the sidecar knows which row is which.
"""

import hashlib
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ftzard.config import LabellingConfig
from ftzard.core.confidences import confidences
from ftzard.core.label_pools import LabelSetPool, Pool
from ftzard.core.predictions import THRESHOLDS, labels_of_predictions, probability_matrix
from ftzard.core.query_strategies import make_query_strategy
from ftzard.core.records import QUEUE_ROW_SCHEMA, LabelQueue
from ftzard.errors import PredictionsMismatchError

_VERSION_COLUMN: Final = "champion_version"
# Queues of before it was kept lack it.
NUM_DRAWN_FROM: Final = "num_drawn_from"


def sidecar_schema(labels: Sequence[str], *, sets: bool = False, drawn: bool = False) -> pl.Schema:
    """Name the columns of a sidecar.

    Args:
        labels: The label set.
        sets: Whether a text can have any number of labels.
        drawn: Whether a control arm was drawn, and from how many rows is known.

    Returns:
        `text_hash`; `arm` (`strategy` or `control`); `strategy`, the configured one, in both arms; `uncertainty` by its
        measure; `predicted_label`, `confidence` (its probability) and `probabilities` (a struct with a field per label,
        which also tells the label set) by the champion; `champion_version`; and `batch`, the file. For sets of labels
        also `thresholds`, by which it is known that people may give several. Of a file's queue also `num_drawn_from`,
        the rows of the file that the control arm was drawn from, so that live accuracy knows for how many it stands.
    """
    text_columns = ("text_hash", "arm", "strategy", "predicted_label", _VERSION_COLUMN, "batch")
    numbers = pl.Struct([pl.Field(label, pl.Float64) for label in labels])
    return pl.Schema(
        {
            **dict.fromkeys(text_columns, pl.String()),
            **dict.fromkeys(("uncertainty", "confidence"), pl.Float64()),
            "probabilities": numbers,
            **({THRESHOLDS: numbers} if sets else {}),
            **({NUM_DRAWN_FROM: pl.Int64()} if drawn else {}),
        }
    )


def make_label_queue(
    examples: pl.DataFrame,
    predictions: pl.DataFrame,
    champion_version: str,
    config: LabellingConfig,
    *,
    embeddings: NDArray[np.floating] | None = None,
    already_labelled: AbstractSet[str] = frozenset(),
) -> LabelQueue:
    """Choose the rows of one file that people should label.

    The same file, predictions and configuration give the same queue, in whatever order the rows come.

    Args:
        examples: `EXAMPLE_SCHEMA` without labels: the whole file.
        predictions: `prediction_schema`, one row for each example, in any order; a column `champion_version` is passed
            over.
        champion_version: Whose predictions they are.
        config: Strategy, threshold, size of the queue and share of the control arm.
        embeddings: Shape (n, d), row by row those of `examples`; only `diverse` needs them.
        already_labelled: `text_hash` of rows whose label is known; they are not asked for again.

    Returns:
        At most `labelling.max_rows_per_file` rows; fewer where the file has fewer without a label, or fewer that are
        uncertain enough, in which case the control arm keeps its share of the smaller queue. Where the share is above
        0, the control arm has at least one row.

    Raises:
        PredictionsMismatchError: An example has no prediction, or two.
        ValueError: The strategy needs embeddings and there are none, or not as many as examples.
    """
    pool_rows, vectors = _pool_rows(examples, predictions, embeddings, already_labelled)
    answers = pool_rows.select(predictions.drop(_VERSION_COLUMN, strict=False).columns)
    labels, sets = labels_of_predictions(answers), THRESHOLDS in answers.columns
    pool = pool_of(answers, vectors)
    strategy = make_query_strategy(config)
    control_rng, strategy_rng, order_rng = _generators(examples["text_hash"], config.seed)

    threshold = strategy.threshold(pool)
    uncertainty = strategy.uncertainty(pool)
    num_eligible = len(pool) if threshold is None else int((uncertainty >= threshold).sum())
    num_control, num_strategy = arm_sizes(len(pool), num_eligible, config)
    control = control_rng.permutation(len(pool)).astype(np.int64)[:num_control]
    # A row that both would choose stays in the control arm, and the strategy goes on to its next.
    ranked = strategy.query(pool, num_strategy + num_control, strategy_rng)
    chosen = ranked[~np.isin(ranked, control)][:num_strategy]

    queued = order_rng.permutation(np.concatenate([np.sort(control), np.sort(chosen)]))
    rows = pool_rows[queued].with_columns(
        position=pl.int_range(1, len(queued) + 1, dtype=pl.Int64),
        arm=pl.Series(np.where(np.isin(queued, control), "control", "strategy"), dtype=pl.String),
        strategy=pl.lit(config.query_strategy),
        uncertainty=pl.Series(uncertainty[queued], dtype=pl.Float64),
        confidence=pl.Series(confidences(answers)[queued], dtype=pl.Float64),
        champion_version=pl.lit(champion_version),
        num_drawn_from=pl.lit(len(pool), dtype=pl.Int64),
    )
    schema = sidecar_schema(labels, sets=sets, drawn=True)
    sidecar = rows.select(schema.names()).sort("text_hash").cast(schema)
    return LabelQueue(rows.select(QUEUE_ROW_SCHEMA.names()), sidecar)


def file_uncertainty(predictions: pl.DataFrame, config: LabellingConfig) -> tuple[NDArray[np.float64], float | None]:
    """How uncertain the champion is of a file's rows, and how uncertain a row has to be for the strategy.

    Args:
        predictions: As for `make_label_queue`.
        config: Names the strategy and its threshold.

    Returns:
        Shape (n,), in the order of the predictions; and the threshold, None where every row may be chosen.
    """
    pool = pool_of(predictions.drop(_VERSION_COLUMN, strict=False))
    strategy = make_query_strategy(config)
    return strategy.uncertainty(pool), strategy.threshold(pool)


def pool_of(answers: pl.DataFrame, embeddings: NDArray[np.floating] | None = None) -> Pool:
    """A classifier's answers, with the columns of `prediction_schema`, as what strategies choose from."""
    make = LabelSetPool if THRESHOLDS in answers.columns else Pool
    return make(probability_matrix(answers), embeddings)


def arm_sizes(num_rows: int, num_eligible: int, config: LabellingConfig) -> tuple[int, int]:
    """How many rows each arm may have.

    Args:
        num_rows: Rows of the file that could be queued.
        num_eligible: Those of them that are uncertain enough for the strategy.
        config: Size of the queue and share of the control arm.

    Returns:
        Of the control arm, and of the strategy's.
    """
    num_queued = min(num_rows, config.max_rows_per_file)
    share = config.control_fraction
    least = min(1, num_queued) if share > 0 else 0
    num_control = max(least, round(share * num_queued))
    num_strategy = num_queued - num_control
    if num_eligible < num_strategy:
        num_strategy = num_eligible
        num_control = min(num_control, max(least, round(num_strategy * share / (1 - share))))
    return num_control, num_strategy


def _pool_rows(
    examples: pl.DataFrame,
    predictions: pl.DataFrame,
    embeddings: NDArray[np.floating] | None,
    already_labelled: AbstractSet[str],
) -> tuple[pl.DataFrame, NDArray[np.floating] | None]:
    """Examples that may be queued, with their predictions, sorted by content; and their embeddings."""
    if embeddings is not None and len(embeddings) != examples.height:
        message = f"{len(embeddings)} embeddings are not those of {examples.height} examples"
        raise ValueError(message)
    wanted = predictions.drop("label", _VERSION_COLUMN, strict=False)
    rows = examples.with_row_index("place").join(wanted, on="text_hash", how="left", maintain_order="left")
    unmatched = rows.filter(pl.col("predicted_label").is_null())["text_hash"]
    if unmatched.len() or rows.height != examples.height:
        raise PredictionsMismatchError(
            f"{unmatched.len()} of {examples.height} incoming rows have no prediction and {rows.height} pairs of rows "
            "and predictions were found",
            fix="materialize `incoming_predictions` again for this file",
        )
    rows = rows.filter(~pl.col("text_hash").is_in(sorted(already_labelled)))
    rows = rows.unique("text_hash", keep="first", maintain_order=True).sort("text_hash")
    return rows, None if embeddings is None else embeddings[rows["place"].to_numpy()]


def _generators(text_hashes: pl.Series, seed: int) -> list[np.random.Generator]:
    """Independent streams that the file's content and the seed decide, so that no arm's draw hangs on another's."""
    content = hashlib.sha256("\n".join(text_hashes.unique().sort()).encode()).digest()
    return np.random.default_rng([seed, *np.frombuffer(content, dtype="<u4").tolist()]).spawn(3)
