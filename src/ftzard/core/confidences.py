"""How sure a classifier is of what it answers: the probability that it gives its own answer."""

import numpy as np
import polars as pl

from ftzard.core.metrics import FloatArray
from ftzard.core.predictions import THRESHOLDS, probability_matrix
from ftzard.core.set_predictions import set_confidences


def confidences(answers: pl.DataFrame) -> FloatArray:
    """The probability of the predicted label of each row, or of the predicted set of labels; shape (n,), in [0, 1].

    Args:
        answers: With the columns of `prediction_schema`, and no others.
    """
    if THRESHOLDS in answers.columns:
        return set_confidences(answers)
    return np.asarray(probability_matrix(answers).max(axis=1, initial=0.0))
