"""Labelled examples with a label too many or too few, for people to look at; nothing here changes a label.

Confident learning for each label by itself, having it or not (Thyagarajan, Snorrason, Northcutt and Mueller,
"Identifying Incorrect Annotations in Multi-Label Classification Data", 2022), as the package cleanlab does it; else as
`ftzard.core.label_errors`.
"""

from collections.abc import Sequence

import numpy as np
import polars as pl

from ftzard.core.label_errors import doubts_queue, no_cleanlab
from ftzard.core.label_queue import sidecar_schema
from ftzard.core.label_sets import BoolArray, indicators
from ftzard.core.metrics import FloatArray, IntArray
from ftzard.core.predictions import THRESHOLDS, probability_matrix
from ftzard.core.records import LabelQueue
from ftzard.core.set_baseline import out_of_fold_set_predictions
from ftzard.core.set_predictions import set_confidences


def find_set_label_errors(examples: pl.DataFrame, labels: Sequence[str], *, seed: int, max_rows: int) -> LabelQueue:
    """Queue the examples of whose labels the others speak against one.

    Args:
        examples: `EXAMPLE_SCHEMA`, `label` holding sets, in any order. A text with several sets is passed over: it is
            known already.
        labels: The label set.
        seed: Of the folds.
        max_rows: How many at most.

    Returns:
        The most doubtful first. The sidecar's `uncertainty` is 1 minus the probability of what the example says of its
        most doubtful label, its `arm` is `strategy` throughout.

    Raises:
        MissingPackageError: `cleanlab` is not installed.
        TooFewExamplesError: Fewer examples than there are folds have a label, or fewer have it not.
    """
    # By content, so that the folds do not hang on the order of the rows.
    rows = examples.filter(pl.len().over("text_hash") == 1).sort("text_hash")
    said = out_of_fold_set_predictions(rows, labels, seed)
    true, probabilities = indicators(rows["label"], labels), probability_matrix(said)
    doubts = np.abs(true - probabilities).max(axis=1, initial=0.0)
    found = _doubtful(true, probabilities)
    doubtful = found[np.argsort(-doubts[found], kind="stable")][:max_rows]
    queued = rows[doubtful].with_columns(
        said[doubtful].select("predicted_label", "probabilities", THRESHOLDS),
        uncertainty=pl.Series(doubts[doubtful], dtype=pl.Float64),
        confidence=pl.Series(set_confidences(said)[doubtful], dtype=pl.Float64),
    )
    return doubts_queue(queued, sidecar_schema(labels, sets=True))


def _doubtful(true: BoolArray, probabilities: FloatArray) -> IntArray:
    """Numbers of the rows with a label that is probably wrong, ascending."""
    try:
        from cleanlab.multilabel_classification.filter import find_label_issues
    except ModuleNotFoundError as error:
        raise no_cleanlab() from error
    members = [np.flatnonzero(row).tolist() for row in true]
    return np.flatnonzero(find_label_issues(members, probabilities, n_jobs=1)).astype(np.int64)
