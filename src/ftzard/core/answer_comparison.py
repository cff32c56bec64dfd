"""A challenger's answers beside those of another model on the same rows: by how much they differ, and what that shows.

As `ftzard.core.comparison`, which is for classifiers; here a row has a score, and right and wrong are its ends.
"""

import numpy as np
import polars as pl
from pydantic import ConfigDict, FiniteFloat
from pydantic.dataclasses import dataclass

from ftzard.config import EvaluationConfig
from ftzard.core.answer_predictions import answer_task, task_of_predictions
from ftzard.core.bootstrap import percentile_interval, resample_values
from ftzard.core.evaluation_report import Interval
from ftzard.core.generation_evaluation import main_metric, row_scores
from ftzard.core.row_groups import group_sums, rows_of_hashes
from ftzard.core.significance import fewest_rows_to_tell
from ftzard.errors import LabelSetChangedError, PredictionsMismatchError, TooFewExamplesError


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class AnswerComparison:
    """A challenger beside another model on the same rows.

    Attributes:
        other: Who it is compared with.
        metric: What they are compared by.
        score: The challenger's.
        other_score: The other's.
        difference: Challenger minus other, with its paired interval.
        standard_error: Of that difference, from the resamples.
        num_rows_differing: Rows on which their scores are not the same.
        significance: What the interval leaves out: `evaluation.gate.significance`.
        num_groups_differing: Where rows belong to groups, which are drawn as a whole: those with a row on which
            they do. None where each row stands for itself.
    """

    other: str
    metric: str
    score: FiniteFloat
    other_score: FiniteFloat
    difference: Interval
    standard_error: FiniteFloat
    num_rows_differing: int
    significance: FiniteFloat
    num_groups_differing: int | None = None

    @property
    def metric_in_words(self) -> str:
        """What they are compared by, for people."""
        return self.metric.replace("_", " ")

    @property
    def details(self) -> dict[str, float]:
        """On how many rows they differ, in words."""
        groups = self.num_groups_differing
        return {
            "rows that differ": self.num_rows_differing,
            **({} if groups is None else {"groups that differ": groups}),
        }

    @property
    def is_told_apart(self) -> bool:
        """Whether they differ on rows enough for any test to say something."""
        # As for classifiers: a sign test on fewer could not be significant.
        differing = self.num_rows_differing if self.num_groups_differing is None else self.num_groups_differing
        return differing >= fewest_rows_to_tell(self.significance)

    @property
    def is_shown_better(self) -> bool:
        """Whether the challenger's score is shown to be higher."""
        return self.is_told_apart and self.difference.low > 0

    @property
    def is_shown_worse(self) -> bool:
        """Whether the challenger's score is shown to be lower."""
        return self.is_told_apart and self.difference.high < 0


def check_same_task(challenger: pl.DataFrame, other: pl.DataFrame, name: str) -> None:
    """Check that two models do the same, whatever rows they answer.

    Raises:
        LabelSetChangedError: They do not.
    """
    task, others = task_of_predictions(challenger), task_of_predictions(other)
    if task != others:
        raise LabelSetChangedError(
            f"the challenger was trained for data.task={task}, the {name} for {others}",
            fix="set another tracking.registered_model for the new task, so that it has a champion of its own",
        )


def compare_answers(
    challenger: pl.DataFrame,
    other: pl.DataFrame,
    name: str,
    config: EvaluationConfig,
    test: pl.DataFrame | None = None,
) -> AnswerComparison:
    """Compare two models on the rows that both have answered.

    Args:
        challenger: `answer_schema`, one row per test example.
        other: Likewise, for the same examples in any order.
        name: What to call the other.
        config: The metric, number of resamples, the seed and the significance.
        test: As for `ftzard.core.comparison.compare`.

    Raises:
        TooFewExamplesError: There are no rows.
        LabelSetChangedError: They were trained for different tasks.
        PredictionsMismatchError: They answer for other rows.
    """
    check_same_task(challenger, other, name)
    task = answer_task(task_of_predictions(challenger))
    if task is None:
        message = "classifiers are compared by ftzard.core.comparison"
        raise ValueError(message)
    first, second = challenger.sort("text_hash"), other.sort("text_hash")
    if not first.select("text_hash", "label").equals(second.select("text_hash", "label")):
        raise PredictionsMismatchError(
            f"the challenger and the {name} answer for other rows", fix="materialize `predictions` again"
        )
    if first.is_empty():
        raise TooFewExamplesError(
            "there is no test row that neither adapter was trained on",
            fix="add examples, or raise data.test_fraction",
        )
    metric = main_metric(task, config)
    mine, theirs = row_scores(first, metric), row_scores(second, metric)
    gains, rows = mine - theirs, rows_of_hashes(first["text_hash"], test)
    values = resample_values(
        lambda samples: gains[samples].mean(axis=1), rows, config.num_bootstrap_samples, config.seed
    )
    return AnswerComparison(
        other=name,
        metric=metric,
        score=float(mine.mean()),
        other_score=float(theirs.mean()),
        difference=percentile_interval(float(gains.mean()), values, 1 - config.gate.significance),
        standard_error=float(values.std()),
        num_rows_differing=int(np.count_nonzero(gains)),
        significance=config.gate.significance,
        num_groups_differing=None if isinstance(rows, int) else int(np.count_nonzero(group_sums(gains != 0, rows))),
    )
