"""A challenger beside another classifier on the same rows: by how much they differ, and what that shows.

Every interval and test here is at `evaluation.gate.significance`, because a promotion hangs on it. The intervals of the
evaluation report, on which nothing hangs, are 95 % intervals whatever that is.
"""

from collections.abc import Callable, Sequence
from typing import Literal, TypeVar

import numpy as np
import polars as pl
from pydantic import ConfigDict, Field, FiniteFloat
from pydantic.dataclasses import dataclass

from ftzard.config import EvaluationConfig
from ftzard.core.bootstrap import Statistic, percentile_interval, resample_values
from ftzard.core.evaluation_report import Interval
from ftzard.core.metrics import FloatArray, IntArray, confusion_matrices, f1
from ftzard.core.predictions import labels_of_predictions
from ftzard.core.row_groups import Rows, group_sums, num_rows, rows_of_hashes
from ftzard.core.significance import fewest_rows_to_tell, mcnemar_exact
from ftzard.errors import LabelSetChangedError, PredictionsMismatchError, TooFewExamplesError


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Comparison:
    """A challenger beside another classifier on the same rows.

    Attributes:
        other: Who it is compared with.
        macro_f1: Macro-F1 of the challenger.
        other_macro_f1: Macro-F1 of the other.
        difference: Challenger minus other, with its paired interval.
        standard_error: Of that difference, from the resamples.
        num_only_challenger: Rows that only the challenger got right.
        num_only_other: Rows that only the other got right.
        p_value: Of the exact McNemar test, two-sided; of the sign test on `num_groups_won` where rows belong together.
        label_differences: F1 of each label, challenger minus other, with its paired interval.
        significance: What the intervals leave out, and the level of the test: `evaluation.gate.significance`.
        num_groups_won: Where rows belong to groups, which are drawn as a whole: those in which the challenger answers
            more rows better, and those in which the other does. None where each row stands for itself.
    """

    other: str
    macro_f1: FiniteFloat
    other_macro_f1: FiniteFloat
    difference: Interval
    standard_error: FiniteFloat
    num_only_challenger: int
    num_only_other: int
    p_value: FiniteFloat
    label_differences: dict[str, Interval]
    significance: FiniteFloat
    num_groups_won: tuple[int, int] | None = Field(default=None, kw_only=True)

    @property
    def metric(self) -> str:
        """What they are compared by."""
        return "macro_f1"

    @property
    def metric_in_words(self) -> str:
        """Likewise, for people."""
        return "macro-F1"

    @property
    def score(self) -> float:
        """The challenger's."""
        return self.macro_f1

    @property
    def other_score(self) -> float:
        """The other's."""
        return self.other_macro_f1

    @property
    def details(self) -> dict[str, float]:
        """On how many rows they differ, and what the exact test makes of it, in words."""
        return {
            "only it is right": self.num_only_challenger,
            "only the other is right": self.num_only_other,
            **self._groups_told,
            f"exact {'McNemar' if self.num_groups_won is None else 'sign test'} p": self.p_value,
        }

    @property
    def fewer_rows_told(self) -> str:
        """That it is right on fewer rows, in words, where the other is the champion."""
        return (
            f"it is shown to be right on fewer rows: on {self.num_only_challenger} where the champion is "
            f"wrong, and wrong on {self.num_only_other} where the champion is right "
            f"({self._test_told('exact McNemar test')}, p = {self.p_value:.2g})"
        )

    @property
    def is_told_apart(self) -> bool:
        """Whether they differ on rows, or groups, enough for any test to say something."""
        return sum(self._num_won) >= fewest_rows_to_tell(self.significance)

    @property
    def is_shown_better(self) -> bool:
        """Whether the challenger's macro-F1 is shown to be higher."""
        return self.is_told_apart and self.difference.low > 0

    @property
    def is_shown_worse(self) -> bool:
        """Whether the challenger's macro-F1 is shown to be lower."""
        return self.is_told_apart and self.difference.high < 0

    @property
    def is_shown_right_less_often(self) -> bool:
        """Whether the exact test shows that the challenger is right on fewer rows."""
        mine, theirs = self._num_won
        return mine < theirs and self.p_value < self.significance

    @property
    def _num_won(self) -> tuple[int, int]:
        """What the exact test counts."""
        return self.num_groups_won or (self.num_only_challenger, self.num_only_other)

    @property
    def _groups_told(self) -> dict[str, float]:
        if self.num_groups_won is None:
            return {}
        mine, theirs = self.num_groups_won
        return {"groups in which it is right more often": mine, "groups in which the other is": theirs}

    def _test_told(self, by_row: str) -> str:
        if self.num_groups_won is None:
            return by_row
        mine, theirs = self.num_groups_won
        return f"exact sign test on groups, {mine} against {theirs}"


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class SetComparison(Comparison):
    """As `Comparison`, of classifiers that give sets of labels.

    Of many labels hardly a set is ever exactly right, so that rows count for the one with fewer labels wrong about
    them, and the exact test is the sign test on those, which is what McNemar's is for right and wrong.

    Attributes:
        rows_count_by: By what a row is a challenger's or the other's.
    """

    rows_count_by: Literal["fewer labels wrong"]

    @property
    def details(self) -> dict[str, float]:
        """On how many rows they differ, and what the exact test makes of it, in words."""
        return {
            "it has fewer labels wrong": self.num_only_challenger,
            "the other has fewer labels wrong": self.num_only_other,
            **self._groups_told,
            "exact sign test p": self.p_value,
        }

    @property
    def fewer_rows_told(self) -> str:
        """That it is nearer on fewer rows, in words, where the other is the champion."""
        return (
            f"it is shown to be nearer to the truth on fewer rows: on {self.num_only_challenger}, and the champion on "
            f"{self.num_only_other} ({self._test_told('exact sign test')}, p = {self.p_value:.2g})"
        )


