"""How far each batch of labelled data is from what else is trained on, as effect sizes and not as p-values.

Three questions, each with a number of its own. Can a classifier tell the batch from the rest by the texts? A two-sample
test by classifier (Lopez-Paz and Oquab, "Revisiting Classifier Two-Sample Tests", ICLR 2017), of which not the p-value
is kept but the AUC, with the TF-IDF baseline as the classifier and every text judged by folds that have not seen it.
Are the labels, are the lengths shared out otherwise? The population stability index (`population_stability`).

Both measure too little or too much where rows are few: a classifier learns less from them, and two small samples of one
population have different histograms. So both sides of the classifier are cut to the same number of rows, an AUC has an
interval, and a PSI stands beside what chance alone would make of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl

from ftzard.config import DataConfig
from ftzard.core.baseline import out_of_fold_probabilities, telling_words
from ftzard.core.cleaning_questions import question_contents, question_lengths
from ftzard.core.drift import cliffs_delta
from ftzard.core.evaluation_report import Interval
from ftzard.core.label_names import label_counts
from ftzard.core.metrics import FloatArray
from ftzard.core.population_stability import Stability, label_stability, length_stability, stability

# Batches that are compared, and rows of each side that a classifier learns to tell apart.
MAX_BATCHES: Final = 20
MAX_ROWS: Final = 1000
# Rows of each side whose labels and lengths are compared: beyond so many, a histogram hardly changes.
_MAX_COUNTED: Final = 20_000
# With fewer rows on one side the interval spans nearly everything.
MIN_ROWS: Final = 20
# Cliff's delta of 0.147, 0.33 and 0.474 (Romano et al. 2006), as an AUC.
AUC_SMALL: Final = 0.5735
AUC_MEDIUM: Final = 0.665
AUC_LARGE: Final = 0.737

# Rows that teach are judged too, by folds that share most of what they have learned. So luck spreads the AUC 1.2 to 1.5
# times as far as Cliff's interval knows (samples of 20 to 1,000 rows of one population of tweets); made so much wider,
# it held the mean of all samples in 95 to 98 of 100 cases, with and without a true difference.
_WIDENING: Final = 1.5
_NUM_WORDS: Final = 6
_REST, _BATCH = "rest", "batch"
_TABLE_SCHEMA: Final = pl.Schema(
    {
        "batch": pl.String,
        "examples": pl.Int64,
        "auc": pl.Float64,
        "auc_95": pl.String,
        "told_by": pl.String,
        "psi_answers": pl.Float64,
        "psi_answers_by_chance": pl.Float64,
        "psi_lengths": pl.Float64,
        "psi_lengths_by_chance": pl.Float64,
    }
)


@dataclass(frozen=True)
class BatchDrift:
    """A batch against the training data without it.

    Attributes:
        batch: The file.
        num_rows: Its examples.
        num_others: Training examples of other batches.
        num_compared: Of how many of each, at most, the classifier learned.
        auc: How well its texts are told from the others', 0.5 being not at all, with its 95 % interval; None where
            either side has too few rows.
        words: What tells it apart, most first; empty where nothing does.
        answers: PSI of the labels (of sets: the sum of that of each label), or of the lengths of free answers; None
            where a side has no rows, or the batch no answers.
        lengths: PSI of the lengths of the texts, by the others' deciles; likewise.
        longer: Cliff's delta of the lengths, above 0 where its texts are longer, with its 95 % interval; likewise.
    """

    batch: str
    num_rows: int
    num_others: int
    num_compared: int
    auc: Interval | None
    words: tuple[str, ...]
    answers: Stability | None
    lengths: Stability | None
    longer: Interval | None


def batch_drifts(
    examples: pl.DataFrame, train: pl.DataFrame, batches: Sequence[str], config: DataConfig
) -> tuple[BatchDrift, ...]:
    """Compare batches with what is trained on, each without the rows that it brought there itself.

    Args:
        examples: `EXAMPLE_SCHEMA`: all that became an example, whatever split it is in.
        train: `EXAMPLE_SCHEMA`.
        batches: Names; only the first `MAX_BATCHES` are compared.
        config: Says what a text and what an answer is, and gives the seed of the folds.

    Returns:
        In the order of `batches`; a batch without examples is left out, because all of it was known before, or refused.
    """
    # So that nothing hangs on the order of the rows, sums included.
    examples, train = (frame.sort("text_hash", "label") for frame in (examples, train))
    found = []
    for batch in batches[:MAX_BATCHES]:
        own, others = examples.filter(pl.col("batch") == batch), train.filter(pl.col("batch") != batch)
        if not own.is_empty():
            found.append(_compare(batch, own, others, config))
    return tuple(found)


def incoming_drifts(
    incoming: Sequence[pl.DataFrame], train: pl.DataFrame, config: DataConfig
) -> tuple[BatchDrift, ...]:
    """Compare files that came in without labels with what is trained on.

    Args:
        incoming: `EXAMPLE_SCHEMA` without labels, one frame for each file; only the first `MAX_BATCHES` are compared.
        train: `EXAMPLE_SCHEMA`.
        config: As for `batch_drifts`.

    Returns:
        In the order of the files; `answers` is None. A file without rows is left out.
    """
    train = train.sort("text_hash", "label")
    files = [frame.sort("text_hash") for frame in incoming[:MAX_BATCHES] if not frame.is_empty()]
    return tuple(_compare(str(frame["batch"][0]), frame, train, config) for frame in files)


def drift_table(drifts: Sequence[BatchDrift]) -> pl.DataFrame:
    """One row for each batch, for a table."""
    rows = [
        (
            drift.batch,
            drift.num_rows,
            drift.auc.value if drift.auc else None,
            drift.auc and f"{drift.auc.low:.3f} to {drift.auc.high:.3f}",
            ", ".join(drift.words),
            *_psi_cells(drift.answers),
            *_psi_cells(drift.lengths),
        )
        for drift in drifts
    ]
    return pl.DataFrame(rows, schema=_TABLE_SCHEMA, orient="row")


def _psi_cells(found: Stability | None) -> tuple[float | None, float | None]:
    return (found.value, found.chance) if found else (None, None)


def drift_metrics(drifts: Sequence[BatchDrift]) -> dict[str, float]:
    """The newest batch's numbers and the largest of all: six at most, however many batches there are."""
    values: dict[str, list[float | None]] = {
        "auc": [drift.auc.value if drift.auc else None for drift in drifts],
        "psi_answers": [drift.answers.value if drift.answers else None for drift in drifts],
        "psi_lengths": [drift.lengths.value if drift.lengths else None for drift in drifts],
    }
    metrics: dict[str, float] = {}
    for name, found in values.items():
        known = [value for value in found if value is not None]
        if known:
            metrics[f"drift_{name}_max"] = max(known)
        if found and found[0] is not None:
            metrics[f"drift_{name}_newest"] = found[0]
    return metrics


