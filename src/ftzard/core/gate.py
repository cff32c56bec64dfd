"""Whether a challenger becomes champion: the one place where that is decided, on rows that both have answered.

What has to be shown, and by what:

- with a champion, that the challenger's macro-F1 is higher: the paired bootstrap interval of the difference lies above
  zero. The exact McNemar test on the same rows must not say the opposite, as it can where a gain in a rare label costs
  many rows of a frequent one. The interval alone errs at most as often as its level says; asking for both to be
  significant would only make true gains harder to find.
- against TF-IDF and on each label only that nothing is shown to be worse: a challenger need not prove itself again
  on every part, but must not be promoted against evidence.
"""

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
import polars as pl
from pydantic import ConfigDict, FiniteFloat
from pydantic.dataclasses import dataclass

from ftzard.config import EvaluationConfig
from ftzard.core.bootstrap import paired_difference
from ftzard.core.documents import JsonDocument
from ftzard.core.evaluation import MIN_DISCORDANT_ROWS
from ftzard.core.evaluation_report import Interval
from ftzard.core.metrics import IntArray, confusion_matrices, f1, macro_f1
from ftzard.core.predictions import labels_of_predictions
from ftzard.core.significance import mcnemar_exact, num_rows_needed, num_rows_needed_by_interval
from ftzard.errors import LabelSetChangedError, PredictionsMismatchError, TooFewExamplesError

_STRICT = ConfigDict(extra="forbid")

# The sample size is that of a test of accuracy. Macro-F1, which the gate looks at, scatters a little more; with this,
# the promised power held in simulation.
_MACRO_F1_ALLOWANCE = 1.1

GateVerdict = Literal["promote", "keep", "need_more_labels"]


@dataclass(frozen=True, config=_STRICT)
class Comparison:
    """A challenger beside another classifier on the same rows.

    Attributes:
        other: Who it is compared with.
        macro_f1: Macro-F1 of the challenger.
        other_macro_f1: Macro-F1 of the other.
        difference: Challenger minus other, with its paired 95 % interval.
        num_only_challenger: Rows that only the challenger got right.
        num_only_other: Rows that only the other got right.
        p_value: Of the exact McNemar test, two-sided.
        label_differences: F1 of each label, challenger minus other, with its paired 95 % interval.
    """

    other: str
    macro_f1: FiniteFloat
    other_macro_f1: FiniteFloat
    difference: Interval
    num_only_challenger: int
    num_only_other: int
    p_value: FiniteFloat
    label_differences: dict[str, Interval]

    @property
    def is_told_apart(self) -> bool:
        """Whether they differ on rows enough for any test to say something."""
        return self.num_only_challenger + self.num_only_other >= MIN_DISCORDANT_ROWS


@dataclass(frozen=True, config=_STRICT)
class PromotionVerdict(JsonDocument):
    """What the gate says of a challenger, and the numbers behind it.

    Attributes:
        verdict: `promote`, `keep` (the champion, or none), or `need_more_labels`.
        reasons: Why, in sentences.
        challenger: Checksum of the challenger's adapter.
        champion: Version of the champion it was compared with; None where there was none.
        test_fingerprint: Of the test split.
        num_rows: Rows that everything rests on.
        num_rows_left_out: Test rows that one of the two was trained on.
        against_champion: None where there was no champion, or the challenger is the champion.
        against_baseline: Beside TF-IDF with logistic regression.
        num_more_labels: Labelled examples to add, of which a part become test rows; None with another verdict.
    """

    verdict: GateVerdict
    reasons: tuple[str, ...]
    challenger: str
    champion: str | None
    test_fingerprint: str
    num_rows: int
    num_rows_left_out: int
    against_champion: Comparison | None
    against_baseline: Comparison | None
    num_more_labels: int | None = None

    @property
    def sentence(self) -> str:
        """The verdict with its reasons, in a line."""
        return f"{self.verdict.replace('_', ' ')}: {'; '.join(self.reasons)}"


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
    num_rows, samples, seed = true.size, config.num_bootstrap_samples, config.seed

    def scores(predicted: IntArray, rows: IntArray) -> IntArray:
        return confusion_matrices(true[rows], predicted[rows], len(labels))

    def label_difference(index: int) -> Interval:
        return paired_difference(
            lambda rows: f1(scores(mine, rows))[:, index], lambda rows: f1(scores(theirs, rows))[:, index],
            num_rows, samples, seed,
        )  # fmt: skip

    everything: IntArray = np.arange(num_rows)[None]
    only_mine, only_theirs = (mine == true) & (theirs != true), (theirs == true) & (mine != true)
    counts = int(only_mine.sum()), int(only_theirs.sum())
    difference = paired_difference(
        lambda rows: macro_f1(scores(mine, rows)), lambda rows: macro_f1(scores(theirs, rows)), num_rows, samples, seed
    )
    return Comparison(
        other=name,
        macro_f1=float(macro_f1(scores(mine, everything))[0]),
        other_macro_f1=float(macro_f1(scores(theirs, everything))[0]),
        difference=difference,
        num_only_challenger=counts[0],
        num_only_other=counts[1],
        p_value=mcnemar_exact(*counts),
        label_differences={label: label_difference(index) for index, label in enumerate(labels)},
    )


