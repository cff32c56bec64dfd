"""Whether the loop earns its keep: macro-F1 against number of labels, for each query strategy and for chance.

The loop is simulated on the demo's tweets with an oracle who knows all labels. A learner begins with a few labels drawn
at random; then one file of unlabelled tweets comes in after the other. The learner predicts it, FTzard's own
`make_label_queue` chooses the rows (control arm included, as by default), the oracle labels all of them, and the
learner is trained anew on all labels so far. So that this can be repeated many times, the learner is a logistic
regression on frozen embeddings: the hidden state of the base model at the end of the prompt, computed once.

A seed draws which tweets test, which begin and which come in with which file, the same for all strategies. Scores are
means over the seeds with 95 % t-intervals, and so are differences to chance, seed by seed. All draws are from the same
few thousand tweets, so the intervals say how much the draw matters, not how other texts would differ. The tweets have
two labels, and with two labels least confidence, margin and entropy rank alike.
"""

import io
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from benchmarks.report import Result
from ftzard.composition import compose
from ftzard.config import FtzardConfig, LabellingConfig
from ftzard.core.base_model import borrowed_base_model
from ftzard.core.cleaning import clean, labels_of
from ftzard.core.decoder_states import last_hidden_states
from ftzard.core.evaluation_report import Interval
from ftzard.core.inference import compute_rows
from ftzard.core.label_queue import make_label_queue
from ftzard.core.live_accuracy import live_accuracy
from ftzard.core.metrics import IntArray, accuracy, confusion_matrices, macro_f1
from ftzard.core.predictions import predictions_frame
from ftzard.core.prompts import PromptTemplate, encode_prompts, label_words
from ftzard.core.query_strategies import QUERY_STRATEGIES
from ftzard.core.records import RAW_SCHEMA
from ftzard.core.tweets import sample_tweets

if TYPE_CHECKING:
    from sklearn.linear_model import LogisticRegression

_RECIPE = ("experiment=demo", "training.device=cpu")
_NUM_TEST, _NUM_INITIAL, _NUM_ROUNDS, _NUM_PER_FILE, _NUM_QUEUED, _NUM_SEEDS = 1000, 50, 5, 400, 50, 20
# Inverse strength of the regularisation; chosen on 1,500 other tweets with labels drawn at random.
_C = 0.01
_CHANCE = "random"


@dataclass(frozen=True, eq=False)
class _Task:
    """Tweets as points.

    Attributes:
        examples: `EXAMPLE_SCHEMA`, with the labels that the oracle knows.
        true: Indices of those labels, shape (n,).
        embeddings: Shape (n, hidden), each column with mean 0 and standard deviation 1.
        labels: The label set.
    """

    examples: pl.DataFrame
    true: IntArray
    embeddings: NDArray[np.float64]
    labels: tuple[str, ...]


@dataclass(frozen=True)
class _Course:
    """What one seed and one strategy came to.

    Attributes:
        num_labels: After each round, that without any first.
        macro_f1: On the test tweets, likewise.
        live_error: Live accuracy by the control arms minus accuracy on the test tweets, mean over the rounds.
        arm_error: The same for accuracy by the strategy's arms.
    """

    num_labels: tuple[int, ...]
    macro_f1: tuple[float, ...]
    live_error: float
    arm_error: float


@dataclass(frozen=True)
class _Sizes:
    """How many tweets play which part."""

    test: int
    initial: int
    rounds: int
    per_file: int
    queued: int

    @property
    def total(self) -> int:
        return self.test + self.initial + self.rounds * self.per_file


def run(
    overrides: Sequence[str] = _RECIPE,
    num_test: int = _NUM_TEST,
    num_rounds: int = _NUM_ROUNDS,
    num_per_file: int = _NUM_PER_FILE,
    num_seeds: int = _NUM_SEEDS,
) -> Result:
    """Simulate the loop with every strategy and every seed.

    Args:
        overrides: The recipe.
        num_test: Test tweets of a seed.
        num_rounds: Files that come in.
        num_per_file: Tweets of a file.
        num_seeds: How often all is repeated, at least 2.

    Raises:
        MissingPackageError: The model's or the tweets' package is not installed.
    """
    started = time.perf_counter()
    sizes = _Sizes(num_test, _NUM_INITIAL, num_rounds, num_per_file, _NUM_QUEUED)
    task = _make_task(compose(overrides), sizes.total)
    embedded_s = time.perf_counter() - started
    courses = {
        strategy: [_simulate(task, strategy, sizes, seed) for seed in range(num_seeds)] for strategy in QUERY_STRATEGIES
    }
    scores = {strategy: _score_intervals(found) for strategy, found in courses.items()}
    num_labels = courses[_CHANCE][0].num_labels
    figures = dict(_figures(courses))
    figures["all_labels_macro_f1"] = float(
        np.mean([_score_of_all_labels(task, sizes, seed) for seed in range(num_seeds)])
    )
    figures |= {"num_seeds": num_seeds, "embedding_s": embedded_s, "total_s": time.perf_counter() - started}
    return Result(figures, table=_table(scores, num_labels), picture=_picture(scores, num_labels))


