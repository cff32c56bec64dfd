"""What differs between the tasks when a challenger meets the champion; the rest is in `ftzard.core.challenge`."""

from typing import TYPE_CHECKING, Any, Final, Protocol

import polars as pl

from ftzard.core.answer_comparison import AnswerComparison, check_same_task, compare_answers
from ftzard.core.answer_gate import judge_answers
from ftzard.core.answer_predictions import check_answers, task_of_predictions, without_adapter
from ftzard.core.baseline import tfidf_predictions
from ftzard.core.comparison import Comparison, check_same_labels, compare
from ftzard.core.gate import GateVerdict, judge
from ftzard.core.predictions import labels_of_predictions, matched_predictions, matched_rows

if TYPE_CHECKING:
    from ftzard.config import EvaluationConfig, FtzardConfig
    from ftzard.core.records import AdapterDirectory, Splits

AnyComparison = Comparison | AnswerComparison


class TaskJudging(Protocol):
    """How adapters of a task are scored and judged."""

    def matched(self, predictions: pl.DataFrame, test: pl.DataFrame) -> pl.DataFrame:
        """Predictions that are for exactly the test examples, sorted by `text_hash`."""

    def check_comparable(self, mine: pl.DataFrame, theirs: pl.DataFrame, name: str) -> None:
        """Raise LabelSetChangedError where two adapters do different things."""

    def predict(self, adapter: "AdapterDirectory", test: pl.DataFrame, config: "FtzardConfig") -> pl.DataFrame:
        """An adapter's answers for the test examples."""

    def baseline(self, mine: pl.DataFrame, splits: "Splits", config: "EvaluationConfig") -> tuple[str, pl.DataFrame]:
        """What an adapter has to stand beside: its name, and its answers for the test examples."""

    def compare(self, mine: pl.DataFrame, theirs: pl.DataFrame, name: str, config: "EvaluationConfig") -> AnyComparison:
        """Compare two on the same rows."""

    def judge(
        self,
        champion: Any,
        baseline: Any,
        num_rows: int,
        test_fraction: float,
        config: "EvaluationConfig",
        num_held: int | None,
    ) -> tuple[GateVerdict, tuple[str, ...], int | None]:
        """The verdict from the comparisons with the champion, if there is one, and with the baseline."""


class _Classification:
    def matched(self, predictions: pl.DataFrame, test: pl.DataFrame) -> pl.DataFrame:
        return matched_predictions(predictions, test)

    def check_comparable(self, mine: pl.DataFrame, theirs: pl.DataFrame, name: str) -> None:
        check_same_task(mine, theirs, name)
        check_same_labels(mine, theirs, name)

    def predict(self, adapter: "AdapterDirectory", test: pl.DataFrame, config: "FtzardConfig") -> pl.DataFrame:
        from ftzard.core.inference import predict

        return predict(adapter, test, config)

    def baseline(self, mine: pl.DataFrame, splits: "Splits", config: "EvaluationConfig") -> tuple[str, pl.DataFrame]:
        return "TF-IDF", tfidf_predictions(splits.train, splits.test, labels_of_predictions(mine), config.seed)

    def compare(self, mine: pl.DataFrame, theirs: pl.DataFrame, name: str, config: "EvaluationConfig") -> AnyComparison:
        return compare(mine, theirs, name, config)

    def judge(
        self,
        champion: Any,
        baseline: Any,
        num_rows: int,
        test_fraction: float,
        config: "EvaluationConfig",
        num_held: int | None,
    ) -> tuple[GateVerdict, tuple[str, ...], int | None]:
        return judge(champion, baseline, num_rows, test_fraction, config, num_held)


class _Answering:
    def matched(self, predictions: pl.DataFrame, test: pl.DataFrame) -> pl.DataFrame:
        check_answers(predictions)
        return matched_rows(predictions, test)

    def check_comparable(self, mine: pl.DataFrame, theirs: pl.DataFrame, name: str) -> None:
        check_same_task(mine, theirs, name)

    def predict(self, adapter: "AdapterDirectory", test: pl.DataFrame, config: "FtzardConfig") -> pl.DataFrame:
        from ftzard.core.answer_inference import predict_answers

        return predict_answers(adapter, test, config, untrained=False)

    def baseline(self, mine: pl.DataFrame, splits: "Splits", config: "EvaluationConfig") -> tuple[str, pl.DataFrame]:
        del splits, config  # It has answered beside the challenger already.
        return "untrained model", without_adapter(mine)

    def compare(self, mine: pl.DataFrame, theirs: pl.DataFrame, name: str, config: "EvaluationConfig") -> AnyComparison:
        return compare_answers(mine, theirs, name, config)

    def judge(
        self,
        champion: Any,
        baseline: Any,
        num_rows: int,
        test_fraction: float,
        config: "EvaluationConfig",
        num_held: int | None,
    ) -> tuple[GateVerdict, tuple[str, ...], int | None]:
        return judge_answers(champion, baseline, num_rows, test_fraction, config, num_held)


_CLASSIFICATION: Final[TaskJudging] = _Classification()
_ANSWERING: Final[TaskJudging] = _Answering()


def judging_of(predictions: pl.DataFrame) -> TaskJudging:
    """The way for the task that the predictions are of."""
    return _CLASSIFICATION if task_of_predictions(predictions) == "classification" else _ANSWERING


def predict_any(adapter: "AdapterDirectory", test: pl.DataFrame, config: "FtzardConfig") -> pl.DataFrame:
    """An adapter's answers for the test examples, of whichever task is configured.

    Raises:
        FtzardError: As `predict` and `predict_answers`.
    """
    judging = _CLASSIFICATION if config.data.task == "classification" else _ANSWERING
    return judging.predict(adapter, test, config)


def compare_any(mine: pl.DataFrame, theirs: pl.DataFrame, name: str, config: "EvaluationConfig") -> AnyComparison:
    """Compare two adapters of any task on the same rows.

    Raises:
        LabelSetChangedError: They do different things.
        FtzardError: As `compare` and `compare_answers`.
    """
    check_same_task(mine, theirs, name)
    return judging_of(mine).compare(mine, theirs, name, config)


def metric_scores(comparison: AnyComparison) -> tuple[str, float, float]:
    """What two adapters were compared by, in words, and the scores of the challenger and of the other."""
    if isinstance(comparison, AnswerComparison):
        return comparison.metric.replace("_", " "), comparison.score, comparison.other_score
    return "macro-F1", comparison.macro_f1, comparison.other_macro_f1
