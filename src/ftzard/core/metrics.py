"""Classification metrics as pure numpy functions.

Metrics of decisions are functions of a confusion matrix, of any number of them at once; metrics of probabilities are
means of a loss per row. Both lets the bootstrap judge thousands of resamples without a Python loop over them. Nothing
here hides a failure in a number: an empty input raises.
"""

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

# A probability of 0 for what then happened would make the mean loss infinite whatever the other rows say; it counts as
# the smallest step of a float64 at 1, like in scikit-learn: at most 36 nats a row.
SMALLEST_PROBABILITY = float(np.finfo(np.float64).eps)


def confusion_matrices(true: IntArray, predicted: IntArray, num_labels: int) -> IntArray:
    """Count how often each label was taken for each label.

    Args:
        true: Indices of the true labels in [0, num_labels), shape (..., n).
        predicted: Indices of the predicted labels, same shape.
        num_labels: k, the size of the label set.

    Returns:
        Counts of shape (..., k, k): rows are true labels, columns predicted ones.

    Raises:
        ValueError: There are no rows, the shapes differ, or an index is not one of a label.
    """
    if true.shape != predicted.shape or true.size == 0:
        message = f"true and predicted labels must be as many and at least one, not {true.shape} and {predicted.shape}"
        raise ValueError(message)
    if min(true.min(), predicted.min()) < 0 or max(true.max(), predicted.max()) >= num_labels:
        message = f"label indices must be from 0 to {num_labels - 1}"
        raise ValueError(message)
    leading = true.shape[:-1]
    num_cells = num_labels * num_labels
    offsets = np.arange(int(np.prod(leading)), dtype=np.int64).reshape(*leading, 1) * num_cells
    cells = (offsets + true * num_labels + predicted).ravel()
    counts = np.bincount(cells, minlength=offsets.size * num_cells)
    return counts.reshape(*leading, num_labels, num_labels)


def accuracy(confusion: IntArray) -> FloatArray:
    """Share of the rows whose predicted label is the true one.

    Args:
        confusion: Counts of shape (..., k, k), rows true.

    Returns:
        Shape (...), range 0 to 1, higher is better.

    Raises:
        ValueError: A confusion matrix holds no rows.
    """
    _check_not_empty(confusion)
    return np.asarray(_hits(confusion).sum(axis=-1) / confusion.sum(axis=(-2, -1)))


def balanced_accuracy(confusion: IntArray) -> FloatArray:
    """Mean recall of the labels that occur among the true ones.

    A label without a true example has no recall and is left out of the mean, as in scikit-learn. Chance and any
    constant answer get 1 divided by the number of labels that occur (Brodersen et al. 2010).

    Args:
        confusion: Counts of shape (..., k, k), rows true.

    Returns:
        Shape (...), range 0 to 1, higher is better.

    Raises:
        ValueError: A confusion matrix holds no rows.
    """
    _check_not_empty(confusion)
    num_occurring = (confusion.sum(axis=-1) > 0).sum(axis=-1)
    return np.asarray(recall(confusion).sum(axis=-1) / num_occurring)


def macro_f1(confusion: IntArray) -> FloatArray:
    """Mean F1 over all labels of the label set, each counting the same however rare.

    A label that neither occurs nor is predicted has F1 0 and stays in the mean: `f1_score(..., labels=all, average=
    "macro", zero_division=0)` of scikit-learn. This is the mean of the F1 scores, not the F1 of mean precision and mean
    recall (Opitz and Burst 2019).

    Args:
        confusion: Counts of shape (..., k, k), rows true.

    Returns:
        Shape (...), range 0 to 1, higher is better.

    Raises:
        ValueError: A confusion matrix holds no rows.
    """
    return np.asarray(f1(confusion).mean(axis=-1))


def precision(confusion: IntArray) -> FloatArray:
    """Per label, the share of its predictions that are right.

    Args:
        confusion: Counts of shape (..., k, k), rows true.

    Returns:
        Shape (..., k), range 0 to 1, higher is better; 0 for a label that is never predicted.

    Raises:
        ValueError: A confusion matrix holds no rows.
    """
    _check_not_empty(confusion)
    return _ratio(_hits(confusion), confusion.sum(axis=-2))


def recall(confusion: IntArray) -> FloatArray:
    """Per label, the share of its true examples that are found.

    Args:
        confusion: Counts of shape (..., k, k), rows true.

    Returns:
        Shape (..., k), range 0 to 1, higher is better; 0 for a label without a true example.

    Raises:
        ValueError: A confusion matrix holds no rows.
    """
    _check_not_empty(confusion)
    return _ratio(_hits(confusion), confusion.sum(axis=-1))


def f1(confusion: IntArray) -> FloatArray:
    """Per label, the harmonic mean of precision and recall.

    Args:
        confusion: Counts of shape (..., k, k), rows true.

    Returns:
        Shape (..., k), range 0 to 1, higher is better; 0 for a label that is never found, also where it has neither a
        true example nor a prediction.

    Raises:
        ValueError: A confusion matrix holds no rows.
    """
    _check_not_empty(confusion)
    # 2 TP / (2 TP + FP + FN), in which the two margins hold TP once each.
    return _ratio(2 * _hits(confusion), confusion.sum(axis=-1) + confusion.sum(axis=-2))


def log_losses(probabilities: FloatArray, true: IntArray) -> FloatArray:
    """Negative natural logarithm of the probability given to the true label, a row.

    Args:
        probabilities: Shape (n, k), rows with sum 1.
        true: Indices of the true labels, shape (n,).

    Returns:
        Shape (n,), in nats, range 0 to 36 (`SMALLEST_PROBABILITY`), lower is better; the log loss is their mean.

    Raises:
        ValueError: There are no rows, or not as many of the one as of the other.
    """
    _check_rows(probabilities, true)
    of_true = probabilities[np.arange(true.size), true]
    return np.asarray(-np.log(np.clip(of_true, SMALLEST_PROBABILITY, 1.0)))


def brier_scores(probabilities: FloatArray, true: IntArray) -> FloatArray:
    """Squared distance between the probabilities and the truth, a row, summed over all labels (Brier 1950).

    With two labels this is twice what is often called the Brier score of the positive class.

    Args:
        probabilities: Shape (n, k), rows with sum 1.
        true: Indices of the true labels, shape (n,).

    Returns:
        Shape (n,), range 0 to 2, lower is better; the Brier score is their mean.

    Raises:
        ValueError: There are no rows, or not as many of the one as of the other.
    """
    _check_rows(probabilities, true)
    truth = np.eye(probabilities.shape[1])[true]
    return np.asarray(((probabilities - truth) ** 2).sum(axis=1))


def _hits(confusion: IntArray) -> IntArray:
    return np.diagonal(confusion, axis1=-2, axis2=-1)


def _ratio(part: IntArray, whole: IntArray) -> FloatArray:
    """Divide, with 0 where there is nothing to divide by."""
    return np.asarray(part / np.maximum(whole, 1), dtype=np.float64)


def _check_not_empty(confusion: IntArray) -> None:
    if confusion.size == 0 or (confusion.sum(axis=(-2, -1)) == 0).any():
        message = f"a confusion matrix must count at least one row; got shape {confusion.shape}"
        raise ValueError(message)


def _check_rows(probabilities: FloatArray, true: IntArray) -> None:
    if true.size == 0 or probabilities.shape[:1] != true.shape:
        message = f"probabilities of shape {probabilities.shape} do not fit {true.size} true label(s), at least one"
        raise ValueError(message)
