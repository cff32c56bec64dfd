"""The frame that every classifier answers with, whether adapter or baseline.

One schema for all of them is what makes them comparable: the evaluation does not ask where a prediction came from. The
label set and its order are part of the frame (the fields of its structs), so that a stored file explains itself.
"""

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ftzard.errors import InvalidPredictionsError, PredictionsMismatchError

_IDENTITY_COLUMNS = ("text_hash", "label", "predicted_label")
_STRUCT_COLUMNS = ("probabilities", "logits")
# The column of classifiers that give any number of labels.
THRESHOLDS = "thresholds"
# With a single class there is nothing to predict.
_MIN_LABELS = 2
_PREDICT_AGAIN = "materialize `predictions` again for these splits"


def prediction_schema(labels: Sequence[str], *, sets: bool = False) -> pl.Schema:
    """Name the columns of a predictions frame.

    Args:
        labels: The label set in the order of the classifier's outputs; at least two, all different.
        sets: Whether a text can have any number of labels; see `ftzard.core.set_predictions`.

    Returns:
        `text_hash`, `label` (the true one), `predicted_label`, and the structs `probabilities` and `logits` with one
        Float64 field per label, in the order of `labels`; for sets of labels also `thresholds`.

    Raises:
        ValueError: There are fewer than two labels, or one is named twice.
    """
    if len(labels) < _MIN_LABELS or len(set(labels)) != len(labels):
        message = f"labels must be at least two different ones, not {list(labels)}"
        raise ValueError(message)
    scores = pl.Struct([pl.Field(label, pl.Float64) for label in labels])
    structs = (*_STRUCT_COLUMNS, THRESHOLDS) if sets else _STRUCT_COLUMNS
    return pl.Schema(dict.fromkeys(_IDENTITY_COLUMNS, pl.String()) | dict.fromkeys(structs, scores))


def labels_of_predictions(frame: pl.DataFrame) -> tuple[str, ...]:
    """Read the label set, in the order of the classifier's outputs, from a predictions frame.

    Args:
        frame: Any number of rows, also none.

    Raises:
        InvalidPredictionsError: The columns are not those of `prediction_schema`.
    """
    scores = frame.schema.get("probabilities")
    labels = tuple(field.name for field in scores.fields) if isinstance(scores, pl.Struct) else ()
    if len(labels) < _MIN_LABELS or frame.schema != prediction_schema(labels, sets=THRESHOLDS in frame.columns):
        raise InvalidPredictionsError(
            f"the predictions frame has the schema {dict(frame.schema)}",
            fix="make it with ftzard.core.predictions.predictions_frame, which writes the agreed columns",
        )
    return labels


def predictions_frame(
    text_hashes: Sequence[str], labels_true: Sequence[str | None], logits: NDArray[np.floating], labels: Sequence[str]
) -> pl.DataFrame:
    """Make the predictions frame from a classifier's outputs.

    Args:
        text_hashes: What identifies each example; length n.
        labels_true: The true label of each example; length n.
        logits: Scores, shape (n, k), higher is likelier; of any floating type. Equal logits are decided for the label
            that comes first.
        labels: The k labels, in the order of the columns of `logits`.

    Returns:
        n rows in the order given, with `prediction_schema(labels)`; the probabilities are the softmax of the logits,
        in float64.

    Raises:
        ValueError: The shapes do not fit together.
        InvalidPredictionsError: A logit is NaN or infinite.
    """
    schema = prediction_schema(labels)
    scores = check_scores(text_hashes, labels_true, logits, labels)
    predicted = scores.argmax(axis=1)
    return pl.DataFrame(
        {
            "text_hash": pl.Series(text_hashes, dtype=pl.String),
            "label": pl.Series(labels_true, dtype=pl.String),
            "predicted_label": pl.Series([labels[index] for index in predicted], dtype=pl.String),
            "probabilities": struct_of(softmax(scores), labels),
            "logits": struct_of(scores, labels),
        },
        schema=schema,
    )


def probability_matrix(frame: pl.DataFrame) -> NDArray[np.float64]:
    """Read the probabilities of a predictions frame as an array of shape (n, k), columns in the order of the labels."""
    labels = labels_of_predictions(frame)
    if frame.is_empty():
        return np.empty((0, len(labels)), dtype=np.float64)
    fields = frame["probabilities"].struct
    return np.column_stack([fields.field(label).to_numpy() for label in labels])


