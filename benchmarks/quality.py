"""What labels buy: macro-F1 against the number of labelled tweets, for TF-IDF and for adapters with two heads.

Nested draws of tweets are trained on, and all are scored on the same 1,000 other tweets: TF-IDF with logistic
regression as the project's baseline has it (C chosen by cross-validation), an adapter whose head starts from random
weights, and one whose head starts from the label words; the recipe is the demo's. Intervals are from resampling the
test tweets, 95 %, and differences are paired, tweet by tweet. One seed: they do not say how much another draw of
labels would differ.
"""

import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl

from benchmarks.report import Result
from ftzard.composition import compose
from ftzard.config import FtzardConfig
from ftzard.core.base_model import forget_base_model
from ftzard.core.baseline import tfidf_predictions
from ftzard.core.bootstrap import Statistic, bootstrap_interval, paired_difference
from ftzard.core.cleaning import clean, labels_of
from ftzard.core.evaluation_report import Interval
from ftzard.core.inference import predict
from ftzard.core.metrics import IntArray, confusion_matrices, macro_f1
from ftzard.core.records import RAW_SCHEMA, Splits
from ftzard.core.training import train_adapter
from ftzard.core.tweets import sample_tweets

_RECIPE = ("experiment=demo", "training.device=cpu")
_SIZES = (200, 800, 2000, 8000)
_NUM_TEST = 1000
_NUM_SAMPLES = 2000
_SEED = 0
_BASELINE = "tfidf"
_HEADS: tuple[Literal["random", "label_words"], ...] = ("random", "label_words")


def run(overrides: Sequence[str] = _RECIPE, sizes: Sequence[int] = _SIZES, num_test: int = _NUM_TEST) -> Result:
    """Train and score each way at each size.

    Args:
        overrides: The recipe.
        sizes: Numbers of labels, ascending.
        num_test: Test tweets.

    Raises:
        MissingPackageError: The model's or the tweets' package is not installed.
    """
    started = time.perf_counter()
    config = compose(overrides)
    pool, test = _pool_and_test(config, max(sizes), num_test)
    labels = labels_of(test, config.data)
    true = _codes(test["label"], labels)
    statistics = {
        (way, size): _macro_f1(true, _codes(predictions, labels), len(labels))
        for size in sizes
        for way, predictions in _predicted(pool[:size], test, config, labels).items()
    }
    scores = {key: bootstrap_interval(one, num_test, _NUM_SAMPLES, _SEED) for key, one in statistics.items()}
    figures: dict[str, float] = {}
    for (way, size), score in scores.items():
        names = [f"{way}_macro_f1_at_{size}{suffix}" for suffix in ("", "_low", "_high")]
        figures |= dict(zip(names, (score.value, score.low, score.high), strict=True))
    for size in sizes:
        gain = paired_difference(
            statistics["label_words", size], statistics[_BASELINE, size], num_test, _NUM_SAMPLES, _SEED
        )
        names = [f"label_words_over_{_BASELINE}_at_{size}{suffix}" for suffix in ("", "_low", "_high")]
        figures |= dict(zip(names, (gain.value, gain.low, gain.high), strict=True))
    figures["total_s"] = time.perf_counter() - started
    rows = [{"labels": size} | {way: _told(scores[way, size]) for way in (_BASELINE, *_HEADS)} for size in sizes]
    return Result(figures, table=pl.DataFrame(rows))


def _pool_and_test(config: FtzardConfig, num_train: int, num_test: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    # A few more, because cleaning finds some to be the same.
    raw = sample_tweets(round((num_train + num_test) * 1.05) + 5, seed=_SEED).with_columns(
        batch=pl.lit("tweets.csv"), row=pl.int_range(1, pl.len() + 1)
    )
    examples = clean(raw.select(list(RAW_SCHEMA)), config.data).examples
    drawn = examples.sort("text_hash").sample(fraction=1.0, shuffle=True, seed=_SEED)
    return drawn[num_test : num_test + num_train], drawn[:num_test]


def _predicted(
    train: pl.DataFrame, test: pl.DataFrame, config: FtzardConfig, labels: Sequence[str]
) -> Mapping[str, pl.Series]:
    """Predicted labels of the test tweets by way, in their order."""
    found = {_BASELINE: tfidf_predictions(train, test, labels, _SEED)}
    nothing = train.clear()
    for head in _HEADS:
        own = replace(config, model=replace(config.model, head=head))
        with tempfile.TemporaryDirectory() as folder:
            adapter = train_adapter(Splits(train, nothing, nothing), own, labels, Path(folder) / "adapter").adapter
            found[head] = predict(adapter, test, own)
    forget_base_model()
    return {way: _in_order(predictions, test) for way, predictions in found.items()}


def _told(interval: Interval) -> str:
    return f"{interval.value:.3f} [{interval.low:.3f}, {interval.high:.3f}]"


def _in_order(predictions: pl.DataFrame, test: pl.DataFrame) -> pl.Series:
    matched = test.select("text_hash").join(predictions, on="text_hash", maintain_order="left")
    return matched["predicted_label"]


def _codes(values: pl.Series, labels: Sequence[str]) -> IntArray:
    return np.array([labels.index(value) for value in values], dtype=np.int64)


def _macro_f1(true: IntArray, answers: IntArray, num_labels: int) -> Statistic:
    return lambda rows: macro_f1(confusion_matrices(true[rows], answers[rows], num_labels))
