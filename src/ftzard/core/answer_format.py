"""`generation.json`: what an adapter that writes answers says of itself, as `labels.json` of a classifier."""

from pathlib import Path
from typing import Literal

from pydantic import ConfigDict, TypeAdapter
from pydantic.dataclasses import dataclass

from ftzard.core.adapter_documents import ANSWERS_NAME, LABELS_NAME, read_json
from ftzard.errors import AdapterMismatchError

_STRICT = ConfigDict(extra="forbid")


@dataclass(frozen=True, config=_STRICT)
class AnswerFormat:
    """`generation.json`: how a prompt is put to the model, and how it answers.

    Attributes:
        task: What it was trained for.
        messages: Whether a text holds messages, and not a prompt alone.
        prompt_format: `chat` or `plain`, as configured.
        prompt_template: As configured, with `{text}`.
        max_length: Tokens of prompt and answer together that it was trained on, at most.
        max_new_tokens: Tokens of an answer, at most.
    """

    task: Literal["generation", "preference"]
    messages: bool
    prompt_format: Literal["chat", "plain"]
    prompt_template: str
    max_length: int
    max_new_tokens: int


def read_answer_format(path: Path) -> AnswerFormat:
    """Read `generation.json`.

    Raises:
        AdapterCorruptError: There is none, or it is not one.
        AdapterMismatchError: The adapter is a classifier.
    """
    if not (path / ANSWERS_NAME).exists() and (path / LABELS_NAME).exists():
        raise AdapterMismatchError(
            f"the adapter {path} is a classifier, and answers are asked of it",
            fix="set data.task=classification, or train an adapter for this task (with another "
            "tracking.registered_model, so that it has a champion of its own)",
        )
    return read_json(TypeAdapter(AnswerFormat), path / ANSWERS_NAME)
