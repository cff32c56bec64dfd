"""What an adapter forgets when it is trained on: three batches of tweets about different things, one after the other.

Version 1 is trained on the first batch. When the second and the third come, the adapter is trained again in three ways,
with the project's own plan for it: from the base model on all batches so far, on from the champion with a share of the
old examples replayed, and on from the champion without any. Every version is then scored on the test tweets of every
batch, also of those still to come.

The test tweets of a batch are the same for all seeds; a seed chooses the training tweets and the order in which they
are trained on. A score is the mean over the seeds, and its interval is from resampling the test tweets, each with the
answers of all seeds, so it does not say how much another set of seeds would differ. Differences are paired, tweet by
tweet and seed by seed.
"""

import io
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from benchmarks.report import Result
from ftzard.composition import compose
from ftzard.config import FtzardConfig, RetrainingConfig
from ftzard.core.bootstrap import Statistic, bootstrap_interval, paired_difference
from ftzard.core.cleaning import clean, labels_of
from ftzard.core.evaluation_report import Interval
from ftzard.core.inference import predict
from ftzard.core.metrics import IntArray, confusion_matrices, macro_f1
from ftzard.core.records import RAW_SCHEMA, AdapterDirectory, Splits
from ftzard.core.retraining import retraining_plan
from ftzard.core.seen_examples import seen_in
from ftzard.core.training import train_adapter
from ftzard.core.tweets import sample_tweets

_RECIPE = ("experiment=demo", "training.device=cpu")
_NUM_TRAIN, _NUM_TEST, _NUM_SEEDS = 150, 100, 2
_NUM_SAMPLES = 2000
# All that the package has of the two labels, as far as they are wanted.
_NUM_TWEETS = 16_000
# In the order in which they come. A tweet that is about two of them is in none.
_TOPICS: Mapping[str, str] = {
    "airlines": r"(?i)@(united|southwestair|americanair|usairways|jetblue|virginamerica)\b",
    "football": r"(?i)deflat|patriots|brady|belichick|superbowl",
    "apple": r"(?i)apple|aapl|iphone|ipad",
}
_WAYS: Mapping[str, RetrainingConfig] = {
    "from_base": RetrainingConfig(),
    "replay": RetrainingConfig(start_from="champion"),
    "no_replay": RetrainingConfig(start_from="champion", replay_fraction=0.0),
}


@dataclass(frozen=True, eq=False)
class _Batch:
    """The tweets of one topic.

    Attributes:
        pool: What training tweets are drawn from, `EXAMPLE_SCHEMA`.
        test: `EXAMPLE_SCHEMA`, the same for every seed.
    """

    pool: pl.DataFrame
    test: pl.DataFrame


# Way, version from 1, topic -> indices of the predicted labels, shape (seeds, test tweets).
_Answers = dict[tuple[str, int, str], list[IntArray]]


def run(
    overrides: Sequence[str] = _RECIPE,
    num_train: int = _NUM_TRAIN,
    num_test: int = _NUM_TEST,
    num_seeds: int = _NUM_SEEDS,
) -> Result:
    """Train and score all versions in all ways.

    Args:
        overrides: The recipe.
        num_train: Training tweets of each batch.
        num_test: Test tweets of each batch.
        num_seeds: How often all is repeated.

    Raises:
        MissingPackageError: The model's or the tweets' package is not installed.
    """
    started = time.perf_counter()
    config = compose(overrides)
    batches = _batches(config, num_test)
    labels = labels_of(pl.concat([batch.test for batch in batches.values()]), config.data)
    answers: _Answers = {}
    for seed in range(num_seeds):
        _add_answers(answers, batches, labels, _seeded(config, seed), num_train)
    true = {topic: _indices(batch.test["label"], labels) for topic, batch in batches.items()}
    statistics = {key: _mean_macro_f1(true[key[2]], found, len(labels)) for key, found in answers.items()}
    scores = {key: bootstrap_interval(one, num_test, _NUM_SAMPLES, 0) for key, one in statistics.items()}
    figures = dict(_differences(statistics, num_test))
    figures |= {"num_seeds": num_seeds, "num_train": num_train, "num_test": num_test}
    figures["total_s"] = time.perf_counter() - started
    return Result(figures, table=_table(scores), picture=_picture(scores))


def _batches(config: FtzardConfig, num_test: int) -> dict[str, _Batch]:
    raw = sample_tweets(_NUM_TWEETS, seed=0).with_columns(batch=pl.lit("tweets.csv"), row=pl.int_range(1, pl.len() + 1))
    tweets = clean(raw.select(list(RAW_SCHEMA)), config.data).examples
    is_about = {topic: pl.col("text").str.contains(pattern) for topic, pattern in _TOPICS.items()}
    about_one = tweets.filter(pl.sum_horizontal(is_about.values()) == 1)
    batches = {}
    for topic, matches in is_about.items():
        drawn = about_one.filter(matches).sort("text_hash").sample(fraction=1.0, shuffle=True, seed=0)
        batches[topic] = _Batch(pool=drawn[num_test:], test=drawn[:num_test])
    return batches


def _seeded(config: FtzardConfig, seed: int) -> FtzardConfig:
    return replace(config, training=replace(config.training, seed=seed))


