"""Judge predictions honestly: beside baselines, on the same rows, with intervals, in a sentence.

The order of rows plays no part: predictions and test examples are matched by `text_hash` and judged in its order.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import polars as pl

from ftzard.config import EvaluationConfig
from ftzard.core.baseline import majority_predictions, tfidf_predictions
from ftzard.core.bootstrap import Statistic
from ftzard.core.calibration import expected_calibration_errors, reliability_bins
from ftzard.core.evaluation_report import (
    ClassScores,
    EvaluationReport,
    Interval,
    ReliabilityBin,
    SliceScores,
    SystemScores,
    Verdict,
)
from ftzard.core.length_slices import slices_by_length, text_lengths
from ftzard.core.metrics import (
    FloatArray,
    IntArray,
    accuracy,
    balanced_accuracy,
    brier_scores,
    confusion_matrices,
    f1,
    log_losses,
    macro_f1,
    precision,
    recall,
)
from ftzard.core.predictions import labels_of_predictions, matched_predictions, probability_matrix
from ftzard.core.row_groups import Rows, group_sums, rows_of
from ftzard.core.splitting import test_fingerprint
from ftzard.core.system_scores import beside_tfidf, check_sound, class_scores, metric_intervals, sorted_test

__all__ = [
    "METRIC_NAMES",
    "ClassScores",
    "EvaluationReport",
    "Interval",
    "ReliabilityBin",
    "SliceScores",
    "SystemScores",
    "Verdict",
    "evaluate",
]

METRIC_NAMES = ("accuracy", "balanced_accuracy", "macro_f1", "log_loss", "brier", "ece")

# What float32 probabilities from elsewhere may miss by; ours are float64.
_SUM_TOLERANCE = 1e-4


@dataclass(frozen=True)
class _Answers:
    """One system's answers: label indices of shape (n,), and probabilities of shape (n, k)."""

    true: IntArray
    predicted: IntArray
    probabilities: FloatArray

    @property
    def num_rows(self) -> int:
        return self.true.size

    @property
    def num_labels(self) -> int:
        return int(self.probabilities.shape[1])

    @property
    def confidences(self) -> FloatArray:
        return np.asarray(self.probabilities[np.arange(self.num_rows), self.predicted])

    @property
    def correct(self) -> FloatArray:
        return np.asarray(self.true == self.predicted, dtype=np.float64)

    def confusion(self, samples: IntArray) -> IntArray:
        """Confusion matrices of shape (b, k, k) of resamples of shape (b, m)."""
        return confusion_matrices(self.true[samples], self.predicted[samples], self.num_labels)

    def macro_f1(self, samples: IntArray) -> FloatArray:
        return macro_f1(self.confusion(samples))


def evaluate(
    predictions: pl.DataFrame, train: pl.DataFrame, test: pl.DataFrame, config: EvaluationConfig
) -> EvaluationReport:
    """Judge an adapter's predictions beside the majority class and TF-IDF with logistic regression.

    Args:
        predictions: `prediction_schema`; one row per test example, in any order.
        train: `EXAMPLE_SCHEMA`; what the adapter was trained on. The baselines learn from it, and from nothing else.
        test: `EXAMPLE_SCHEMA`, and `group` where rows belong together; the rows everything is measured on.
        config: Number of resamples and bins, and the seed.

    Returns:
        The report; the same for the same rows in another order.

    Raises:
        TooFewExamplesError: The train or the test split has no rows.
        SingleClassError: The train split has one label only.
        PredictionsMismatchError: Predictions and test examples are not the same rows with the same labels.
        InvalidPredictionsError: The predictions have other columns than agreed, or hold what is no probability.
    """
    labels, test, train = labels_of_predictions(predictions), sorted_test(test), train.sort("text_hash")
    adapter = _answers(matched_predictions(predictions, test), labels)
    baseline = _answers(tfidf_predictions(train, test, labels, config.seed), labels)
    majority = _answers(majority_predictions(train, test, labels), labels)
    rows = rows_of(test)
    num_differing = int(np.count_nonzero(group_sums(adapter.correct - baseline.correct, rows)))
    beside = beside_tfidf(adapter.macro_f1, baseline.macro_f1, rows, num_differing, config)
    return EvaluationReport(
        labels=labels,
        num_train=train.height,
        num_test=test.height,
        test_fingerprint=test_fingerprint(test),
        adapter=_system_scores("adapter", adapter, labels, rows, config),
        baseline=_system_scores("TF-IDF + logistic regression", baseline, labels, rows, config),
        majority=_system_scores("majority class", majority, labels, rows, config),
        difference=beside.difference,
        verdict=beside.verdict,
        sentence=beside.sentence,
        confusion=tuple(tuple(row) for row in adapter.confusion(_all_rows(adapter))[0].tolist()),
        reliability=reliability_bins(adapter.confidences, adapter.correct, config.num_calibration_bins),
        slices=slices_by_length(text_lengths(test), partial(_slice_statistic, adapter), rows, config),
    )


def _answers(predictions: pl.DataFrame, labels: Sequence[str]) -> _Answers:
    position = {label: index for index, label in enumerate(labels)}
    probabilities = probability_matrix(predictions)
    # Written so that a NaN fails both comparisons.
    sound = (probabilities >= 0).all(axis=1) & (np.abs(probabilities.sum(axis=1) - 1) <= _SUM_TOLERANCE)
    check_sound(predictions, probabilities, sound, "from 0 to 1 with sum 1")
    return _Answers(
        true=np.array([position[label] for label in predictions["label"]], dtype=np.int64),
        predicted=np.array([position[label] for label in predictions["predicted_label"]], dtype=np.int64),
        probabilities=np.clip(probabilities, 0.0, 1.0),
    )


def _all_rows(answers: _Answers) -> IntArray:
    return np.arange(answers.num_rows, dtype=np.int64)[None]


def _statistics(answers: _Answers, num_bins: int) -> Statistic:
    """Make the function that measures `METRIC_NAMES` on resamples: shape (b, m) to (b, 6)."""
    losses = log_losses(answers.probabilities, answers.true)
    scores = brier_scores(answers.probabilities, answers.true)
    confidences, correct = answers.confidences, answers.correct

    def measure(samples: IntArray) -> FloatArray:
        confusion = answers.confusion(samples)
        columns = (
            accuracy(confusion),
            balanced_accuracy(confusion),
            macro_f1(confusion),
            losses[samples].mean(axis=1),
            scores[samples].mean(axis=1),
            expected_calibration_errors(confidences, correct, num_bins, samples),
        )
        return np.stack(columns, axis=1)

    return measure


def _system_scores(
    name: str, answers: _Answers, labels: Sequence[str], rows: Rows, config: EvaluationConfig
) -> SystemScores:
    confusion = answers.confusion(_all_rows(answers))[0]
    parts = (precision(confusion), recall(confusion), f1(confusion), confusion.sum(axis=1))
    return SystemScores(
        name=name,
        metrics=metric_intervals(METRIC_NAMES, _statistics(answers, config.num_calibration_bins), rows, config),
        per_class=class_scores(labels, *parts),
    )


def _slice_statistic(answers: _Answers, rows: IntArray) -> Statistic:
    # A label that does not occur in the slice would count as an F1 of 0 for nothing the adapter did.
    occurring = np.union1d(answers.true[rows], answers.predicted[rows])

    def measure(samples: IntArray) -> FloatArray:
        confusion = answers.confusion(rows[samples])
        return np.stack([accuracy(confusion), f1(confusion)[:, occurring].mean(axis=1)], axis=1)

    return measure
