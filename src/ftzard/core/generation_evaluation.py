"""How good the answers of an adapter are, and whether they are better than those of the model without it."""

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
import polars as pl

from ftzard.config import EvaluationConfig
from ftzard.core.answer_predictions import AnswerTask, check_answers, counts, sums, without_adapter
from ftzard.core.bootstrap import Statistic, bootstrap_interval, paired_difference
from ftzard.core.evaluation_report import Interval
from ftzard.core.evaluation_verdict import sentence_of, verdict_of
from ftzard.core.generation_report import AnswerScores, GenerationReport
from ftzard.core.metrics import FloatArray, IntArray
from ftzard.core.predictions import matched_rows
from ftzard.core.row_groups import Rows, group_sums, rows_of
from ftzard.core.splitting import test_fingerprint
from ftzard.core.text_metrics import chrf, exact_matches, preferences, token_f1
from ftzard.errors import TooFewExamplesError

_ROW_METRICS: Final[Mapping[str, Callable[[pl.DataFrame], FloatArray]]] = {
    "exact_match": lambda frame: exact_matches(*_texts(frame)),
    "token_f1": lambda frame: token_f1(*_texts(frame)),
    "chrf": lambda frame: chrf(*_texts(frame)),
    "preference_accuracy": lambda frame: preferences(*_pair(frame)),
    "preference_accuracy_per_token": lambda frame: preferences(*_pair_per_token(frame)),
    "margin": lambda frame: np.subtract(*_pair(frame)),
}
_METRICS: Final[Mapping[AnswerTask, tuple[str, ...]]] = {
    "generation": ("exact_match", "token_f1", "chrf", "perplexity"),
    "preference": ("preference_accuracy", "preference_accuracy_per_token", "margin", "perplexity"),
}
# Those that are 0 or 1 only where each row is.
_SHARES: Final = frozenset(_ROW_METRICS) - {"margin"}
# Beyond this a model finds an answer impossible; a number that JSON can hold says so as well.
_MAX_LOG_PERPLEXITY: Final = 700.0


def main_metric(task: AnswerTask, config: EvaluationConfig) -> str:
    """What the verdict and the gate are about."""
    return config.generation_metric if task == "generation" else config.preference_metric


def row_scores(frame: pl.DataFrame, metric: str) -> FloatArray:
    """A metric of each row, shape (n,); its mean is the metric of all.

    Args:
        frame: `answer_schema`, at least one row.
        metric: One that `main_metric` gives.
    """
    return _ROW_METRICS[metric](frame)


def mean_scores(frame: pl.DataFrame) -> dict[str, float]:
    """Every metric of the task, without intervals.

    Args:
        frame: `answer_schema`, at least one row.
    """
    rows = np.arange(frame.height)[None]
    return {name: float(_statistic(frame, name)(rows)[0]) for name in _METRICS[check_answers(frame)]}


def evaluate_answers(
    predictions: pl.DataFrame, train: pl.DataFrame, test: pl.DataFrame, config: EvaluationConfig
) -> GenerationReport:
    """Judge an adapter's answers beside those of the model without it.

    Args:
        predictions: `answer_schema`; one row per test example, in any order.
        train: `EXAMPLE_SCHEMA`; only counted.
        test: `EXAMPLE_SCHEMA`, and `group` where rows belong together; the rows everything is measured on.
        config: Number of resamples, the seed, and the metric of the verdict.

    Returns:
        The report; the same for the same rows in another order.

    Raises:
        TooFewExamplesError: The test split has no rows.
        PredictionsMismatchError: Predictions and test examples are not the same rows with the same labels.
        InvalidPredictionsError: The predictions have other columns than agreed, or hold what is no probability.
    """
    task = check_answers(predictions)
    if test.is_empty():
        raise TooFewExamplesError("the test split has no rows", fix="add examples, or raise data.test_fraction")
    mine = matched_rows(predictions, test)
    theirs = without_adapter(mine)
    statistics = {name: (_statistic(mine, name), _statistic(theirs, name)) for name in _METRICS[task]}
    rows = rows_of(test.sort("text_hash"))
    size: tuple[Rows, int, int] = (rows, config.num_bootstrap_samples, config.seed)
    differences = {name: paired_difference(pair[0], pair[1], *size) for name, pair in statistics.items()}
    metric = main_metric(task, config)
    is_differing = row_scores(mine, metric) != row_scores(theirs, metric)
    num_differing = int(np.count_nonzero(group_sums(is_differing, rows)))
    verdict = verdict_of(differences[metric], num_differing)
    scores = {
        side: {
            name: bootstrap_interval(pair[index], *size, is_share=name in _SHARES) for name, pair in statistics.items()
        }
        for index, side in enumerate(("adapter", "untrained"))
    }
    return GenerationReport(
        task=task,
        metric=metric,
        num_train=train.height,
        num_test=test.height,
        test_fingerprint=test_fingerprint(test),
        adapter=AnswerScores("adapter", scores["adapter"]),
        untrained=AnswerScores("untrained model", scores["untrained"]),
        differences=differences,
        verdict=verdict,
        sentence=sentence_of(
            metric.replace("_", " "),
            differences[metric],
            verdict,
            rows,
            whose="that of the same model untrained",
            other="the model without it",
        ),
        reward_accuracy=_reward_accuracy(mine, theirs, size) if task == "preference" else None,
    )


def _texts(frame: pl.DataFrame) -> tuple[list[str], list[str]]:
    return frame["prediction"].to_list(), frame["label"].to_list()


def _pair(frame: pl.DataFrame) -> tuple[FloatArray, FloatArray]:
    return sums(frame["chosen_log_probabilities"]), sums(frame["rejected_log_probabilities"])


def _pair_per_token(frame: pl.DataFrame) -> tuple[FloatArray, FloatArray]:
    """Means in the place of sums: a long answer is not the unlikelier for its length."""
    lengths = (counts(frame[f"{answer}_log_probabilities"]) for answer in ("chosen", "rejected"))
    chosen, rejected = (logs / np.maximum(tokens, 1) for logs, tokens in zip(_pair(frame), lengths, strict=True))
    return chosen, rejected


def _statistic(frame: pl.DataFrame, name: str) -> Statistic:
    """The function that measures a metric on resamples: shape (b, m) to (b,)."""
    if name == "perplexity":
        return _perplexity(frame)
    scores = row_scores(frame, name)
    return lambda samples: scores[samples].mean(axis=1)


def _perplexity(frame: pl.DataFrame) -> Statistic:
    """Of all tokens of the answers that were asked for together, the one that ends each included.

    The exponential of their mean negative log-probability: from 1 up, lower is better.
    """
    asked = next(name for name in ("completion_log_probabilities", "chosen_log_probabilities") if name in frame.columns)
    logs, lengths = sums(frame[asked]), counts(frame[asked])

    def measure(samples: IntArray) -> FloatArray:
        means = -logs[samples].sum(axis=1) / lengths[samples].sum(axis=1)
        return np.asarray(np.exp(np.minimum(means, _MAX_LOG_PERPLEXITY)))

    return measure


def _reward_accuracy(mine: pl.DataFrame, theirs: pl.DataFrame, size: tuple[Rows, int, int]) -> Interval:
    (chosen, rejected), (chosen_before, rejected_before) = _pair(mine), _pair(theirs)
    scores = preferences(chosen - chosen_before, rejected - rejected_before)
    return bootstrap_interval(lambda samples: scores[samples].mean(axis=1), *size, is_share=True)
