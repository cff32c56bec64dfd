"""The frame of what a model answers in words, and of what the same model answers without its adapter.

One row per example. Beside the answer stand log-probabilities, a list with one number (in nats) for each token: of the
answer itself, and of the answer that was asked for. Columns that begin with `untrained_` hold the same for the base
model without adapter, asked in the same words and answering in the same way.
"""

from collections.abc import Sequence
from typing import Final, Literal

import numpy as np
import polars as pl

from ftzard.core.metrics import FloatArray
from ftzard.core.predictions import THRESHOLDS
from ftzard.errors import InvalidPredictionsError

AnswerTask = Literal["generation", "preference"]
Task = Literal["classification", "multi_label", "generation", "preference"]

UNTRAINED: Final = "untrained_"
_LOGS: Final = pl.List(pl.Float64)
_WRITTEN: Final = {"prediction": pl.String(), "token_log_probabilities": _LOGS}
# What is asked of the model about answers that are given, by task.
GIVEN: Final[dict[AnswerTask, tuple[str, ...]]] = {
    "generation": ("completion_log_probabilities",),
    "preference": ("chosen_log_probabilities", "rejected_log_probabilities"),
}


def answer_schema(task: AnswerTask, *, untrained: bool = True) -> pl.Schema:
    """Name the columns.

    Args:
        task: Of the adapter.
        untrained: Whether the model without its adapter was asked too.
    """
    columns: dict[str, pl.DataType] = {**_WRITTEN, **dict.fromkeys(GIVEN[task], _LOGS)}
    beside = {f"{UNTRAINED}{name}": kind for name, kind in columns.items()} if untrained else {}
    return pl.Schema({"text_hash": pl.String(), "label": pl.String(), **columns, **beside})


def incoming_schema() -> pl.Schema:
    """The columns for prompts without an answer: label null, nothing given, no untrained model."""
    return pl.Schema({"text_hash": pl.String(), "label": pl.String(), **_WRITTEN})


def task_of_predictions(frame: pl.DataFrame) -> Task:
    """Tell the task from the columns; a frame that is none of an answering adapter is taken for a classifier's."""
    columns = set(frame.columns)
    found = [task for task, given in GIVEN.items() if {"prediction", *given} <= columns]
    if found:
        return found[0]
    return "multi_label" if THRESHOLDS in columns else "classification"


def answer_task(task: Task) -> AnswerTask | None:
    """The task, where what is answered is written; None where it is labels."""
    return next((one for one in GIVEN if one == task), None)


def answers_with_labels(frame: pl.DataFrame) -> bool:
    """Whether predictions are those of a classifier, of one label or of several, and not written answers."""
    return task_of_predictions(frame) in {"classification", "multi_label"}


def check_answers(frame: pl.DataFrame) -> AnswerTask:
    """Check the columns of an answering adapter's predictions; returns the task.

    Raises:
        InvalidPredictionsError: They are not those of `answer_schema`, or a log-probability is no finite number of at
            most 0.
    """
    task = answer_task(task_of_predictions(frame))
    if task is None or frame.schema not in (answer_schema(task), answer_schema(task, untrained=False)):
        raise InvalidPredictionsError(
            f"the predictions frame has the schema {dict(frame.schema)}",
            fix="materialize `predictions` again; another data.task has other columns",
        )
    for name, kind in frame.schema.items():
        if kind == _LOGS:
            _check_logs(frame, name)
    return task


def without_adapter(frame: pl.DataFrame) -> pl.DataFrame:
    """The answers of the model without its adapter, as `answer_schema(untrained=False)`.

    Raises:
        InvalidPredictionsError: It was not asked.
    """
    task = check_answers(frame)
    if frame.schema != answer_schema(task):
        raise InvalidPredictionsError(
            "the predictions frame does not say what the model answers without its adapter",
            fix="materialize `predictions` again",
        )
    names = [name for name in answer_schema(task, untrained=False) if name not in {"text_hash", "label"}]
    return frame.select("text_hash", "label", *(pl.col(f"{UNTRAINED}{name}").alias(name) for name in names))


def sums(lists: pl.Series) -> FloatArray:
    """The log-probability of each answer as a whole, shape (n,); 0 for one without tokens."""
    return np.array([float(np.sum(values)) for values in lists.to_list()], dtype=np.float64)


def counts(lists: pl.Series) -> FloatArray:
    """Number of tokens of each answer, shape (n,)."""
    return lists.list.len().cast(pl.Float64).to_numpy()


def confidences(frame: pl.DataFrame) -> FloatArray:
    """How sure a model was of what it wrote: the geometric mean of its tokens' probabilities, shape (n,), in [0, 1]."""
    written = frame["token_log_probabilities"]
    return np.asarray(np.exp(sums(written) / np.maximum(counts(written), 1)))


def as_lists(values: Sequence[FloatArray]) -> pl.Series:
    """Arrays as a list column."""
    return pl.Series([one.tolist() for one in values], dtype=_LOGS)


def _check_logs(frame: pl.DataFrame, name: str) -> None:
    values = frame.select("text_hash", pl.col(name)).explode(name).drop_nulls(name)
    # `explode` gives null for a list without tokens, which only a model that wrote nothing could have.
    broken = values.filter(~(pl.col(name).is_finite() & (pl.col(name) <= 0)))
    if not broken.is_empty():
        raise InvalidPredictionsError(
            f"{name} of text_hash {broken['text_hash'][0]!r} holds {broken[name][0]}, which is the logarithm of no "
            "probability",
            fix="train again with a lower training.learning_rate, or compute in float32 (model.dtype=float32)",
        )