def objections(
    against_champion: Comparison | None, against_baseline: Comparison, config: EvaluationConfig
) -> tuple[str, ...]:
    """What is shown to be worse: each a reason that no gain elsewhere outweighs."""
    found = []
    if against_baseline.is_told_apart and against_baseline.difference.high < 0:
        found.append(f"its macro-F1 is shown to be below TF-IDF's, by {_told(against_baseline.difference, -1)}")
    if against_champion is not None and against_champion.is_told_apart:
        if against_champion.difference.high < 0:
            found.append(
                f"its macro-F1 is shown to be below the champion's, by {_told(against_champion.difference, -1)}"
            )
        margin = config.gate.max_class_f1_drop
        found += [
            f"its F1 of {label!r} is shown to lie more than {margin:g} below the champion's, by {_told(interval, -1)}"
            for label, interval in against_champion.label_differences.items()
            if interval.high < -margin
        ]
    return tuple(found)


def is_shown_better(comparison: Comparison, config: EvaluationConfig) -> bool:
    """Whether the challenger's macro-F1 is shown to be higher, with the exact test not saying the opposite."""
    contradicts = (
        comparison.num_only_challenger < comparison.num_only_other and comparison.p_value < config.gate.significance
    )
    return comparison.is_told_apart and comparison.difference.low > 0 and not contradicts


def num_more_labels(
    comparison: Comparison, num_rows: int, test_fraction: float, config: EvaluationConfig
) -> int | None:
    """How many labelled examples to add so that a gain of the size observed would be found.

    Args:
        comparison: With the champion.
        num_rows: Test rows that it rests on.
        test_fraction: The share of new examples that become test rows, in (0, 1].
        config: Level and power.

    Returns:
        At least 1; None where no gain was observed, so that there is nothing to find.
    """
    difference = comparison.difference
    if difference.value <= 0:
        return None
    if comparison.num_only_challenger > comparison.num_only_other:
        shares = comparison.num_only_challenger / num_rows, comparison.num_only_other / num_rows
        needed = num_rows_to_tell(*shares, config)
    else:
        # A gain in rare labels at the cost of as many rows of frequent ones: a test of accuracy would never see it.
        needed = num_rows_needed_by_interval(
            difference.value,
            difference.high - difference.low,
            num_rows,
            significance=config.gate.significance,
            power=config.gate.power,
        )
    return None if needed is None else max(1, math.ceil((needed - num_rows) / test_fraction))


def num_rows_to_tell(share_only_challenger: float, share_only_champion: float, config: EvaluationConfig) -> int | None:
    """How many test rows the gate needs to find a gain of this size with the configured power.

    Args:
        share_only_challenger: Share of the rows that only the challenger gets right.
        share_only_champion: Share of the rows that only the champion gets right.
        config: Level and power.
    """
    needed = num_rows_needed(
        share_only_challenger, share_only_champion, significance=config.gate.significance, power=config.gate.power
    )
    return None if needed is None else math.ceil(needed * _MACRO_F1_ALLOWANCE)


def judge(
    against_champion: Comparison | None,
    against_baseline: Comparison,
    num_rows: int,
    test_fraction: float,
    config: EvaluationConfig,
) -> tuple[GateVerdict, tuple[str, ...], int | None]:
    """Say what becomes of a challenger: the verdict, the reasons, and how many labels would settle it."""
    if worse := objections(against_champion, against_baseline, config):
        return "keep", worse, None
    if against_champion is None:
        return "promote", ("there is no champion, and the challenger is not shown to be below TF-IDF",), None
    gain = _told(against_champion.difference, 1)
    if is_shown_better(against_champion, config):
        return "promote", (f"its macro-F1 is shown to be above the champion's, by {gain}",), None
    more = num_more_labels(against_champion, num_rows, test_fraction, config)
    if more is None:
        return "keep", (f"no gain over the champion was observed on {num_rows} rows: {gain}",), None
    return (
        "need_more_labels",
        (f"{num_rows} rows cannot tell a gain of {gain}; with {more} more labelled examples they probably could",),
        more,
    )


def _columns(first: pl.DataFrame, second: pl.DataFrame) -> tuple[pl.Series, pl.Series, pl.Series]:
    return first["label"], first["predicted_label"], second["predicted_label"]


def _codes(labels: pl.Series, known: Sequence[str]) -> IntArray:
    return labels.replace_strict({label: index for index, label in enumerate(known)}, return_dtype=pl.Int64).to_numpy()


def _told(interval: Interval, sign: Literal[1, -1]) -> str:
    low, high = sorted((sign * interval.low, sign * interval.high))
    return f"{sign * interval.value:.3f} (95 % interval {low:z.3f} to {high:z.3f})"
