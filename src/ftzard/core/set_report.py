"""What an evaluation of sets of labels says: plain records that hold no NaN and travel as strict JSON."""

from typing import Literal

from pydantic import ConfigDict, FiniteFloat
from pydantic.dataclasses import dataclass

from ftzard.core.evaluation_report import LabelReport, ReliabilityBin, SliceScores


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
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
        task: Says what kind of report it is.
    """

    thresholds: dict[str, FiniteFloat]
    reliability: tuple[ReliabilityBin, ...]
    num_without_label: int
    slices: tuple[SliceScores, ...] = ()
    task: Literal["multi_label"] = "multi_label"