C = TypeVar("C", bound=Comparison)


def check_same_labels(challenger: pl.DataFrame, other: pl.DataFrame, name: str) -> tuple[str, ...]:
    """Check that two classifiers tell the same labels apart, whatever rows they answer; returns the labels.

    Args:
        challenger: `prediction_schema`.
        other: Likewise.
        name: What to call the other.

    Raises:
        LabelSetChangedError: They do not.
    """
    labels, others = labels_of_predictions(challenger), labels_of_predictions(other)
    if others != labels:
        raise LabelSetChangedError(
            f"the challenger tells {list(labels)} apart, the {name} {list(others)}",
            fix="set another tracking.registered_model for the new label set, so that it has a champion of its own",
        )
    return labels


def compare(
    challenger: pl.DataFrame,
    other: pl.DataFrame,
    name: str,
    config: EvaluationConfig,
    test: pl.DataFrame | None = None,
) -> Comparison:
    """Compare two classifiers on the rows that both have answered.

    Args:
        challenger: `prediction_schema`, one row per test example.
        other: Likewise, for the same examples in any order.
        name: What to call the other.
        config: Number of resamples and the seed.
        test: The test split, for the `group` of its rows; None where each row stands for itself.

    Raises:
        TooFewExamplesError: There are no rows.
        LabelSetChangedError: They answer with other labels.
        PredictionsMismatchError: They answer for other rows.
    """
    labels = check_same_labels(challenger, other, name)
    first, second = same_rows(challenger, other, name)
    true, mine, theirs = (_codes(column, labels) for column in _columns(first, second))

    def label_f1(answers: IntArray) -> Statistic:
        return lambda rows: _label_f1(true[rows], answers[rows], len(labels))

    wins = (mine == true).astype(np.int64) - (theirs == true)
    rows = rows_of_hashes(first["text_hash"], test)
    return compared(Comparison, name, labels, (label_f1(mine), label_f1(theirs)), (rows, wins), config)


def same_rows(challenger: pl.DataFrame, other: pl.DataFrame, name: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The answers of both, sorted by `text_hash`, where they are for the same rows and there are any.

    Raises:
        TooFewExamplesError: There are no rows.
        PredictionsMismatchError: They answer for other rows.
    """
    first, second = challenger.sort("text_hash"), other.sort("text_hash")
    if not first.select("text_hash", "label").equals(second.select("text_hash", "label")):
        raise PredictionsMismatchError(
            f"the challenger and the {name} answer for other rows", fix="materialize `predictions` again"
        )
    if first.is_empty():
        raise TooFewExamplesError(
            "there is no test row that neither adapter was trained on",
            fix="add labelled data, or raise data.test_fraction",
        )
    return first, second


def compared(
    record: Callable[..., C],
    name: str,
    labels: Sequence[str],
    label_f1: tuple[Statistic, Statistic],
    rows_and_wins: tuple[Rows, IntArray],
    config: EvaluationConfig,
) -> C:
    """Compare two classifiers by the F1 of each label, and by the rows that one of them answers better.

    Args:
        record: What to make of it.
        name: What to call the other.
        labels: The k labels.
        label_f1: Of the challenger and of the other; each maps row indices of shape (b, m) to shape (b, k).
        rows_and_wins: How many rows there are, or the group of each; and for each, shape (n,), 1 where the challenger
            answers it better, -1 where the other does, else 0.
        config: Number of resamples, the seed and the significance.
    """
    mine, theirs = label_f1
    rows, wins = rows_and_wins
    num_won = _num_won(wins)
    num_groups_won = None if isinstance(rows, int) else _num_won(group_sums(wins, rows))

    def differences(samples: IntArray) -> FloatArray:
        return mine(samples) - theirs(samples)

    all_rows = np.arange(num_rows(rows))[None]
    observed = differences(all_rows)[0]
    # Once for all labels, so that they and their mean, macro-F1, are of the same resamples.
    resampled = resample_values(differences, rows, config.num_bootstrap_samples, config.seed)
    confidence = 1 - config.gate.significance
    intervals = [percentile_interval(*one, confidence) for one in zip(observed, resampled.T, strict=True)]
    macro = resampled.mean(axis=1)
    return record(
        other=name,
        macro_f1=float(mine(all_rows)[0].mean()),
        other_macro_f1=float(theirs(all_rows)[0].mean()),
        difference=percentile_interval(float(observed.mean()), macro, confidence),
        standard_error=float(macro.std()),
        num_only_challenger=num_won[0],
        num_only_other=num_won[1],
        p_value=mcnemar_exact(*(num_groups_won or num_won)),
        label_differences=dict(zip(labels, intervals, strict=True)),
        significance=config.gate.significance,
        num_groups_won=num_groups_won,
    )


def _num_won(wins: IntArray | FloatArray) -> tuple[int, int]:
    return int((wins > 0).sum()), int((wins < 0).sum())


def _columns(first: pl.DataFrame, second: pl.DataFrame) -> tuple[pl.Series, pl.Series, pl.Series]:
    return first["label"], first["predicted_label"], second["predicted_label"]


def _codes(labels: pl.Series, known: Sequence[str]) -> IntArray:
    return labels.replace_strict({label: index for index, label in enumerate(known)}, return_dtype=pl.Int64).to_numpy()


def _label_f1(true: IntArray, predicted: IntArray, num_labels: int) -> FloatArray:
    return f1(confusion_matrices(true, predicted, num_labels))
