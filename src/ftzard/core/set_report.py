"""What an evaluation of sets of labels says: plain records that hold no NaN and travel as strict JSON."""

from typing import Literal

from pydantic import ConfigDict, FiniteFloat
from pydantic.dataclasses import dataclass

from ftzard.core.documents import JsonDocument
from ftzard.core.evaluation_report import Interval, ReliabilityBin, SystemScores, Verdict


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class LabelSetReport(JsonDocument):
    """An adapter's sets of labels for the test split, judged beside two baselines on the same rows.

    Attributes:
        labels: The label set, in the order of the classifier's outputs.
        thresholds: The probability from which on the adapter gives a label.
        num_train: Rows of the train split.
        num_test: Rows of the test split, which all numbers rest on.
        test_fingerprint: Identifies the test split; two reports compare only where it is equal.
        adapter: The adapter's scores. `micro_f1`, `macro_f1`, `samples_f1`, `subset_accuracy`, `average_precision`
            (higher is better), `hamming_loss`, `log_loss`, `brier` (lower is better), each with its 95 % interval; see
            `ftzard.core.set_metrics`.
        baseline: Those of TF-IDF with a logistic regression for each label, trained on the same train split.
        majority: Those of the most frequent set of the train split.
        difference: Macro-F1 of the adapter minus that of TF-IDF, with its paired 95 % interval.
        verdict: Whether the adapter is better or worse than TF-IDF, or whether these rows cannot tell.
        sentence: The verdict in words.
        reliability: How often a label is had where the adapter gives it some probability, all labels together, in
            equal-width bins.
        num_without_label: Test rows that have none of the labels.
        task: Says what kind of report it is.
    """

    labels: tuple[str, ...]
    thresholds: dict[str, FiniteFloat]
    num_train: int
    num_test: int
    test_fingerprint: str
    adapter: SystemScores
    baseline: SystemScores
    majority: SystemScores
    difference: Interval
    verdict: Verdict
    sentence: str
    reliability: tuple[ReliabilityBin, ...]
    num_without_label: int
    task: Literal["multi_label"] = "multi_label"
