"""What reports of single labels and of sets of labels say alike: how well a classifier does, and beside TF-IDF.

What a metric, a right answer or a sound probability is differs between the two; it is given from outside.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import polars as pl

from ftzard.config import EvaluationConfig
from ftzard.core.bootstrap import Statistic, paired_difference, percentile_interval, resample_values, share_interval
from ftzard.core.evaluation_report import ClassScores, Interval, Verdict
from ftzard.core.evaluation_verdict import sentence_of, verdict_of
from ftzard.core.label_sets import BoolArray
from ftzard.core.metrics import FloatArray, IntArray
from ftzard.core.row_groups import Rows, num_drawn, num_rows
from ftzard.errors import InvalidPredictionsError, TooFewExamplesError

# What has no end that only rows all alike come to; every other metric is a share.
_LOSSES: Final = frozenset({"log_loss", "brier", "ece"})


class BesideTfidf(NamedTuple):
    """An adapter beside TF-IDF.

    Attributes:
        difference: Macro-F1 of the adapter minus that of TF-IDF, with its paired 95 % interval.
        verdict: Which of them is better, if that can be told.
        sentence: The verdict in words.
    """

    difference: Interval
    verdict: Verdict
    sentence: str


def sorted_test(test: pl.DataFrame) -> pl.DataFrame:
    """The test split in the order of its hashes.

    Raises:
        TooFewExamplesError: It has no rows.
    """
    if test.is_empty():
        raise TooFewExamplesError(
            "the test split has no rows", fix="add labelled rows to data.raw_dir or raise data.test_fraction"
        )
    return test.sort("text_hash")


def check_sound(predictions: pl.DataFrame, probabilities: FloatArray, sound: BoolArray, rule: str) -> None:
    """Refuse probabilities that are none.

    Args:
        predictions: Has `text_hash`; n rows.
        probabilities: Theirs, shape (n, k).
        sound: Which rows are as they must be, shape (n,).
        rule: How they must be, in words: `from 0 to 1`.

    Raises:
        InvalidPredictionsError: A row is not.
    """
    if not sound.all():
        first = int(np.flatnonzero(~sound)[0])
        raise InvalidPredictionsError(
            f"the probabilities of {int((~sound).sum())} predictions are not {rule}, the first with text_hash "
            f"{predictions['text_hash'][first]!r}: {probabilities[first].tolist()}",
            fix="materialize `predictions` again",
        )


def metric_intervals(
    names: Sequence[str], measure: Statistic, rows: Rows, config: EvaluationConfig
) -> dict[str, Interval]:
    """Measure several metrics with their 95 % intervals.

    Args:
        names: Of the m metrics.
        measure: Maps row indices of shape (b, n) to values of shape (b, m).
        rows: n, at least 1, or the group of each row.
        config: Number of resamples and the seed.
    """
    values = measure(np.arange(num_rows(rows), dtype=np.int64)[None])[0]
    resampled = resample_values(measure, rows, config.num_bootstrap_samples, config.seed)
    columns = zip(names, values, resampled.T, strict=True)
    return {
        name: percentile_interval(float(value), column)
        if name in _LOSSES
        else share_interval(float(value), column, num_drawn(rows))
        for name, value, column in columns
    }


def class_scores(
    labels: Sequence[str],
    precision: FloatArray,
    recall: FloatArray,
    f1: FloatArray,
    num_examples: FloatArray | IntArray,
) -> tuple[ClassScores, ...]:
    """One entry for each of k labels, from arrays of shape (k,)."""
    columns = zip(labels, precision, recall, f1, num_examples, strict=True)
    return tuple(ClassScores(label, float(p), float(r), float(f), int(n)) for label, p, r, f, n in columns)


def beside_tfidf(
    adapter: Statistic, tfidf: Statistic, rows: Rows, num_differing: int, config: EvaluationConfig
) -> BesideTfidf:
    """Compare an adapter with TF-IDF on the same rows.

    Args:
        adapter: Its macro-F1; maps row indices of shape (b, n) to values of shape (b,).
        tfidf: Likewise.
        rows: n, at least 1, or the group of each row.
        num_differing: Rows, or groups, on which the two differ.
        config: Number of resamples and the seed.
    """
    difference = paired_difference(adapter, tfidf, rows, config.num_bootstrap_samples, config.seed)
    verdict = verdict_of(difference, num_differing)
    sentence = sentence_of("macro-F1", difference, verdict, rows, whose="TF-IDF's", other="TF-IDF")
    return BesideTfidf(difference, verdict, sentence)
