"""What a model wrote is shown beside what was asked."""

import polars as pl

from ftzard.core.answer_examples import answer_examples, num_as_long_as_may_be
from ftzard.core.answer_predictions import answer_schema, incoming_schema
from ftzard.core.conversations import write_messages
from ftzard.core.records import EXAMPLE_SCHEMA
from ftzard.core.row_columns import write_pair

_EXAMPLES = pl.DataFrame(
    [("b", "Who?", "Me", "a.csv", 2), ("a", "Why?", "So", "a.csv", 3)], schema=EXAMPLE_SCHEMA, orient="row"
)


def _answers(task: str, **columns: list[object]) -> pl.DataFrame:
    schema = {"incoming": incoming_schema()}.get(task) or answer_schema(task)  # type: ignore[arg-type]
    empty: dict[str, list[object]] = {name: [None, None] for name in schema}
    given = {"text_hash": ["a", "b"], "token_log_probabilities": [[-1.0], [-1.0, -2.0]]}
    return pl.DataFrame({**empty, **given, **columns}, schema=schema)


def test_answers_stand_beside_their_own_prompt_and_what_was_asked_for() -> None:
    answers = _answers(
        "generation", label=["So", "Me"], prediction=["because", "you"], untrained_prediction=["eh", "oh"]
    )
    shown = answer_examples(answers, _EXAMPLES, are_messages=False)
    assert shown.rows() == [("Why?", "So", "because", "eh"), ("Who?", "Me", "you", "oh")]
    assert shown.columns == ["prompt", "asked for", "adapter", "untrained model"]


def test_of_pairs_both_answers_are_shown_and_of_prompts_that_came_in_none() -> None:
    pairs = _answers("preference", label=[write_pair("So", "No"), write_pair("Me", "You")], prediction=["x", "y"])
    assert answer_examples(pairs, _EXAMPLES, are_messages=False).row(0, named=True) == {
        "prompt": "Why?",
        "chosen": "So",
        "rejected": "No",
        "adapter": "x",
        "untrained model": None,
    }
    incoming = answer_examples(_answers("incoming", prediction=["x", "y"]), _EXAMPLES, are_messages=False)
    assert incoming.row(1, named=True) == {"prompt": "Who?", "adapter": "y"}


def test_messages_are_told_with_their_roles_and_not_as_json() -> None:
    text = write_messages([{"role": "system", "content": "Be brief"}, {"role": "user", "content": 'Say "hi"'}])
    talks = _EXAMPLES.with_columns(text=pl.lit(text))
    shown = answer_examples(_answers("incoming", prediction=["x", "y"]), talks, are_messages=True)
    assert shown["prompt"][0] == 'system: Be brief\nuser: Say "hi"'


def test_answers_that_reached_the_limit_are_counted() -> None:
    answers = _answers("incoming", prediction=["x", "y"])
    assert [num_as_long_as_may_be(answers, limit) for limit in (1, 2, 3)] == [2, 1, 0]
