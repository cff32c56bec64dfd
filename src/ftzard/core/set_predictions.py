"""The frame that every classifier answers with that gives a text any number of labels.

That of single labels (`ftzard.core.predictions`) with one struct more: the threshold of each label, the same in every
row. By it the two kinds are told apart, and a stored file says by itself how its sets came about. The probabilities of
a row are independent of each other.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ftzard.core.label_sets import BoolArray, indicators, set_members, spelled
from ftzard.core.metrics import FloatArray
from ftzard.core.predictions import (
    THRESHOLDS,
    check_scores,
    labels_of_predictions,
    matched_rows,
    prediction_schema,
    probability_matrix,
    struct_of,
)
from ftzard.core.set_thresholds import given_labels
from ftzard.errors import InvalidPredictionsError, PredictionsMismatchError

_PREDICT_AGAIN: Final = "materialize `predictions` again"


def set_predictions_frame(
    text_hashes: Sequence[str],
    labels_true: Sequence[str | None],
    logits: NDArray[np.floating],
    labels: Sequence[str],
    thresholds: Sequence[float],
    *,
    given: BoolArray | None = None,
) -> pl.DataFrame:
    """Make the predictions frame from a classifier's outputs.

    Args:
        text_hashes: What identifies each example; length n.
        labels_true: The true set of each example, in its one spelling; length n.
        logits: Scores, shape (n, k), above 0 where a label is likelier than not; of any floating type.
        labels: The k labels, in the order of the columns of `logits`.
        thresholds: The probability from which on a label is given, shape (k,).
        given: Which labels are given, shape (n, k); None: those that reach their thresholds.

    Returns:
        n rows in the order given, with `prediction_schema(labels, sets=True)`; the probabilities are the sigmoids of
        the logits, in float64.

    Raises:
        ValueError: The shapes do not fit together.
        InvalidPredictionsError: A logit is NaN or infinite.
    """
    scores = check_scores(text_hashes, labels_true, logits, labels)
    cut = np.asarray(thresholds, dtype=np.float64)
    if cut.shape != (len(labels),):
        message = f"{len(labels)} labels need as many thresholds, not {cut.shape}"
        raise ValueError(message)
    probabilities = sigmoid(scores)
    chosen = given_labels(probabilities, cut) if given is None else given
    return pl.DataFrame(
        {
            "text_hash": pl.Series(text_hashes, dtype=pl.String),
            "label": pl.Series(labels_true, dtype=pl.String),
            "predicted_label": pl.Series(spelled(chosen, labels), dtype=pl.String),
            "probabilities": struct_of(probabilities, labels),
            "logits": struct_of(scores, labels),
            THRESHOLDS: struct_of(np.tile(cut, (len(scores), 1)), labels),
        },
        schema=prediction_schema(labels, sets=True),
    )


def thresholds_of(frame: pl.DataFrame) -> FloatArray:
    """The thresholds of a predictions frame, in the order of its labels, shape (k,).

    Raises:
        InvalidPredictionsError: The columns are not those of `prediction_schema(labels, sets=True)`, or there are no
            rows to tell.
    """
    labels = labels_of_predictions(frame)
    if THRESHOLDS not in frame.columns or frame.is_empty():
        raise InvalidPredictionsError("the predictions frame tells no thresholds of labels", fix=_PREDICT_AGAIN)
    first = frame[THRESHOLDS].struct
    return np.array([first.field(label)[0] for label in labels], dtype=np.float64)


def matched_sets(predictions: pl.DataFrame, test: pl.DataFrame) -> pl.DataFrame:
    """Check that predictions are for exactly the test examples, and sort them by `text_hash`.

    Args:
        predictions: `prediction_schema(labels, sets=True)`; one row per test example, in any order.
        test: Columns `text_hash` and `label`, in any order of rows.

    Raises:
        PredictionsMismatchError: A row is predicted twice, for another set, or in one of the two frames only; or a true
            set holds a label that the classifier does not know.
        InvalidPredictionsError: A predicted set does.
    """
    matched = matched_rows(predictions, test)
    labels = labels_of_predictions(predictions)
    for column, error in (("label", PredictionsMismatchError), ("predicted_label", InvalidPredictionsError)):
        unknown = sorted({*set_members(matched[column]).explode().drop_nulls()} - set(labels))
        if unknown:
            raise error(
                f"{column} holds {unknown}, which the classifier has no output for; it knows {list(labels)}",
                fix="train the adapter again on splits with these labels, then materialize `predictions` again",
            )
    return matched


def set_confidences(frame: pl.DataFrame) -> FloatArray:
    """The probability of each row's predicted set, the labels being independent of each other; shape (n,), in [0, 1].

    Args:
        frame: With the columns of `prediction_schema(labels, sets=True)`, and no others.
    """
    probabilities = probability_matrix(frame)
    given = indicators(frame["predicted_label"], labels_of_predictions(frame))
    return np.asarray(np.where(given, probabilities, 1.0 - probabilities).prod(axis=1))


def sigmoid(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Turn logits into probabilities in [0, 1], also where `exp` would overflow."""
    powers = np.exp(-np.abs(logits))
    return np.asarray(np.where(logits >= 0, 1.0, powers) / (1.0 + powers))
