"""What an evaluation comes to: which of two models is better on the test rows, if that can be told."""

from ftzard.core.evaluation_report import Interval, Verdict
from ftzard.core.significance import MIN_DISCORDANT_ROWS


def verdict_of(difference: Interval, num_differing: int) -> Verdict:
    """Say which is better.

    Args:
        difference: Of the adapter's score less the other's, paired.
        num_differing: Rows on which the two differ; groups, where rows belong to some.
    """
    if num_differing < MIN_DISCORDANT_ROWS:
        return "undecided"
    if difference.low > 0:
        return "better"
    return "worse" if difference.high < 0 else "undecided"


def sentence_of(metric: str, difference: Interval, verdict: Verdict, num_test: int, *, whose: str, other: str) -> str:
    """The verdict with its numbers, for people.

    Args:
        metric: What was measured.
        difference: As for `verdict_of`.
        verdict: Which it gave.
        num_test: Test rows.
        whose: Whose score the adapter's is beside: `TF-IDF's`.
        other: Who that is: `TF-IDF`.
    """
    gap = f"{abs(difference.value):.3f} {'above' if difference.value >= 0 else 'below'}"
    rows = f"{num_test} test example{'' if num_test == 1 else 's'}"
    ends = {
        "better": f"the adapter is better on these {rows}.",
        "worse": f"{other} is better on these {rows}.",
        "undecided": f"it cannot be told from {rows} which is better.",
    }
    interval = f"95 % interval {difference.low:z.3f} to {difference.high:z.3f}"
    return f"The adapter's {metric} is {gap} {whose} ({interval}): {ends[verdict]}"
