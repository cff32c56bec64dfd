"""What an evaluation says: plain records that hold no NaN and travel as strict JSON."""

from typing import Literal, Self

from pydantic import ConfigDict, FiniteFloat, model_validator
from pydantic.dataclasses import dataclass

from ftzard.core.documents import JsonDocument

# Validated when made, so that what is not a finite number fails where it arises and not in a file.
_STRICT = ConfigDict(extra="forbid")

Verdict = Literal["better", "worse", "undecided"]
SliceName = Literal["short", "medium", "long"]
# In the order of the lengths.
SLICE_NAMES: tuple[SliceName, ...] = ("short", "medium", "long")


@dataclass(frozen=True, config=_STRICT)
class Interval:
    """A measured value and its confidence interval, low <= value <= high; a 95 % one in this report."""

    value: FiniteFloat
    low: FiniteFloat
    high: FiniteFloat

    @model_validator(mode="after")
    def _holds_its_value(self) -> Self:
        if not self.low <= self.value <= self.high:
            message = f"an interval holds its value: not {self.low} <= {self.value} <= {self.high}"
            raise ValueError(message)
        return self


@dataclass(frozen=True, config=_STRICT)
class ReliabilityBin:
    """The examples whose confidence lies in one interval.

    Attributes:
        low: Lower edge, not part of the bin.
        high: Upper edge, part of the bin.
        num_examples: How many examples lie in it.
        mean_confidence: Their mean confidence, in [0, 1]; None where there are none.
        accuracy: The share of them that was predicted right, in [0, 1]; None where there are none.
    """

    low: FiniteFloat
    high: FiniteFloat
    num_examples: int
    mean_confidence: FiniteFloat | None
    accuracy: FiniteFloat | None


@dataclass(frozen=True, config=_STRICT)
class ClassScores:
    """How well one label is found.

    Attributes:
        label: The label.
        precision: Share of its predictions that are right, in [0, 1]; 0 where it is never predicted.
        recall: Share of its true examples that are found, in [0, 1]; 0 where it has none.
        f1: Harmonic mean of both, in [0, 1].
        num_examples: How many test examples truly carry it: what the three numbers rest on.
    """

    label: str
    precision: FiniteFloat
    recall: FiniteFloat
    f1: FiniteFloat
    num_examples: int


@dataclass(frozen=True, config=_STRICT)
class SystemScores:
    """The scores of one classifier.

    Attributes:
        name: For people.
        metrics: `accuracy`, `balanced_accuracy`, `macro_f1` (higher is better), `log_loss`, `brier`, `ece` (lower is
            better), each with its 95 % interval; see `ftzard.core.metrics` and `ftzard.core.calibration`.
        per_class: One entry per label, in the order of the label set.
    """

    name: str
    metrics: dict[str, Interval]
    per_class: tuple[ClassScores, ...]


@dataclass(frozen=True, config=_STRICT)
class SliceScores:
    """The adapter's scores on a part of the test examples.

    Attributes:
        name: `short`, `medium` or `long`: a third of the test examples by the length of the text.
        min_num_characters: Length of its shortest text.
        max_num_characters: Length of its longest text.
        num_examples: How many examples it has; texts of equal length are in the same slice, so not exactly a third.
        accuracy: With its 95 % interval, which in a slice is wide.
        macro_f1: Likewise, over the labels that occur in the slice as truth or prediction; 1 where none does.
    """

    name: SliceName
    min_num_characters: int
    max_num_characters: int
    num_examples: int
    accuracy: Interval
    macro_f1: Interval


@dataclass(frozen=True, config=_STRICT)
class LabelReport(JsonDocument):
    """What an adapter's labels for the test split are worth, beside two baselines on the same rows.

    Attributes:
        labels: The label set, in the order of the classifier's outputs.
        num_train: Rows of the train split.
        num_test: Rows of the test split, which all numbers rest on.
        test_fingerprint: Identifies the test split; two reports compare only where it is equal.
        adapter: The adapter's scores.
        baseline: Those of TF-IDF with logistic regression, trained on the same train split.
        majority: Those of the most frequent answer of the train split.
        difference: Macro-F1 of the adapter minus that of TF-IDF, with its paired 95 % interval.
        verdict: Whether the adapter is better or worse than TF-IDF, or whether these rows cannot tell.
        sentence: The verdict in words.
    """

    labels: tuple[str, ...]
    num_train: int
    num_test: int
    test_fingerprint: str
    adapter: SystemScores
    baseline: SystemScores
    majority: SystemScores
    difference: Interval
    verdict: Verdict
    sentence: str


@dataclass(frozen=True, config=_STRICT)
class EvaluationReport(LabelReport):
    """The report where each example has one label.

    Attributes:
        confusion: Counts of the adapter, rows true labels, columns predicted ones, in the order of `labels`.
        reliability: The adapter's confidence and accuracy in equal-width bins.
        slices: The adapter's scores by length of text; a slice without examples is left out.
    """

    confusion: tuple[tuple[int, ...], ...]
    reliability: tuple[ReliabilityBin, ...]
    slices: tuple[SliceScores, ...]