def _make_task(config: FtzardConfig, num_tweets: int) -> _Task:
    raw = sample_tweets(num_tweets, seed=0).with_columns(batch=pl.lit("tweets.csv"), row=pl.int_range(1, pl.len() + 1))
    examples = clean(raw.select(list(RAW_SCHEMA)), config.data).examples
    labels = labels_of(examples, config.data)
    template = PromptTemplate.from_parts(
        config.model.prompt_template, label_words(labels, config.model), config.model.max_length
    )
    with borrowed_base_model(config.model, "cpu") as base:
        decoder = base.model.base_model
        prompts = encode_prompts(examples["text"].to_list(), template, base.tokenizer)
        hidden = compute_rows(
            lambda sequences: last_hidden_states(decoder, sequences),
            int(decoder.config.get_text_config().hidden_size),
            prompts,
            config.training.max_tokens_per_batch,
        ).astype(np.float64)
    deviations = hidden.std(axis=0)
    embeddings = (hidden - hidden.mean(axis=0)) / np.where(deviations > 0, deviations, 1.0)
    true = np.array([labels.index(label) for label in examples["label"]], dtype=np.int64)
    return _Task(examples, true, embeddings, labels)


def _simulate(task: _Task, strategy: str, sizes: _Sizes, seed: int) -> _Course:
    test, known, files = _parts(task, sizes, seed)
    config = LabellingConfig(query_strategy=strategy, max_rows_per_file=sizes.queued, seed=seed)  # type: ignore[arg-type]
    place = {text_hash: index for index, text_hash in enumerate(task.examples["text_hash"])}
    truth = task.examples.select("text_hash", "label")
    course, errors = [_scores(task, known, test)], []
    for version, rows in enumerate(files):
        examples = task.examples[rows].with_columns(label=pl.lit(None, pl.String))
        logits = _logits(_learner(task, known), task.embeddings[rows])
        predictions = predictions_frame(
            examples["text_hash"].to_list(), examples["label"].to_list(), logits, task.labels
        )
        queue = make_label_queue(examples, predictions, str(version), config, embeddings=task.embeddings[rows])
        live = live_accuracy(queue.sidecar, truth)
        if live is not None and live.strategy_error_rate is not None:
            current = course[-1][2]
            errors.append((live.accuracy.value - current, 1 - live.strategy_error_rate.value - current))
        known = np.concatenate([known, [place[text_hash] for text_hash in queue.rows["text_hash"]]])
        course.append(_scores(task, known, test))
    num_labels, scores, _ = zip(*course, strict=True)
    live_error, arm_error = np.mean(errors, axis=0)
    return _Course(num_labels, scores, float(live_error), float(arm_error))


def _parts(task: _Task, sizes: _Sizes, seed: int) -> tuple[IntArray, IntArray, list[IntArray]]:
    """Indices of test tweets, of those whose label is known at first, and of each file; cleaning may drop some."""
    order = np.random.default_rng(seed).permutation(len(task.true)).astype(np.int64)
    test, known, rest = np.split(order, [sizes.test, sizes.test + sizes.initial])
    return test, known, np.array_split(rest, sizes.rounds)


def _learner(task: _Task, known: IntArray) -> "LogisticRegression":
    from sklearn.linear_model import LogisticRegression

    learner = LogisticRegression(C=_C, class_weight="balanced", max_iter=1000)
    return learner.fit(task.embeddings[known], task.true[known])


