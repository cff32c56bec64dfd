"""What an adapter that gives sets of labels has to beat: the most frequent set, and TF-IDF with logistic regressions.

Both learn from the same train split as the adapter and answer in the same frame. TF-IDF is that of single labels
(`ftzard.core.baseline`), with a regression for each label against the rest (binary relevance).
"""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl

from ftzard.core.baseline import CANDIDATES_FOR_C, DEFAULT_C, tfidf_pipeline
from ftzard.core.label_sets import BoolArray, indicators, set_members
from ftzard.core.metrics import SMALLEST_PROBABILITY, FloatArray
from ftzard.core.set_predictions import set_predictions_frame
from ftzard.core.set_thresholds import HALF, tuned_thresholds
from ftzard.errors import TooFewExamplesError, UnknownLabelError

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

    from ftzard.core.records import Splits

_NUM_FOLDS: Final = 3
# To look for wrong labels, as for single labels.
_NUM_CHECKING_FOLDS: Final = 5
# As for single labels: with fewer rows of a label, a fold's macro-F1 hangs on one or two of them.
_MIN_ROWS_PER_LABEL_TO_CHOOSE_C: Final = 7 * _NUM_FOLDS
_MAX_ROWS_TO_CHOOSE_C: Final = 20_000


def frequent_set_predictions(train: pl.DataFrame, test: pl.DataFrame, labels: Sequence[str]) -> pl.DataFrame:
    """Answer with the most frequent set of the train split, and with the share of each label as its probability.

    Args:
        train: Columns `text`, `label`.
        test: Columns `text_hash`, `text`, `label`.
        labels: The label set; of sets that are equally frequent the first by its spelling is predicted.

    Returns:
        One row per row of `test`, in its order, with `prediction_schema(labels, sets=True)`.

    Raises:
        TooFewExamplesError: The train split has no rows.
        UnknownLabelError: A label of the train split is not in `labels`.
    """
    has_label = _label_matrix(train, labels)
    counts = train["label"].value_counts().sort(["count", "label"], descending=[True, False])
    given = np.tile(indicators(counts["label"].head(1), labels), (test.height, 1))
    shares = np.tile(has_label.mean(axis=0), (test.height, 1))
    return _answer(test, shares, labels, np.full(len(labels), HALF), given)


def tfidf_set_predictions(
    splits: "Splits", labels: Sequence[str], seed: int, *, tunes_thresholds: bool = False
) -> pl.DataFrame:
    """Answer with a logistic regression for each label over the TF-IDF of words and pairs of words.

    Each regression weighs both of its answers by their inverse frequency. The strength of the penalty, one for all
    labels, is chosen by cross-validated macro-F1 inside the train split; with few rows of a label it is fixed. The test
    rows are seen by nothing that is fitted.

    Args:
        splits: Columns `text_hash`, `text`, `label`; of `validation` something is only needed to tune thresholds.
        labels: The label set; a label without a train row gets the smallest probability there is.
        seed: Of the folds; the fit itself is deterministic.
        tunes_thresholds: Whether thresholds are tuned on the validation split, as those of the adapter beside it; else
            they are 0.5.

    Returns:
        One row per test row, in their order, with `prediction_schema(labels, sets=True)`.

    Raises:
        TooFewExamplesError: The train split has no rows.
        UnknownLabelError: A label of the train split is not in `labels`.
    """
    train, validation, test = splits.train.sort("text_hash"), splits.validation, splits.test
    has_label = _label_matrix(train, labels)
    texts = train["text"].to_list()
    with _constant_labels():
        classifier = _pipeline(_choose_c(texts, has_label, seed)).fit(texts, has_label.astype(np.int64))
    thresholds = np.full(len(labels), HALF)
    if tunes_thresholds and not validation.is_empty():
        thresholds = tuned_thresholds(_ask(classifier, validation, labels), indicators(validation["label"], labels))
    return _answer(test, _ask(classifier, test, labels), labels, thresholds)


