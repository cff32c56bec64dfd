"""What an adapter has to beat: the majority class, and TF-IDF with logistic regression.

Both learn from the same train split as the adapter and answer in the same frame. The TF-IDF baseline is meant to be
hard to beat: it trains in seconds and needs no GPU, so that an adapter which is not better is not worth its price (Wang
and Manning, "Baselines and Bigrams", ACL 2012).
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from ftzard.core.metrics import SMALLEST_PROBABILITY, FloatArray, IntArray
from ftzard.core.predictions import predictions_frame
from ftzard.errors import SingleClassError, TooFewExamplesError, UnknownLabelError

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

# Inverse strength of the L2 penalty: what suits a few hundred short texts, and what is tried where rows are enough.
DEFAULT_C = 10.0
CANDIDATES_FOR_C = (1.0, 10.0, 100.0)
_NUM_FOLDS = 3
_NUM_CHECKING_FOLDS = 5
# With fewer rows of a label, a fold's macro-F1 hangs on one or two of them.
_MIN_ROWS_PER_LABEL_TO_CHOOSE_C = 7 * _NUM_FOLDS
# The best C hardly moves beyond this, while the cost of finding it does.
_MAX_ROWS_TO_CHOOSE_C = 20_000
# Every word, however short, and every sign: "!", ":" and emoji say something about a tweet (on 800 tweets they raise
# macro-F1 from 0.72 to 0.74), and a text of nothing else still has a token. Chinese characters and Japanese kana are
# words of their own, because no spaces part them.
_UNSPACED = "[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]"
_WORD_PATTERN = rf"{_UNSPACED}|(?:(?!{_UNSPACED})\w)+|[^\w\s]"


def majority_predictions(train: pl.DataFrame, test: pl.DataFrame, labels: Sequence[str]) -> pl.DataFrame:
    """Answer with the most frequent label of the train split, and with its label shares as probabilities.

    Args:
        train: Columns `text`, `label`.
        test: Columns `text_hash`, `text`, `label`.
        labels: The label set; of labels that are equally frequent the first one here is predicted.

    Returns:
        One row per row of `test`, in its order, with `prediction_schema(labels)`; the logits are log-probabilities.

    Raises:
        TooFewExamplesError: The train split has no rows.
        UnknownLabelError: A label of the train split is not in `labels`.
    """
    codes = _label_codes(train, labels)
    shares = np.bincount(codes, minlength=len(labels)) / codes.size
    return _answer(test, np.tile(shares, (test.height, 1)), labels)


def tfidf_predictions(train: pl.DataFrame, test: pl.DataFrame, labels: Sequence[str], seed: int) -> pl.DataFrame:
    """Answer with a logistic regression over the TF-IDF of words and pairs of words.

    Classes are weighted by their inverse frequency, as for the adapter. The strength of the penalty is chosen by
    cross-validated macro-F1 inside the train split; with few rows of a label it is fixed. The test rows are seen by
    nothing that is fitted.

    Args:
        train: Columns `text`, `label`.
        test: Columns `text_hash`, `text`, `label`.
        labels: The label set; a label without a train row gets the smallest probability there is.
        seed: Of the folds; the fit itself is deterministic.

    Returns:
        One row per row of `test`, in its order, with `prediction_schema(labels)`; the logits are log-probabilities.

    Raises:
        TooFewExamplesError: The train split has no rows.
        SingleClassError: All rows of the train split have one label.
        UnknownLabelError: A label of the train split is not in `labels`.
    """
    codes = _label_codes(train, labels)
    if np.unique(codes).size == 1:
        raise SingleClassError(
            f"all {train.height} rows of the train split are labelled {labels[codes[0]]!r}",
            fix="add labelled rows of another label to data.raw_dir",
        )
    probabilities = np.zeros((test.height, len(labels)))
    if test.height:
        texts = train["text"].to_list()
        classifier = tfidf_pipeline(_choose_c(texts, codes, seed)).fit(texts, codes)
        probabilities[:, classifier.classes_] = classifier.predict_proba(test["text"].to_list())
    return _answer(test, probabilities, labels)


def out_of_fold_probabilities(examples: pl.DataFrame, labels: Sequence[str], seed: int) -> tuple[IntArray, FloatArray]:
    """What the TF-IDF baseline says of each example when it has learned from others alone, in five folds.

    Args:
        examples: Columns `text`, `label`, with distinct texts.
        labels: The label set; each occurs.
        seed: Of the folds.

    Returns:
        The position of each example's label, shape (n,); and probabilities, shape (n, labels), rows in the same order.

    Raises:
        TooFewExamplesError: A label has fewer examples than there are folds.
        UnknownLabelError: A label is not in `labels`.
    """
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    codes = _label_codes(examples, labels)
    counts = np.bincount(codes, minlength=len(labels))
    if counts.min() < _NUM_CHECKING_FOLDS:
        raise TooFewExamplesError(
            f"{counts.min()} example(s) have the label {labels[int(counts.argmin())]!r}; to judge labels by what "
            f"others teach takes {_NUM_CHECKING_FOLDS}",
            fix="add labelled rows of it to data.raw_dir",
        )
    folds = StratifiedKFold(_NUM_CHECKING_FOLDS, shuffle=True, random_state=seed)
    pipeline, texts = tfidf_pipeline(DEFAULT_C), examples["text"].to_list()
    return codes, cross_val_predict(pipeline, texts, codes, cv=folds, method="predict_proba")


def telling_words(examples: pl.DataFrame, labels: tuple[str, str], num_words: int) -> tuple[str, ...]:
    """The words, and pairs of words, by which the TF-IDF baseline tells the second of two labels from the first.

    Args:
        examples: Columns `text`, `label`.
        labels: Both occur.
        num_words: How many at most.

    Returns:
        Those that add most to the score of the second label's texts over that of the first's, on average; most first.
        Fewer where nothing else speaks for the second label.

    Raises:
        TooFewExamplesError: There are no examples.
        UnknownLabelError: An example has another label.
    """
    codes, texts = _label_codes(examples, labels), examples["text"].to_list()
    pipeline = tfidf_pipeline(DEFAULT_C).fit(texts, codes)
    vectorizer = pipeline.named_steps["tfidf"]
    weights = vectorizer.transform(texts)
    means = [np.asarray(weights[codes == code].mean(axis=0)).ravel() for code in (0, 1)]
    gains = pipeline.named_steps["regression"].coef_[0] * (means[1] - means[0])
    is_more_frequent = means[1] > means[0]
    best = [index for index in np.argsort(-gains, kind="stable")[:num_words] if gains[index] > 0]
    words = vectorizer.get_feature_names_out()
    return tuple(str(words[index]) for index in best if is_more_frequent[index])


def _label_codes(train: pl.DataFrame, labels: Sequence[str]) -> IntArray:
    if train.is_empty():
        raise TooFewExamplesError(
            "the train split has no rows", fix="add labelled rows to data.raw_dir or raise data.train_fraction"
        )
    position = {label: index for index, label in enumerate(labels)}
    unknown = sorted({str(label) for label in train["label"].unique()} - set(labels))
    if unknown:
        raise UnknownLabelError(
            f"the train split holds label(s) {unknown}, allowed: {list(labels)}",
            fix="train the adapter again on this split, or correct data.labels",
        )
    return np.array([position[label] for label in train["label"]], dtype=np.int64)


def tfidf_pipeline(c: float) -> "Pipeline":
    """TF-IDF and a logistic regression, named `tfidf` and `regression`; `c` is the inverse strength of the penalty."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import Pipeline

    vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=_WORD_PATTERN)
    # The default solver, lbfgs, hands tiny matrices to a threaded BLAS: on two busy cores it took fifty times as long
    # as on one. This one stays with sparse products and takes a handful of steps.
    regression = LogisticRegression(C=c, class_weight="balanced", solver="newton-cg", max_iter=1000)
    return Pipeline([("tfidf", vectorizer), ("regression", regression)])


