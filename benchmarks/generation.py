"""What an adapter that writes answers gains over the same model without it, on tweets as an instruction.

The model is asked in words whether a tweet is negative or positive, and has to write the word. Both labels are as
frequent in training and in test, so that who always writes the same word is right on half of the tweets. The model
without the adapter is asked in the same words and answers in the same way: greedily, up to the same length. Intervals
are 95 % from resampling the test tweets, differences are paired.
"""

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from benchmarks.report import Result, at_least
from ftzard.assets.evaluation import answer_score_table
from ftzard.composition import compose
from ftzard.config import FtzardConfig
from ftzard.core.answer_inference import predict_answers
from ftzard.core.answer_training import train_answers
from ftzard.core.cleaning_answers import clean_answers
from ftzard.core.figures import interval_plot
from ftzard.core.generation_evaluation import evaluate_answers
from ftzard.core.records import RAW_SCHEMA, Splits
from ftzard.core.tweets import sample_tweets

_RECIPE = ("experiment=tweets_generation", "training.device=cpu")
_NUM_TRAIN, _NUM_TEST = 100, 50
# Enough to find as many of the rarer label.
_NUM_TWEETS = 4_000


def run(overrides: Sequence[str] = _RECIPE, num_train: int = _NUM_TRAIN, num_test: int = _NUM_TEST) -> Result:
    """Train on tweets and have both models answer for others.

    Args:
        overrides: The recipe.
        num_train: Training tweets, half of them of each label.
        num_test: Test tweets, likewise.

    Raises:
        MissingPackageError: The model's or the tweets' package is not installed.
    """
    started = time.perf_counter()
    config = compose(overrides)
    splits = _splits(config, num_train, num_test)
    with tempfile.TemporaryDirectory() as folder:
        trained = train_answers(splits, config, Path(folder) / "adapter")
        predictions = predict_answers(trained.adapter, splits.test, config)
    report = evaluate_answers(predictions, splits.train, splits.test, config.evaluation)
    systems = {"adapter": report.adapter, "untrained": report.untrained}
    figures = {
        f"{side}_{name}": score.value for side, system in systems.items() for name, score in system.metrics.items()
    }
    for name, gain in report.differences.items():
        key = f"adapter_over_untrained_{name}"
        figures |= {key: gain.value, f"{key}_low": gain.low, f"{key}_high": gain.high}
    figures |= {"num_train": num_train, "num_test": num_test, "training_s": trained.seconds}
    figures |= {"training_tokens_per_s": trained.tokens_per_s, "total_s": time.perf_counter() - started}
    shown = {system.name: system.metrics["exact_match"] for system in systems.values()}
    return Result(
        figures,
        {"adapter_over_untrained_token_f1_low": at_least(0.0)},
        table=answer_score_table(report),
        picture=interval_plot(shown, metric="exact match"),
    )


def _splits(config: FtzardConfig, num_train: int, num_test: int) -> Splits:
    raw = sample_tweets(_NUM_TWEETS, seed=0).with_columns(batch=pl.lit("tweets.csv"), row=pl.int_range(1, pl.len() + 1))
    tweets = clean_answers(raw.select(list(RAW_SCHEMA)), config.data).examples.sort("text_hash")
    train, test = [], []
    for part in tweets.partition_by("label", maintain_order=True):
        train.append(part[: num_train // 2])
        test.append(part[num_train // 2 : (num_train + num_test) // 2])
    return Splits(pl.concat(train).sort("text_hash"), tweets.clear(), pl.concat(test).sort("text_hash"))
