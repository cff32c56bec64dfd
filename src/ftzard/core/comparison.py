"""A challenger beside another classifier on the same rows: by how much they differ, and what that shows.

Every interval and test here is at `evaluation.gate.significance`, because a promotion hangs on it. The intervals of the
evaluation report, on which nothing hangs, are 95 % intervals whatever that is.
"""

from collections.abc import Sequence

import numpy as np
import polars as pl
from pydantic import ConfigDict, FiniteFloat
from pydantic.dataclasses import dataclass

from ftzard.config import EvaluationConfig
from ftzard.core.bootstrap import percentile_interval, resample_values
from ftzard.core.evaluation_report import Interval
from ftzard.core.metrics import FloatArray, IntArray, confusion_matrices, f1
from ftzard.core.predictions import labels_of_predictions
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
        p_value: Of the exact McNemar test, two-sided.
        label_differences: F1 of each label, challenger minus other, with its paired interval.
        significance: What the intervals leave out, and the level of the test: `evaluation.gate.significance`.
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
            "exact McNemar p": self.p_value,
        }

    @property
    def is_told_apart(self) -> bool:
        """Whether they differ on rows enough for any test to say something."""
        return self.num_only_challenger + self.num_only_other >= fewest_rows_to_tell(self.significance)

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
        return self.num_only_challenger < self.num_only_other and self.p_value < self.significance


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


def compare(challenger: pl.DataFrame, other: pl.DataFrame, name: str, config: EvaluationConfig) -> Comparison:
    """Compare two classifiers on the rows that both have answered.

    Args:
        challenger: `prediction_schema`, one row per test example.
        other: Likewise, for the same examples in any order.
        name: What to call the other.
        config: Number of resamples and the seed.

    Raises:
        TooFewExamplesError: There are no rows.
        LabelSetChangedError: They answer with other labels.
        PredictionsMismatchError: They answer for other rows.
    """
    labels = check_same_labels(challenger, other, name)
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
    true, mine, theirs = (_codes(column, labels) for column in _columns(first, second))

    def differences(rows: IntArray) -> FloatArray:
        known = true[rows]
        return _label_f1(known, mine[rows], len(labels)) - _label_f1(known, theirs[rows], len(labels))

    observed = differences(np.arange(true.size)[None])[0]
    # Once for all labels, so that they and their mean, macro-F1, are of the same resamples.
    resampled = resample_values(differences, true.size, config.num_bootstrap_samples, config.seed)
    confidence = 1 - config.gate.significance
    intervals = [percentile_interval(*one, confidence) for one in zip(observed, resampled.T, strict=True)]
    counts = int(((mine == true) & (theirs != true)).sum()), int(((theirs == true) & (mine != true)).sum())
    macro = resampled.mean(axis=1)
    return Comparison(
        other=name,
        macro_f1=float(_label_f1(true, mine, len(labels)).mean()),
        other_macro_f1=float(_label_f1(true, theirs, len(labels)).mean()),
        difference=percentile_interval(float(observed.mean()), macro, confidence),
        standard_error=float(macro.std()),
        num_only_challenger=counts[0],
        num_only_other=counts[1],
        p_value=mcnemar_exact(*counts),
        label_differences=dict(zip(labels, intervals, strict=True)),
        significance=config.gate.significance,
    )


def _columns(first: pl.DataFrame, second: pl.DataFrame) -> tuple[pl.Series, pl.Series, pl.Series]:
    return first["label"], first["predicted_label"], second["predicted_label"]


def _codes(labels: pl.Series, known: Sequence[str]) -> IntArray:
    return labels.replace_strict({label: index for index, label in enumerate(known)}, return_dtype=pl.Int64).to_numpy()


def _label_f1(true: IntArray, predicted: IntArray, num_labels: int) -> FloatArray:
    return f1(confusion_matrices(true, predicted, num_labels))
