"""What differs between the tasks when a challenger meets the champion; the rest is in `ftzard.core.challenge`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import polars as pl

from ftzard.core.answer_comparison import check_same_task, compare_answers
from ftzard.core.answer_gate import judge_answers
from ftzard.core.answer_predictions import Task, check_answers, task_of_predictions, without_adapter
from ftzard.core.baseline import tfidf_predictions
from ftzard.core.comparison import check_same_labels, compare
from ftzard.core.gate import AnyComparison, GateVerdict, judge
from ftzard.core.predictions import labels_of_predictions, matched_predictions, matched_rows
from ftzard.core.set_baseline import tfidf_set_predictions
from ftzard.core.set_evaluation import compare_sets, is_tuned
from ftzard.core.set_predictions import matched_sets

if TYPE_CHECKING:
    from ftzard.config import EvaluationConfig, FtzardConfig
    from ftzard.core.records import AdapterDirectory, Splits


@dataclass(frozen=True)
class TaskJudging:
    """How adapters of a task are scored and judged.

    Attributes:
        matched: Takes predictions and the test examples; gives those that are for exactly these, sorted by `text_hash`.
        check_comparable: Takes the answers of two adapters and what to call the second; raises LabelSetChangedError
            where they do different things.
        predict: Takes an adapter, the test examples and the configuration; gives its answers.
        baseline: Takes the challenger's answers, the splits and the configuration; gives what it has to stand beside:
            its name and its answers.
        compare: Takes the answers of two on the same rows, what to call the second, the configuration, and the test
            split for the groups of its rows.
        judge: Takes the comparisons with the champion, if there is one, and with the baseline; otherwise as
            `ftzard.core.gate.judge`.
    """

    matched: Callable[[pl.DataFrame, pl.DataFrame], pl.DataFrame]
    check_comparable: Callable[[pl.DataFrame, pl.DataFrame, str], None]
    predict: "Callable[[AdapterDirectory, pl.DataFrame, FtzardConfig], pl.DataFrame]"
    baseline: "Callable[[pl.DataFrame, Splits, EvaluationConfig], tuple[str, pl.DataFrame]]"
    compare: "Callable[[pl.DataFrame, pl.DataFrame, str, EvaluationConfig, pl.DataFrame | None], AnyComparison]"
    judge: Callable[..., tuple[GateVerdict, tuple[str, ...], int | None]]


def _check_same_labels(mine: pl.DataFrame, theirs: pl.DataFrame, name: str) -> None:
    check_same_task(mine, theirs, name)
    check_same_labels(mine, theirs, name)


def _predicted_labels(adapter: "AdapterDirectory", test: pl.DataFrame, config: "FtzardConfig") -> pl.DataFrame:
    from ftzard.core.inference import predict

    return predict(adapter, test, config)


def _tfidf(mine: pl.DataFrame, splits: "Splits", config: "EvaluationConfig") -> tuple[str, pl.DataFrame]:
    return "TF-IDF", tfidf_predictions(splits.train, splits.test, labels_of_predictions(mine), config.seed)


def _tfidf_sets(mine: pl.DataFrame, splits: "Splits", config: "EvaluationConfig") -> tuple[str, pl.DataFrame]:
    labels = labels_of_predictions(mine)
    return "TF-IDF", tfidf_set_predictions(splits, labels, config.seed, tunes_thresholds=is_tuned(mine))


def _matched_answers(predictions: pl.DataFrame, test: pl.DataFrame) -> pl.DataFrame:
    check_answers(predictions)
    return matched_rows(predictions, test)


def _answers(adapter: "AdapterDirectory", test: pl.DataFrame, config: "FtzardConfig") -> pl.DataFrame:
    from ftzard.core.answer_inference import predict_answers

    return predict_answers(adapter, test, config, untrained=False)


def _untrained(mine: pl.DataFrame, splits: "Splits", config: "EvaluationConfig") -> tuple[str, pl.DataFrame]:
    del splits, config  # It has answered beside the challenger already.
    return "untrained model", without_adapter(mine)


_CLASSIFICATION: Final = TaskJudging(
    matched=matched_predictions,
    check_comparable=_check_same_labels,
    predict=_predicted_labels,
    baseline=_tfidf,
    compare=compare,
    judge=judge,
)
_LABEL_SETS: Final = TaskJudging(
    matched=matched_sets,
    check_comparable=_check_same_labels,
    predict=_predicted_labels,
    baseline=_tfidf_sets,
    compare=compare_sets,
    judge=judge,
)
_ANSWERING: Final = TaskJudging(
    matched=_matched_answers,
    check_comparable=check_same_task,
    predict=_answers,
    baseline=_untrained,
    compare=compare_answers,
    judge=judge_answers,
)


_BY_TASK: Final[Mapping[Task, TaskJudging]] = {
    "classification": _CLASSIFICATION,
    "multi_label": _LABEL_SETS,
    "generation": _ANSWERING,
    "preference": _ANSWERING,
}


def judging_of(predictions: pl.DataFrame) -> TaskJudging:
    """The way for the task that the predictions are of."""
    return _BY_TASK[task_of_predictions(predictions)]


def predict_any(adapter: "AdapterDirectory", test: pl.DataFrame, config: "FtzardConfig") -> pl.DataFrame:
    """An adapter's answers for the test examples, of whichever task is configured.

    Raises:
        FtzardError: As `predict` and `predict_answers`.
    """
    return _BY_TASK[config.data.task].predict(adapter, test, config)


def compare_any(
    mine: pl.DataFrame,
    theirs: pl.DataFrame,
    name: str,
    config: "EvaluationConfig",
    test: pl.DataFrame | None = None,
) -> AnyComparison:
    """Compare two adapters of any task on the same rows; `test` is as for `ftzard.core.comparison.compare`.

    Raises:
        LabelSetChangedError: They do different things.
        FtzardError: As `compare` and `compare_answers`.
    """
    check_same_task(mine, theirs, name)
    return judging_of(mine).compare(mine, theirs, name, config, test)