def out_of_fold_set_predictions(examples: pl.DataFrame, labels: Sequence[str], seed: int) -> pl.DataFrame:
    """What the TF-IDF baseline says of each example when it has learned from others alone, in five folds.

    Args:
        examples: Columns `text_hash`, `text`, `label`, with distinct texts, sorted by content.
        labels: The label set.
        seed: Of the folds.

    Returns:
        One row per example, in their order, with `prediction_schema(labels, sets=True)`; the thresholds are 0.5.

    Raises:
        TooFewExamplesError: Fewer examples than there are folds have a label, or fewer have it not.
        UnknownLabelError: A label is not in `labels`.
    """
    from sklearn.model_selection import KFold, cross_val_predict

    has_label = _label_matrix(examples, labels)
    counts = {
        f"{verb} the label {label!r}": int(count)
        for verb, column in (("have", has_label), ("do not have", ~has_label))
        for label, count in zip(labels, column.sum(axis=0), strict=True)
    }
    fewest = min(counts, key=counts.__getitem__)
    if counts[fewest] < _NUM_CHECKING_FOLDS:
        raise TooFewExamplesError(
            f"{counts[fewest]} example(s) {fewest}; to judge labels by what others teach takes {_NUM_CHECKING_FOLDS}",
            fix="add labelled rows of that kind to data.raw_dir",
        )
    folds = KFold(_NUM_CHECKING_FOLDS, shuffle=True, random_state=seed)
    texts = examples["text"].to_list()
    with _constant_labels():
        probabilities = cross_val_predict(
            _pipeline(DEFAULT_C), texts, has_label.astype(np.int64), cv=folds, method="predict_proba"
        )
    return _answer(examples, probabilities, labels, np.full(len(labels), HALF))


@contextmanager
def _constant_labels() -> Iterator[None]:
    """Within it nobody is warned that all rows, or none, have a label: that is then the answer."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Label .* is present in all training examples")
        warnings.filterwarnings("ignore", message="Label not .* is present in all training examples")
        yield


def _label_matrix(train: pl.DataFrame, labels: Sequence[str]) -> BoolArray:
    if train.is_empty():
        raise TooFewExamplesError(
            "the train split has no rows", fix="add labelled rows to data.raw_dir or raise data.train_fraction"
        )
    unknown = sorted({*set_members(train["label"]).explode().drop_nulls()} - set(labels))
    if unknown:
        raise UnknownLabelError(
            f"the train split holds label(s) {unknown}, allowed: {list(labels)}",
            fix="train the adapter again on this split, or correct data.labels",
        )
    return indicators(train["label"], labels)


def _pipeline(c: float) -> "Pipeline":
    from sklearn.multiclass import OneVsRestClassifier

    single = tfidf_pipeline(c)
    regression = OneVsRestClassifier(single.named_steps["regression"])
    return single.set_params(regression=regression)


def _choose_c(texts: Sequence[str], has_label: BoolArray, seed: int) -> float:
    from sklearn.metrics import f1_score, make_scorer
    from sklearn.model_selection import GridSearchCV, KFold

    counts = has_label.sum(axis=0)
    fewest = min(counts[counts > 0].min(initial=len(texts)), (len(texts) - counts)[counts > 0].min(initial=len(texts)))
    if fewest < _MIN_ROWS_PER_LABEL_TO_CHOOSE_C:
        return DEFAULT_C
    # In the order of the texts' hashes, so that the first ones are as good as drawn by lot.
    search = GridSearchCV(
        _pipeline(DEFAULT_C),
        {"regression__estimator__C": CANDIDATES_FOR_C},
        scoring=make_scorer(f1_score, average="macro", zero_division=0),
        cv=KFold(_NUM_FOLDS, shuffle=True, random_state=seed),
        refit=False,
        error_score="raise",
    )
    chosen = has_label[:_MAX_ROWS_TO_CHOOSE_C].astype(np.int64)
    return float(search.fit(texts[:_MAX_ROWS_TO_CHOOSE_C], chosen).best_params_["regression__estimator__C"])


def _ask(classifier: "Pipeline", frame: pl.DataFrame, labels: Sequence[str]) -> FloatArray:
    if frame.is_empty():
        return np.empty((0, len(labels)))
    return np.asarray(classifier.predict_proba(frame["text"].to_list()), dtype=np.float64)


def _answer(
    test: pl.DataFrame,
    probabilities: FloatArray,
    labels: Sequence[str],
    thresholds: FloatArray,
    given: BoolArray | None = None,
) -> pl.DataFrame:
    sure = np.clip(probabilities, SMALLEST_PROBABILITY, 1.0 - SMALLEST_PROBABILITY)
    logits = np.log(sure) - np.log1p(-sure)
    hashes, true = test["text_hash"].to_list(), test["label"].to_list()
    return set_predictions_frame(hashes, true, logits, labels, thresholds.tolist(), given=given)