def matched_predictions(predictions: pl.DataFrame, test: pl.DataFrame) -> pl.DataFrame:
    """Check that predictions are for exactly the test examples, and sort them by `text_hash`.

    Args:
        predictions: `prediction_schema`; one row per test example, in any order.
        test: Columns `text_hash` and `label`, in any order of rows.

    Raises:
        PredictionsMismatchError: A row is predicted twice, for another label, or in one of the two frames only.
        InvalidPredictionsError: A predicted label is none of the classifier's.
    """
    matched = matched_rows(predictions, test)
    _check_known_labels(matched, labels_of_predictions(predictions))
    return matched


def matched_rows(predictions: pl.DataFrame, test: pl.DataFrame) -> pl.DataFrame:
    """As `matched_predictions`, whatever it is that was predicted.

    Raises:
        PredictionsMismatchError: A row is predicted twice, for another label, or in one of the two frames only.
    """
    for name, frame in (("predictions", predictions), ("test split", test)):
        repeated = frame.filter(pl.col("text_hash").is_duplicated())["text_hash"]
        if repeated.len():
            raise PredictionsMismatchError(
                f"text_hash {repeated[0]!r} occurs more than once in the {name}", fix=_PREDICT_AGAIN
            )
    for what, left, right in (
        ("predictions are for rows that are not in the test split", predictions, test),
        ("test examples have no prediction", test, predictions),
    ):
        missing = left.join(right, on="text_hash", how="anti").sort("text_hash")["text_hash"]
        if missing.len():
            raise PredictionsMismatchError(
                f"{missing.len()} {what}, the first with text_hash {missing[0]!r}", fix=_PREDICT_AGAIN
            )
    matched = predictions.sort("text_hash")
    _check_true_labels(matched, test.sort("text_hash"))
    return matched


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Turn logits of shape (n, k) into probabilities: rows in [0, 1] with sum 1, also where `exp` would overflow."""
    # The largest logit becomes 0, which changes no ratio and keeps every power at most 1.
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def check_scores(
    text_hashes: Sequence[str], labels_true: Sequence[str | None], logits: NDArray[np.floating], labels: Sequence[str]
) -> NDArray[np.float64]:
    """The logits in float64, of shape (n, k).

    Raises:
        ValueError: The shapes do not fit together.
        InvalidPredictionsError: A logit is NaN or infinite.
    """
    scores = np.asarray(logits, dtype=np.float64)
    if scores.shape != (len(text_hashes), len(labels)) or len(labels_true) != len(text_hashes):
        message = (
            f"{len(text_hashes)} text hashes, {len(labels_true)} true labels and {len(labels)} labels "
            f"do not fit logits of shape {scores.shape}"
        )
        raise ValueError(message)
    _check_finite(scores, text_hashes)
    return scores


def struct_of(values: NDArray[np.float64], labels: Sequence[str]) -> pl.Series:
    """A row of numbers for each example, shape (n, k), as a struct with a field for each label."""
    columns = {label: values[:, index] for index, label in enumerate(labels)}
    return pl.DataFrame(columns, schema=dict.fromkeys(labels, pl.Float64())).to_struct()


def _check_finite(logits: NDArray[np.float64], text_hashes: Sequence[str]) -> None:
    broken = np.flatnonzero(~np.isfinite(logits).all(axis=1))
    if broken.size:
        first = int(broken[0])
        raise InvalidPredictionsError(
            f"the logits of {broken.size} of {len(logits)} example(s) are not finite, "
            f"first those of {text_hashes[first]!r}: {logits[first].tolist()}",
            fix="train again with a lower training.learning_rate, or compute in float32 (model.dtype=float32)",
        )


def _check_true_labels(matched: pl.DataFrame, test: pl.DataFrame) -> None:
    differing = np.flatnonzero(matched["label"].ne_missing(test["label"]).to_numpy())
    if differing.size:
        first = int(differing[0])
        raise PredictionsMismatchError(
            f"{differing.size} test examples carry another label than their predictions say, the first with text_hash "
            f"{test['text_hash'][first]!r}: {test['label'][first]!r}, not {matched['label'][first]!r}",
            fix=_PREDICT_AGAIN,
        )


def _check_known_labels(matched: pl.DataFrame, labels: Sequence[str]) -> None:
    for column, error in (("label", PredictionsMismatchError), ("predicted_label", InvalidPredictionsError)):
        unknown = sorted({str(label) for label in matched[column].unique()} - set(labels))
        if unknown:
            raise error(
                f"{column} holds {unknown}, which the classifier has no output for; it knows {list(labels)}",
                fix="train the adapter again on splits with these labels, then materialize `predictions` again",
            )