def _logits(learner: "LogisticRegression", embeddings: NDArray[np.float64]) -> NDArray[np.float64]:
    """Shape (n, k); of two labels scikit-learn gives the second one's alone."""
    decision = learner.decision_function(embeddings)
    return np.column_stack([np.zeros(len(decision)), decision]) if decision.ndim == 1 else decision


def _scores(task: _Task, known: IntArray, test: IntArray) -> tuple[int, float, float]:
    """Number of labels, and macro-F1 and accuracy on the test tweets of what is learned from them."""
    predicted = _learner(task, known).predict(task.embeddings[test])
    confusion = confusion_matrices(task.true[test], predicted, len(task.labels))
    return len(known), float(macro_f1(confusion)), float(accuracy(confusion))


def _score_of_all_labels(task: _Task, sizes: _Sizes, seed: int) -> float:
    test, known, files = _parts(task, sizes, seed)
    return _scores(task, np.concatenate([known, *files]), test)[1]


def _mean_interval(values: Sequence[float]) -> Interval:
    """The mean with its 95 % t-interval (Student 1908)."""
    from scipy.stats import t

    mean = float(np.mean(values))
    half = float(t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values)))
    return Interval(value=mean, low=mean - half, high=mean + half)


def _score_intervals(courses: Sequence[_Course]) -> list[Interval]:
    """Macro-F1 after each round."""
    return [_mean_interval(scores) for scores in zip(*(course.macro_f1 for course in courses), strict=True)]


def _figures(courses: Mapping[str, Sequence[_Course]]) -> Iterator[tuple[str, float]]:
    """How each strategy compares with chance at the end and over all rounds, and what the two arms say of accuracy."""
    chance = courses[_CHANCE]
    for strategy, found in courses.items():
        if strategy != _CHANCE:
            pairs = list(zip(found, chance, strict=True))
            last = _mean_interval([one.macro_f1[-1] - other.macro_f1[-1] for one, other in pairs])
            yield from _told(f"{strategy}_over_random_at_the_end", last)
            over_rounds = [float(np.mean(np.subtract(one.macro_f1, other.macro_f1)[1:])) for one, other in pairs]
            yield from _told(f"{strategy}_over_random_over_all_rounds", _mean_interval(over_rounds))
    least_confident = courses["least_confidence"]
    yield from _told("control_arm_over_test_accuracy", _mean_interval([one.live_error for one in least_confident]))
    yield from _told("strategy_arm_over_test_accuracy", _mean_interval([one.arm_error for one in least_confident]))


def _told(name: str, interval: Interval) -> list[tuple[str, float]]:
    return [(name, interval.value), (f"{name}_low", interval.low), (f"{name}_high", interval.high)]


def _table(scores: Mapping[str, Sequence[Interval]], num_labels: Sequence[int]) -> pl.DataFrame:
    """A row for each strategy, a column for each number of labels: macro-F1 with its 95 % interval."""
    return pl.DataFrame(
        [
            {"strategy": strategy}
            | {
                f"{number} labels": f"{one.value:.3f} [{one.low:.3f}, {one.high:.3f}]"
                for number, one in zip(num_labels, found, strict=True)
            }
            for strategy, found in scores.items()
        ]
    )


def _picture(scores: Mapping[str, Sequence[Interval]], num_labels: Sequence[int]) -> bytes:
    """A line for each strategy, with its interval as a band; strategies that came to the same share one."""
    from matplotlib.figure import Figure

    named: dict[tuple[Interval, ...], list[str]] = {}
    for strategy, found in scores.items():
        named.setdefault(tuple(found), []).append(strategy)

    figure = Figure(figsize=(7.2, 4.5), dpi=100, layout="constrained")
    axes: Any = figure.subplots()
    for found, strategies in named.items():
        is_chance = _CHANCE in strategies
        style = {"color": "black", "linestyle": "--", "linewidth": 2} if is_chance else {}
        (line,) = axes.plot(num_labels, [one.value for one in found], marker="o", label=" = ".join(strategies), **style)
        lows, highs = [one.low for one in found], [one.high for one in found]
        axes.fill_between(num_labels, lows, highs, color=line.get_color(), alpha=0.12, linewidth=0)
    axes.set(xlabel="number of labels, control arm included", ylabel="macro-F1 on test tweets, 95 % intervals")
    axes.grid(alpha=0.3)
    axes.legend()
    out = io.BytesIO()
    figure.savefig(out, format="png", metadata={"Software": None})
    return out.getvalue()
