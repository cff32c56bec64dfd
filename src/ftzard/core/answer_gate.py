"""Whether a challenger that writes answers becomes champion.

The rules are those of `ftzard.core.gate`, with the configured metric in the place of macro-F1 and the model without the
adapter in the place of TF-IDF: nothing may be shown to be worse, and over a champion a gain must be shown.
"""

from ftzard.config import EvaluationConfig
from ftzard.core.answer_comparison import AnswerComparison
from ftzard.core.gate import GateVerdict, num_more_labels, told_difference, told_need


def judge_answers(
    against_champion: AnswerComparison | None,
    against_baseline: AnswerComparison,
    num_rows: int,
    test_fraction: float,
    config: EvaluationConfig,
    num_held: int | None = None,
) -> tuple[GateVerdict, tuple[str, ...], int | None]:
    """Say what becomes of a challenger: the verdict, the reasons, and how many examples would settle it.

    The arguments are those of `ftzard.core.gate.judge`.
    """
    name = against_baseline.metric_in_words
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
    more = num_more_labels(against_champion, num_rows, test_fraction, config, num_held or 0)
    if more is None:
        return "keep", (f"no gain over the champion was observed on {num_rows} rows: {gain}",), None
    return "need_more_labels", (told_need(gain, num_rows, more, num_held),), more