def two_sample_auc(own: pl.DataFrame, others: pl.DataFrame, seed: int) -> Interval | None:
    """How often a classifier that has seen neither gives a text of the first sample more than one of the second.

    Both samples are cut to the size of the smaller one, at most `MAX_ROWS`, by the hashes of their texts. The interval
    is that of Cliff's delta, which is 2 AUC - 1, widened: it tells of these rows' luck, not of what a classifier that
    learned from more rows would find.

    Args:
        own: `EXAMPLE_SCHEMA`.
        others: `EXAMPLE_SCHEMA`, without a text of `own`.
        seed: Of the folds.

    Returns:
        0.5 where the two cannot be told apart, 1 where they always are; None where a sample has too few rows.
    """
    return _auc(_labelled(own, others), seed)


def _auc(labelled: pl.DataFrame, seed: int) -> Interval | None:
    if labelled.height < 2 * MIN_ROWS:
        return None
    codes, probabilities = out_of_fold_probabilities(labelled, (_REST, _BATCH), seed)
    scores = probabilities[:, 1]
    delta = cliffs_delta(scores[codes == 1], scores[codes == 0])
    if delta is None:
        return None
    low, high = (delta.value + _WIDENING * (bound - delta.value) for bound in (delta.low, delta.high))
    return Interval(value=(delta.value + 1) / 2, low=(max(low, -1.0) + 1) / 2, high=(min(high, 1.0) + 1) / 2)


def _compare(batch: str, own: pl.DataFrame, others: pl.DataFrame, config: DataConfig) -> BatchDrift:
    counted, other_counted = own.head(_MAX_COUNTED), others.head(_MAX_COUNTED)
    drawn = _labelled(counted, other_counted)
    said = drawn.with_columns(question_contents(drawn["text"], config))
    auc = _auc(said, config.seed)
    is_told = auc is not None and auc.low > 0.5  # noqa: PLR2004 - what cannot be told apart
    lengths, other_lengths = _lengths(counted, config), _lengths(other_counted, config)
    return BatchDrift(
        batch=batch,
        num_rows=own.height,
        num_others=others.height,
        num_compared=min(own.height, others.height, MAX_ROWS),
        auc=auc,
        words=telling_words(said, (_REST, _BATCH), _NUM_WORDS) if is_told else (),
        answers=_answer_stability(counted, other_counted, config),
        lengths=length_stability(lengths, other_lengths),
        longer=cliffs_delta(lengths, other_lengths),
    )


def _labelled(own: pl.DataFrame, others: pl.DataFrame) -> pl.DataFrame:
    """As many of both, drawn by hash, which is as good as by lot and the same each time."""
    others = others.join(own, on="text_hash", how="anti")
    sides = {
        name: frame.unique("text_hash", keep="first").sort("text_hash")
        for name, frame in ((_BATCH, own), (_REST, others))
    }
    num_rows = min(MAX_ROWS, *(frame.height for frame in sides.values()))
    drawn = [frame.head(num_rows).select("text", label=pl.lit(name)) for name, frame in sides.items()]
    return pl.concat(drawn)


def _answer_stability(own: pl.DataFrame, others: pl.DataFrame, config: DataConfig) -> Stability | None:
    if own["label"].null_count() == own.height:
        return None
    if not config.has_labels:
        return length_stability(*(frame["label"].str.len_chars().to_numpy() for frame in (own, others)))
    given = [frame["label"].drop_nulls() for frame in (own, others)]
    counts = [label_counts(cells, config.task) for cells in given]
    labels = sorted({label for counted in counts for label in counted})
    mine, theirs = ([count.get(label, 0) for label in labels] for count in counts)
    if config.task == "multi_label":
        return label_stability(mine, theirs, *map(len, given))
    return stability(mine, theirs)


def _lengths(frame: pl.DataFrame, config: DataConfig) -> FloatArray:
    return question_lengths(frame["text"], config).to_numpy().astype(np.float64)
