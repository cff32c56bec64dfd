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
from typing import Literal

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from ftzard.config import EvaluationConfig
from ftzard.core.answer_comparison import AnswerComparison
from ftzard.core.comparison import Comparison, SetComparison
from ftzard.core.documents import JsonDocument
from ftzard.core.evaluation_report import Interval
from ftzard.core.significance import num_rows_needed

# Less than any row can make of a gain: what floating point leaves of the difference of equal scores.
_NO_GAIN = 1e-9

AnyComparison = SetComparison | Comparison | AnswerComparison
GateVerdict = Literal["promote", "keep", "need_more_labels"]


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class PromotionVerdict(JsonDocument):
    """What the gate says of a challenger, and the numbers behind it.

    Attributes:
        verdict: `promote`, `keep` (the champion, or none), or `need_more_labels`.
        reasons: Why, in sentences.
        challenger: Checksum of the challenger's adapter.
        challenger_version: Its version in the model registry, the champion from now on where it is promoted.
        champion: Version of the champion it was compared with; None where there was none.
        test_fingerprint: Of the test split.
        num_rows: Rows that everything rests on.
        num_rows_left_out: Test rows that one of the two was trained on.
        against_champion: None where there was no champion, or the challenger is the champion.
        against_baseline: Beside TF-IDF with logistic regression; for generation and preference, beside the model
            without the adapter.
        num_more_labels: Labelled examples to add, of which a part become test rows; None with another verdict.
    """

    verdict: GateVerdict
    reasons: tuple[str, ...]
    challenger: str
    challenger_version: str
    champion: str | None
    test_fingerprint: str
    num_rows: int
    num_rows_left_out: int
    against_champion: AnyComparison | None
    against_baseline: AnyComparison | None
    num_more_labels: int | None = None

    @property
    def comparisons(self) -> tuple[AnyComparison, ...]:
        """Those that were made: with the champion, and with the baseline."""
        return tuple(found for found in (self.against_champion, self.against_baseline) if found is not None)

    @property
    def sentence(self) -> str:
        """The verdict with its reasons, in a line."""
        return f"{self.verdict.replace('_', ' ')}: {'; '.join(self.reasons)}"


def objections(
    against_champion: Comparison | None, against_baseline: Comparison, config: EvaluationConfig
) -> tuple[str, ...]:
    """What is shown to be worse: each a reason that no gain elsewhere outweighs."""
    found = []
    if against_baseline.is_shown_worse:
        found.append(f"its macro-F1 is shown to be below TF-IDF's, by {told_difference(against_baseline, -1)}")
    if against_champion is None:
        return tuple(found)
    if against_champion.is_shown_worse:
        found.append(f"its macro-F1 is shown to be below the champion's, by {told_difference(against_champion, -1)}")
    if against_champion.is_shown_right_less_often:
        found.append(against_champion.fewer_rows_told)
    if against_champion.is_told_apart:
        found += _labels_that_suffer(against_champion, config.gate.max_class_f1_drop)
    return tuple(found)


def num_more_labels(
    comparison: AnyComparison,
    num_rows: int,
    test_fraction: float,
    config: EvaluationConfig,
    num_held: int = 0,
) -> int | None:
    """How many labelled examples to add so that a gain of the size observed would be found.

    Args:
        comparison: With the champion.
        num_rows: Test rows that it rests on.
        test_fraction: The share of new examples that become test rows, in (0, 1].
        config: The power.
        num_held: Examples that are held for the test split and become test rows without another label.

    Returns:
        At least 1, or 0 where those that are held are enough; None where no gain was observed, so that there is nothing
        to find.
    """
    needed = num_rows_to_tell(comparison, num_rows, config)
    if needed is None:
        return None
    more = math.ceil((needed - num_rows - num_held) / test_fraction)
    return max(0 if num_held else 1, more)


def num_rows_to_tell(comparison: AnyComparison, num_rows: int, config: EvaluationConfig) -> int | None:
    """How many test rows the gate needs to find a gain of the size observed with the configured power.

    The gate looks at macro-F1, so its variance decides, which is that of the rows on which the two differ, those of
    rare labels weighing more.

    Args:
        comparison: With the champion.
        num_rows: Test rows that it rests on.
        config: The power.

    Returns:
        None where no gain was observed.
    """
    gain, significance = comparison.difference.value, comparison.significance
    if gain < _NO_GAIN:
        return None
    return num_rows_needed(
        gain, comparison.standard_error, num_rows, significance=significance, power=config.gate.power
    )


def told_need(gain: str, num_rows: int, more: int, num_held: int | None) -> str:
    """What would settle an undecided gain, in words.

    Args:
        gain: As `told_difference` says it.
        num_rows: Test rows that it rests on.
        more: Labelled examples to add, by `num_more_labels`.
        num_held: As for `judge`.
    """
    start = f"{num_rows} rows cannot tell a gain of {gain}; with"
    if num_held is None:
        return f"{start} {more} more labelled examples they probably could"
    thereafter = "and `ftzard splits refreeze`, without which the frozen test split does not grow, they probably could"
    if more == 0:
        return f"{start} the {num_held} rows that are held for the test split {thereafter}"
    return f"{start} {more} more labelled examples ({num_held} rows are held for the test split already) {thereafter}"


def judge(
    against_champion: Comparison | None,
    against_baseline: Comparison,
    num_rows: int,
    test_fraction: float,
    config: EvaluationConfig,
    num_held: int | None = None,
) -> tuple[GateVerdict, tuple[str, ...], int | None]:
    """Say what becomes of a challenger: the verdict, the reasons, and how many labels would settle it.

    Args:
        against_champion: The comparison with the champion; None where there is none.
        against_baseline: That with TF-IDF.
        num_rows: Test rows that both rest on.
        test_fraction: The share of new examples that is drawn for the test split, in (0, 1].
        config: What has to be shown.
        num_held: How many examples wait for a refreeze of the test split; None where it grows by itself.
    """
    if worse := objections(against_champion, against_baseline, config):
        return "keep", worse, None
    if against_champion is None:
        return "promote", ("there is no champion, and the challenger is not shown to be below TF-IDF",), None
    gain = told_difference(against_champion, 1)
    if against_champion.is_shown_better:
        return "promote", (f"its macro-F1 is shown to be above the champion's, by {gain}",), None
    more = num_more_labels(against_champion, num_rows, test_fraction, config, num_held or 0)
    if more is None:
        return "keep", (f"no gain over the champion was observed on {num_rows} rows: {gain}",), None
    return "need_more_labels", (told_need(gain, num_rows, more, num_held),), more


def _labels_that_suffer(comparison: Comparison, margin: float) -> list[str]:
    return [
        f"its F1 of {label!r} is shown to lie more than {margin:g} below the champion's, by "
        f"{_of_interval(interval, -1, comparison.significance)}"
        for label, interval in comparison.label_differences.items()
        if interval.high < -margin
    ]


def told_difference(comparison: AnyComparison, sign: Literal[1, -1]) -> str:
    """The difference with its interval, or its negative, in words."""
    return _of_interval(comparison.difference, sign, comparison.significance)


def _of_interval(interval: Interval, sign: Literal[1, -1], significance: float) -> str:
    low, high = sorted((sign * interval.low, sign * interval.high))
    level = f"{100 * (1 - significance):.4g} % interval"
    return f"{sign * interval.value:.3f} ({level} {low:z.3f} to {high:z.3f})"
