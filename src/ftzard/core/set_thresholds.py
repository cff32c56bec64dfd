"""From which probability on a label counts as given."""

from typing import Final

import numpy as np

from ftzard.core.label_sets import BoolArray
from ftzard.core.metrics import FloatArray

HALF: Final = 0.5


def tuned_thresholds(probabilities: FloatArray, has_label: BoolArray) -> FloatArray:
    """For each label the threshold with the best F1 on these rows.

    This is SCut of Yang, "A Study on Thresholding Strategies for Text Categorization", SIGIR 2001. A threshold lies
    half way between two probabilities that occur; of equally good ones the nearest to 0.5 is taken, and 0.5 itself
    where it is as good. On few rows with a label it follows their luck.

    Args:
        probabilities: Shape (n, k), n > 0.
        has_label: Which rows have which label, shape (n, k).

    Returns:
        Shape (k,), each at least 0 and below 1; 0.5 for a label that no row has.
    """
    columns = zip(probabilities.T, has_label.T, strict=True)
    return np.array([_best_threshold(scores, truth) for scores, truth in columns], dtype=np.float64)


def given_labels(probabilities: FloatArray, thresholds: FloatArray) -> BoolArray:
    """Which labels reach their threshold, shape (n, k)."""
    return np.asarray(probabilities >= thresholds)


def _best_threshold(scores: FloatArray, truth: BoolArray) -> float:
    if not truth.any():
        return HALF
    values, place = np.unique(scores, return_inverse=True)
    # With the threshold below the value i, all rows with that value or a larger one get the label.
    hits = np.cumsum(np.bincount(place, weights=truth)[::-1])[::-1]
    given = np.cumsum(np.bincount(place)[::-1])[::-1]
    f1 = 2 * hits / (given + truth.sum())
    below = np.concatenate([[0.0], values[:-1]])
    thresholds = (below + values) / 2
    is_best = f1 >= f1.max()
    is_given = scores >= HALF
    if 2 * (is_given & truth).sum() / (is_given.sum() + truth.sum()) >= f1.max():
        return HALF
    nearest = np.abs(thresholds[is_best] - HALF).argmin()
    return float(thresholds[is_best][nearest])
