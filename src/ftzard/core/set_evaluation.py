"""Judge sets of labels honestly: beside baselines, on the same rows, with intervals, in a sentence.

The order of rows plays no part: predictions and test examples are matched by `text_hash` and judged in its order.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl

from ftzard.config import EvaluationConfig
from ftzard.core.bootstrap import Statistic
from ftzard.core.calibration import reliability_bins
from ftzard.core.comparison import SetComparison, check_same_labels, compared, same_rows
from ftzard.core.label_sets import EMPTY, BoolArray, indicators
from ftzard.core.length_slices import slices_by_length, text_lengths
from ftzard.core.metrics import FloatArray, IntArray
from ftzard.core.predictions import labels_of_predictions, probability_matrix
from ftzard.core.row_groups import Rows, group_sums, rows_of, rows_of_hashes
from ftzard.core.set_baseline import frequent_set_predictions, tfidf_set_predictions
from ftzard.core.set_metrics import (
    LabelCounts,
    average_precision,
    confused_labels,
    label_counts,
    label_f1,
    label_precision,
    label_recall,
    macro_f1,
    micro_f1,
    row_brier,
    row_exact,
    row_f1,
    row_hamming,
    row_log_losses,
)
from ftzard.core.set_predictions import matched_sets, thresholds_of
from ftzard.core.set_report import LabelOutcomes, LabelSetReport, SetSystemScores
from ftzard.core.set_thresholds import HALF
from ftzard.core.splitting import test_fingerprint
from ftzard.core.system_scores import beside_tfidf, check_sound, class_scores, metric_intervals, sorted_test

if TYPE_CHECKING:
    from ftzard.core.records import Splits

METRIC_NAMES: Final = (
    "micro_f1",
    "macro_f1",
    "samples_f1",
    "subset_accuracy",
    "hamming_loss",
    "average_precision",
    "log_loss",
    "brier",
)


@dataclass(frozen=True, eq=False)
class _Answers:
    """One system's answers: labels that n rows have and get, and probabilities, each of shape (n, k)."""

    true: BoolArray
    given: BoolArray
    probabilities: FloatArray

    @property
    def all_rows(self) -> IntArray:
        return np.arange(len(self.true), dtype=np.int64)[None]

    @property
    def num_wrong(self) -> IntArray:
        """Labels that are wrong about each row, shape (n,)."""
        return np.asarray((self.true != self.given).sum(axis=1), dtype=np.int64)

    def counts(self, samples: IntArray) -> LabelCounts:
        return label_counts(self.true, self.given, samples)

    def label_f1(self, samples: IntArray) -> FloatArray:
        return label_f1(self.counts(samples))

    def macro_f1(self, samples: IntArray) -> FloatArray:
        return macro_f1(self.counts(samples))


def evaluate_sets(predictions: pl.DataFrame, splits: "Splits", config: EvaluationConfig) -> LabelSetReport:
    """Judge an adapter's sets beside the most frequent set and TF-IDF with logistic regressions.

    Args:
        predictions: `prediction_schema(labels, sets=True)`; one row per test example, in any order.
        splits: The baselines learn from `train` and, where the adapter's thresholds are tuned, have theirs tuned on
            `validation`; everything is measured on `test`.
        config: Number of resamples and bins, and the seed.

    Returns:
        The report; the same for the same rows in another order.

    Raises:
        TooFewExamplesError: The train or the test split has no rows.
        PredictionsMismatchError: Predictions and test examples are not the same rows with the same labels.
        InvalidPredictionsError: The predictions have other columns than agreed, or hold what is no probability.
    """
    labels, test, train = labels_of_predictions(predictions), sorted_test(splits.test), splits.train.sort("text_hash")
    adapter = _answers(matched_sets(predictions, test), labels)
    tfidf = tfidf_set_predictions(splits, labels, config.seed, tunes_thresholds=is_tuned(predictions))
    baseline = _answers(matched_sets(tfidf, test), labels)
    majority = _answers(frequent_set_predictions(train, test, labels), labels)
    rows = rows_of(test)
    # As the gate counts, so that the report does not tell apart what the gate does not.
    wins = np.sign(baseline.num_wrong - adapter.num_wrong)
    num_differing = int(np.count_nonzero(group_sums(wins, rows)))
    beside = beside_tfidf(adapter.macro_f1, baseline.macro_f1, rows, num_differing, config)
    return LabelSetReport(
        labels=labels,
        thresholds=dict(zip(labels, thresholds_of(predictions).tolist(), strict=True)),
        num_train=train.height,
        num_test=test.height,
        test_fingerprint=test_fingerprint(test),
        adapter=_system_scores("adapter", adapter, labels, rows, config),
        baseline=_system_scores("TF-IDF + logistic regressions", baseline, labels, rows, config),
        majority=_system_scores("most frequent set", majority, labels, rows, config),
        difference=beside.difference,
        verdict=beside.verdict,
        sentence=beside.sentence,
        reliability=reliability_bins(
            adapter.probabilities.ravel(), adapter.true.ravel().astype(np.float64), config.num_calibration_bins
        ),
        num_without_label=test.filter(pl.col("label") == EMPTY).height,
        slices=slices_by_length(text_lengths(test), partial(_slice_statistic, adapter), rows, config),
        confusion=tuple(tuple(row) for row in confused_labels(adapter.true, adapter.given).tolist()),
    )


