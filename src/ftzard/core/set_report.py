"""What an evaluation of sets of labels says: plain records that hold no NaN and travel as strict JSON."""

from typing import Literal

from pydantic import ConfigDict, FiniteFloat
from pydantic.dataclasses import dataclass

from ftzard.core.evaluation_report import LabelReport, ReliabilityBin, SliceScores, SystemScores

_STRICT = ConfigDict(extra="forbid")


@dataclass(frozen=True, config=_STRICT)
class LabelOutcomes:
    """How often one label was given where it should be and where it should not, over all test rows.

    These are the cells of scikit-learn's `multilabel_confusion_matrix`, and together the number of test rows.

    Attributes:
        label: The label.
        num_true_positives: Rows that have it and get it.
        num_false_positives: Rows that get it and do not have it.
        num_false_negatives: Rows that have it and do not get it.
        num_true_negatives: Rows that neither have nor get it.
    """

    label: str
    num_true_positives: int
    num_false_positives: int
    num_false_negatives: int
    num_true_negatives: int


@dataclass(frozen=True, config=_STRICT)
class SetSystemScores(SystemScores):
    """The scores of one classifier that gives sets of labels.

    Attributes:
        outcomes: One entry per label, in the order of the label set; none in a report from before there were any.
    """

    outcomes: tuple[LabelOutcomes, ...] = ()


@dataclass(frozen=True, config=_STRICT)
class LabelSetReport(LabelReport):
    """The report where each example has any number of labels.

    The scores are `micro_f1`, `macro_f1`, `samples_f1`, `subset_accuracy`, `average_precision` (higher is better),
    `hamming_loss`, `log_loss`, `brier` (lower is better), each with its 95 % interval; see `ftzard.core.set_metrics`.

    Attributes:
        thresholds: The probability from which on the adapter gives a label.
        reliability: How often a label is had where the adapter gives it some probability, all labels together, in
            equal-width bins.
        num_without_label: Test rows that have none of the labels.
        slices: The adapter's scores by length of text, `accuracy` being subset accuracy; a slice without examples is
            left out, and a report from before there were slices has none.
        confusion: Of the adapter, for each two labels the test rows that miss the one (row) and wrongly get the other
            (column), in the order of `labels`, and last `nothing`, where no label is missed or wrongly given for the
            other; on the diagonal those that have the label and get it. A row counts for every such pair: see
            `ftzard.core.set_metrics.confused_labels`. A report from before there was one has none.
        task: Says what kind of report it is.
    """

    adapter: SetSystemScores
    baseline: SetSystemScores
    majority: SetSystemScores
    thresholds: dict[str, FiniteFloat]
    reliability: tuple[ReliabilityBin, ...]
    num_without_label: int
    slices: tuple[SliceScores, ...] = ()
    confusion: tuple[tuple[int, ...], ...] = ()
    task: Literal["multi_label"] = "multi_label"