def _choose_c(texts: Sequence[str], codes: IntArray, seed: int) -> float:
    from sklearn.model_selection import GridSearchCV, StratifiedKFold, train_test_split

    counts = np.bincount(codes)
    if counts[counts > 0].min() < _MIN_ROWS_PER_LABEL_TO_CHOOSE_C:
        return DEFAULT_C
    if len(texts) > _MAX_ROWS_TO_CHOOSE_C:
        texts, _, codes, _ = train_test_split(
            texts, codes, train_size=_MAX_ROWS_TO_CHOOSE_C, stratify=codes, random_state=seed
        )
    search = GridSearchCV(
        tfidf_pipeline(DEFAULT_C),
        {"regression__C": CANDIDATES_FOR_C},
        scoring="f1_macro",
        cv=StratifiedKFold(_NUM_FOLDS, shuffle=True, random_state=seed),
        refit=False,
        error_score="raise",
    )
    return float(search.fit(texts, codes).best_params_["regression__C"])


def _answer(test: pl.DataFrame, probabilities: FloatArray, labels: Sequence[str]) -> pl.DataFrame:
    logits = np.log(np.clip(probabilities, SMALLEST_PROBABILITY, 1.0))
    return predictions_frame(test["text_hash"].to_list(), test["label"].to_list(), logits, labels)