def compare_sets(
    challenger: pl.DataFrame,
    other: pl.DataFrame,
    name: str,
    config: EvaluationConfig,
    test: pl.DataFrame | None = None,
) -> SetComparison:
    """Compare two classifiers on the rows that both have answered.

    Args:
        challenger: `prediction_schema(labels, sets=True)`, one row per test example.
        other: Likewise, for the same examples in any order.
        name: What to call the other.
        config: Number of resamples and the seed.
        test: As for `ftzard.core.comparison.compare`.

    Raises:
        FtzardError: As `ftzard.core.comparison.compare`.
    """
    labels = check_same_labels(challenger, other, name)
    first, second = same_rows(challenger, other, name)
    mine, theirs = (_answers(frame, labels) for frame in (first, second))
    wins = np.sign(theirs.num_wrong - mine.num_wrong)
    rows = rows_of_hashes(first["text_hash"], test)
    record = partial(SetComparison, rows_count_by="fewer labels wrong")
    return compared(record, name, labels, (mine.label_f1, theirs.label_f1), (rows, wins), config)


def is_tuned(predictions: pl.DataFrame) -> bool:
    """Whether a label counts as given from another probability on than 0.5."""
    return bool((thresholds_of(predictions) != HALF).any())


def set_scores(predictions: pl.DataFrame) -> dict[str, float]:
    """Every metric, without intervals.

    Args:
        predictions: `prediction_schema(labels, sets=True)`, at least one row.
    """
    answers = _answers(predictions, labels_of_predictions(predictions))
    return dict(zip(METRIC_NAMES, _statistics(answers)(answers.all_rows)[0].tolist(), strict=True))


def _answers(predictions: pl.DataFrame, labels: Sequence[str]) -> _Answers:
    probabilities = probability_matrix(predictions)
    # Written so that a NaN fails both comparisons.
    sound = np.asarray(((probabilities >= 0) & (probabilities <= 1)).all(axis=1))
    check_sound(predictions, probabilities, sound, "from 0 to 1")
    return _Answers(
        true=indicators(predictions["label"], labels),
        given=indicators(predictions["predicted_label"], labels),
        probabilities=probabilities,
    )


def _statistics(answers: _Answers) -> Statistic:
    """Make the function that measures `METRIC_NAMES` on resamples: shape (b, m) to (b, 8)."""
    decisions, probabilities = (answers.true, answers.given), (answers.probabilities, answers.true)
    by_row = [row_f1(*decisions), row_exact(*decisions), row_hamming(*decisions)]
    losses = [row_log_losses(*probabilities), row_brier(*probabilities)]

    def measure(samples: IntArray) -> FloatArray:
        counts = answers.counts(samples)
        columns = (
            micro_f1(counts),
            macro_f1(counts),
            *(values[samples].mean(axis=1) for values in by_row),
            average_precision(*probabilities, samples),
            *(values[samples].mean(axis=1) for values in losses),
        )
        return np.stack(columns, axis=1)

    return measure


def _system_scores(
    name: str, answers: _Answers, labels: Sequence[str], rows: Rows, config: EvaluationConfig
) -> SetSystemScores:
    counts = answers.counts(answers.all_rows)
    parts = (label_precision(counts)[0], label_recall(counts)[0], label_f1(counts)[0], counts.true[0])
    return SetSystemScores(
        name=name,
        metrics=metric_intervals(METRIC_NAMES, _statistics(answers), rows, config),
        per_class=class_scores(labels, *parts),
        outcomes=_outcomes(counts, len(answers.true), labels),
    )


def _outcomes(counts: LabelCounts, num_rows: int, labels: Sequence[str]) -> tuple[LabelOutcomes, ...]:
    """From counts of shape (1, k)."""
    columns = zip(labels, counts.hits[0].tolist(), counts.given[0].tolist(), counts.true[0].tolist(), strict=True)
    return tuple(
        LabelOutcomes(
            label=label,
            num_true_positives=int(hits),
            num_false_positives=int(given - hits),
            num_false_negatives=int(true - hits),
            num_true_negatives=int(num_rows - given - true + hits),
        )
        for label, hits, given, true in columns
    )


def _slice_statistic(answers: _Answers, rows: IntArray) -> Statistic:
    exact = row_exact(answers.true, answers.given)
    # As for single labels; where no row of the slice has or gets one, there was nothing to get wrong.
    occurring = np.flatnonzero((answers.true[rows] | answers.given[rows]).any(axis=0))

    def measure(samples: IntArray) -> FloatArray:
        scores = answers.label_f1(rows[samples])[:, occurring]
        mean = scores.mean(axis=1) if occurring.size else np.ones(len(samples))
        return np.stack([exact[rows[samples]].mean(axis=1), mean], axis=1)

    return measure
