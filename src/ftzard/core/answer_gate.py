"""Whether a challenger that writes answers becomes champion.

The rules are those of `ftzard.core.gate`, with the configured metric in the place of macro-F1 and the model without the
adapter in the place of TF-IDF: nothing may be shown to be worse, and over a champion a gain must be shown.
"""

from ftzard.config import EvaluationConfig
from ftzard.core.answer_comparison import AnswerComparison
from ftzard.core.gate import GateVerdict, num_more_labels, told_difference


def judge_answers(
    against_champion: AnswerComparison | None,
    against_baseline: AnswerComparison,
    num_rows: int,
    test_fraction: float,
    config: EvaluationConfig,
) -> tuple[GateVerdict, tuple[str, ...], int | None]:
    """Say what becomes of a challenger: the verdict, the reasons, and how many examples would settle it."""
    name = against_baseline.metric.replace("_", " ")
    sides = (("the untrained model's", against_baseline), ("the champion's", against_champion))
    worse = tuple(
        f"its {name} is shown to be below {whose}, by {told_difference(side, -1)}"
        for whose, side in sides
        if side is not None and side.is_shown_worse
    )
    if worse:
        return "keep", worse, None
    if against_champion is None:
        return (
            "promote",
            ("there is no champion, and the challenger is not shown to be below the untrained model",),
            None,
        )
    gain = told_difference(against_champion, 1)
    if against_champion.is_shown_better:
        return "promote", (f"its {name} is shown to be above the champion's, by {gain}",), None
    more = num_more_labels(against_champion, num_rows, test_fraction, config)
    if more is None:
        return "keep", (f"no gain over the champion was observed on {num_rows} rows: {gain}",), None
    return (
        "need_more_labels",
        (f"{num_rows} rows cannot tell a gain of {gain}; with {more} more examples they probably could",),
        more,
    )