def _add_answers(
    answers: _Answers, batches: Mapping[str, _Batch], labels: Sequence[str], config: FtzardConfig, num_train: int
) -> None:
    """Train all versions with one seed and add what they answer."""
    parts = [
        batch.pool.sample(num_train, seed=config.training.seed).with_columns(batch=pl.lit(topic))
        for topic, batch in batches.items()
    ]
    with tempfile.TemporaryDirectory() as folder:
        first = _train(parts[0], None, config, labels, Path(folder) / "first")
        for way, retraining in _WAYS.items():
            adapter, own = first, replace(config, training=replace(config.training, retraining=retraining))
            for version in range(1, len(parts) + 1):
                if version > 1:
                    so_far, seen = pl.concat(parts[:version]), seen_in(pl.concat(parts[: version - 1]))
                    plan = retraining_plan(so_far, seen, retraining, config.training.seed)
                    start = adapter if plan.continues else None
                    adapter = _train(plan.examples, start, own, labels, Path(folder) / f"{way}{version}")
                for topic, batch in batches.items():
                    # Version 1 is the same in all ways.
                    known = answers.get(("from_base", 1, topic), [])[config.training.seed :] if version == 1 else []
                    found = known[0] if known else _answers_of(adapter, batch.test, own, labels)
                    answers.setdefault((way, version, topic), []).append(found)


def _train(
    examples: pl.DataFrame,
    initial: AdapterDirectory | None,
    config: FtzardConfig,
    labels: Sequence[str],
    folder: Path,
) -> AdapterDirectory:
    nothing = examples.clear()
    return train_adapter(Splits(examples, nothing, nothing), config, labels, folder, initial=initial).adapter


def _answers_of(adapter: AdapterDirectory, test: pl.DataFrame, config: FtzardConfig, labels: Sequence[str]) -> IntArray:
    return _indices(predict(adapter, test, config)["predicted_label"], labels)


def _indices(values: pl.Series, labels: Sequence[str]) -> IntArray:
    return np.array([labels.index(value) for value in values], dtype=np.int64)


def _mean_macro_f1(true: IntArray, answers: Sequence[IntArray], num_labels: int) -> Statistic:
    """Macro-F1 on resampled test tweets, as the mean over the seeds."""

    def measure(rows: IntArray) -> Any:
        each = [macro_f1(confusion_matrices(true[rows], answer[rows], num_labels)) for answer in answers]
        return np.mean(each, axis=0)

    return measure


def _differences(statistics: Mapping[tuple[str, int, str], Statistic], num_test: int) -> "list[tuple[str, float]]":
    """How the last version compares on each batch, with the one that was trained when that batch came and by way."""
    last = len(_TOPICS)
    pairs = {
        f"{way}_v{last}_over_v{version}_on_{topic}": ((way, last, topic), (way, version, topic))
        for way in _WAYS
        for version, topic in enumerate(_TOPICS, start=1)
        if version < last
    }
    pairs |= {
        f"{way}_over_from_base_v{last}_on_{topic}": ((way, last, topic), ("from_base", last, topic))
        for way in _WAYS
        if way != "from_base"
        for topic in _TOPICS
    }
    figures: list[tuple[str, float]] = []
    for name, (one, other) in pairs.items():
        interval = paired_difference(statistics[one], statistics[other], num_test, _NUM_SAMPLES, 0)
        figures += [(name, interval.value), (f"{name}_low", interval.low), (f"{name}_high", interval.high)]
    return figures


def _table(scores: Mapping[tuple[str, int, str], Interval]) -> pl.DataFrame:
    """A row for each version, a column for each batch: macro-F1 with its 95 % interval."""
    return pl.DataFrame(
        [
            {"way": way, "version": version} | {topic: _told(scores[way, version, topic]) for topic in _TOPICS}
            for way in _WAYS
            for version in range(1, len(_TOPICS) + 1)
        ]
    )


def _told(interval: Interval) -> str:
    return f"{interval.value:.3f} [{interval.low:.3f}, {interval.high:.3f}]"


def _picture(scores: Mapping[tuple[str, int, str], Interval]) -> bytes:
    """A panel for each batch: its score from version to version, a line for each way."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.6, 3.6), dpi=100, layout="constrained")
    panels = figure.subplots(1, len(_TOPICS), sharey=True)
    versions = np.arange(1, len(_TOPICS) + 1)
    for number, (topic, axes) in enumerate(zip(_TOPICS, panels, strict=True), start=1):
        for shift, way in zip((-0.06, 0.0, 0.06), _WAYS, strict=True):
            found = [scores[way, version, topic] for version in range(1, len(_TOPICS) + 1)]
            values = np.array([one.value for one in found])
            bars = [values - [one.low for one in found], [one.high for one in found] - values]
            axes.errorbar(versions + shift, values, yerr=bars, marker="o", capsize=3, label=way.replace("_", " "))
        axes.axvspan(number - 0.15, number + 0.15, color="0.9", zorder=0)
        axes.set(title=f"tests about {topic}", xlabel="version", xticks=versions)
        axes.grid(axis="y", alpha=0.3)
    panels[0].set_ylabel("macro-F1, 95 % intervals")
    panels[0].legend(fontsize=8)
    out = io.BytesIO()
    figure.savefig(out, format="png")
    return out.getvalue()
