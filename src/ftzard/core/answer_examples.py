"""What a model wrote, for a person to look at: beside the prompt, and beside the answer that was asked for."""

from typing import Final

import polars as pl

from ftzard.core.answer_predictions import UNTRAINED, task_of_predictions
from ftzard.core.conversations import read_messages
from ftzard.core.row_columns import read_pair

_NUM_EXAMPLES: Final = 5


def answer_examples(predictions: pl.DataFrame, examples: pl.DataFrame, *, are_messages: bool) -> pl.DataFrame:
    """The first answers, with what was asked.

    Args:
        predictions: `answer_schema` or `incoming_schema`.
        examples: `EXAMPLE_SCHEMA`, with the prompts of all of them.
        are_messages: Whether a text holds messages; each is then shown behind its role.

    Returns:
        At most five rows. Columns `prompt`, `asked for` (of a pair `chosen` and `rejected`; nothing where no answer is
        known), `adapter`, and `untrained model` where it was asked.
    """
    texts = examples.select("text_hash", "text").unique("text_hash", keep="first", maintain_order=True)
    shown = predictions.head(_NUM_EXAMPLES).join(texts, on="text_hash", how="left", maintain_order="left")
    columns = {"prompt": [_told(text) if are_messages else text for text in shown["text"]]}
    if task_of_predictions(predictions) == "preference":
        pairs = [read_pair(label) for label in shown["label"]]
        columns |= {"chosen": [chosen for chosen, _ in pairs], "rejected": [rejected for _, rejected in pairs]}
    elif shown["label"].null_count() < shown.height:
        columns["asked for"] = shown["label"].to_list()
    columns["adapter"] = shown["prediction"].to_list()
    if f"{UNTRAINED}prediction" in shown.columns:
        columns["untrained model"] = shown[f"{UNTRAINED}prediction"].to_list()
    return pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.String))


def num_as_long_as_may_be(predictions: pl.DataFrame, max_new_tokens: int) -> int:
    """How many of the adapter's answers have all the tokens that an answer may have, which ended most of them.

    Args:
        predictions: As for `answer_examples`.
        max_new_tokens: What the adapter was given.
    """
    return int((predictions["token_log_probabilities"].list.len() >= max_new_tokens).sum())


def _told(text: str) -> str:
    return "\n".join(f"{message['role']}: {message['content']}" for message in read_messages(text))
