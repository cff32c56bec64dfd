"""What an evaluation comes to: which of two models is better on the test rows, if that can be told."""

from ftzard.core.evaluation_report import Interval, Verdict
from ftzard.core.row_groups import Rows, num_drawn, num_rows
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


def sentence_of(metric: str, difference: Interval, verdict: Verdict, rows: Rows, *, whose: str, other: str) -> str:
    """The verdict with its numbers, for people.

    Args:
        metric: What was measured.
        difference: As for `verdict_of`.
        verdict: Which it gave.
        rows: How many test rows there are, or the group of each.
        whose: Whose score the adapter's is beside: `TF-IDF's`.
        other: Who that is: `TF-IDF`.
    """
    gap = f"{abs(difference.value):.3f} {'above' if difference.value >= 0 else 'below'}"
    examples = _counted(num_rows(rows), "test example")
    if not isinstance(rows, int):
        examples += f" of {_counted(num_drawn(rows), 'group')}"
    ends = {
        "better": f"the adapter is better on these {examples}.",
        "worse": f"{other} is better on these {examples}.",
        "undecided": f"it cannot be told from {examples} which is better.",
    }
    interval = f"95 % interval {difference.low:z.3f} to {difference.high:z.3f}"
    return f"The adapter's {metric} is {gap} {whose} ({interval}): {ends[verdict]}"


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
