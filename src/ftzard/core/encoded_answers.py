"""Prompts and answers in tokens, as a language model is trained on them."""

import hashlib
import json
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from ftzard.core.answer_format import AnswerFormat
from ftzard.core.answer_prompts import AnswerEncoder, encode_prompts_of
from ftzard.core.row_columns import read_pair
from ftzard.errors import ConfigError, TooFewExamplesError

# People look for what is told of a training under this name, wherever the loop is.
_logger = logging.getLogger("ftzard.core.training")


@dataclass(frozen=True)
class EncodedAnswers:
    """Examples of one split in tokens.

    Attributes:
        prompts: Token ids of each prompt.
        answers: Of its completion, or of the chosen answer; the token that ends it included.
        rejected: Of the rejected answers; None where there are none.
    """

    prompts: list[list[int]]
    answers: list[list[int]]
    rejected: list[list[int]] | None

    def __len__(self) -> int:
        """Number of examples."""
        return len(self.prompts)

    @property
    def lengths(self) -> list[int]:
        """Tokens of prompt and longest answer."""
        others = self.rejected or self.answers
        pairs = zip(self.prompts, self.answers, others, strict=True)
        return [len(prompt) + max(len(answer), len(other)) for prompt, answer, other in pairs]

    @property
    def sequences(self) -> list[list[int]]:
        """All that there is in tokens, in no order that counts."""
        return [*self.prompts, *self.answers, *(self.rejected or [])]

    @property
    def checksum(self) -> str:
        """SHA-256 of all token ids, in their order."""
        return hashlib.sha256(json.dumps([self.prompts, self.answers, self.rejected]).encode()).hexdigest()

    def cut(self, max_length: int) -> "EncodedAnswers":
        """Without what lies beyond so many tokens, and without examples whose prompt alone fills them."""
        fitting = self.picked([index for index, prompt in enumerate(self.prompts) if len(prompt) < max_length])
        rooms = [max_length - len(prompt) for prompt in fitting.prompts]

        def shortened(answers: list[list[int]]) -> list[list[int]]:
            return [answer[:room] for answer, room in zip(answers, rooms, strict=True)]

        rejected = None if fitting.rejected is None else shortened(fitting.rejected)
        return EncodedAnswers(fitting.prompts, shortened(fitting.answers), rejected)

    def picked(self, keep: Sequence[int]) -> "EncodedAnswers":
        """Some of them."""
        prompts, answers, rejected = (
            of_each and [of_each[index] for index in keep] for of_each in (self.prompts, self.answers, self.rejected)
        )
        return EncodedAnswers(prompts or [], answers or [], rejected)


def encode_answers(examples: pl.DataFrame, encoder: AnswerEncoder) -> EncodedAnswers:
    """Encode a frame of `EXAMPLE_SCHEMA`, which may be empty, and whose labels are answers or pairs of them."""
    prompts = encode_prompts_of(examples, encoder)
    rows = list(examples.select("text", "label").iter_rows())
    if encoder.format.task == "generation":
        return EncodedAnswers(prompts, [encoder.answer(text, label) for text, label in rows], None)
    pairs = [(text, *read_pair(label)) for text, label in rows]
    return EncodedAnswers(
        prompts,
        [encoder.answer(text, chosen) for text, chosen, _ in pairs],
        [encoder.answer(text, rejected) for text, _, rejected in pairs],
    )


def check_some_fit(examples: EncodedAnswers, max_length: int) -> None:
    """Check that the prompt of a training example leaves room for an answer.

    Raises:
        TooFewExamplesError: None does, or there is none.
    """
    if not len(examples):
        raise TooFewExamplesError(
            "there are no training examples", fix="add prompts with answers, or raise data.train_fraction"
        )
    if (shortest := min(map(len, examples.prompts))) >= max_length:
        raise TooFewExamplesError(
            f"model.max_length is {max_length}, and the shortest of {len(examples)} prompts has "
            f"{shortest} tokens, which leaves no room for an answer",
            fix="raise model.max_length, or shorten the prompts or model.generation.prompt_template",
        )


def that_fit(examples: EncodedAnswers, max_length: int) -> EncodedAnswers:
    """The training examples whose prompt leaves room for an answer; how many do not is told.

    Raises:
        TooFewExamplesError: As `check_some_fit`.
    """
    check_some_fit(examples, max_length)
    keep = [index for index, prompt in enumerate(examples.prompts) if len(prompt) < max_length]
    if len(keep) < len(examples):
        _logger.warning(
            "left out %d of %d training examples whose prompt alone fills model.max_length=%d",
            len(examples) - len(keep),
            len(examples),
            max_length,
        )
    return examples.picked(keep)


def check_watched(validation: EncodedAnswers, max_length: int) -> None:
    """Check that there is something that a training can be judged by while it runs.

    Raises:
        TooFewExamplesError: No validation example leaves room for an answer.
    """
    if not len(validation):
        raise TooFewExamplesError(
            f"no validation example has a prompt below model.max_length={max_length} tokens, so that there is nothing "
            "to judge a trial by",
            fix="raise model.max_length or data.validation_fraction, or train without a study: tuning=none",
        )


def check_window(examples: pl.DataFrame, encoded: EncodedAnswers, how: AnswerFormat, model: Any) -> None:
    """Check that each prompt leaves room for an answer in the model's context window, and has room with its own.

    Args:
        examples: `EXAMPLE_SCHEMA`.
        encoded: The same in tokens; without answers where none are known.
        how: How long an answer may be.
        model: Its configuration says how large the window is, or nothing.

    Raises:
        ConfigError: One does not; the message names its batch and row.
    """
    for number, (length, known) in _beyond_window(encoded, how, model).items():
        row, window = f"{examples['batch'][number]}, row {examples['row'][number]}", _window_of(model)
        if length + how.max_new_tokens > window:
            raise ConfigError(
                f"the prompt in {row} has {length} tokens, and with an answer of {how.max_new_tokens} "
                f"(model.generation.max_new_tokens) it exceeds the model's window of {window}",
                fix="shorten or remove the prompt; or leave all such out, by their characters, with "
                "data.max_characters=NUMBER; or lower model.generation.max_new_tokens",
            )
        raise ConfigError(
            f"prompt and answer in {row} have {known} tokens, which exceeds the model's window of {window}",
            fix="shorten or remove the row",
        )


def within_window(encoded: EncodedAnswers, how: AnswerFormat, model: Any) -> list[int]:
    """The positions of the prompts that `check_window` would let through; all of them where it would let none."""
    beyond = _beyond_window(encoded, how, model)
    return [number for number in range(len(encoded)) if number not in beyond or len(beyond) == len(encoded)]


def _beyond_window(encoded: EncodedAnswers, how: AnswerFormat, model: Any) -> dict[int, tuple[int, int]]:
    """Tokens of the prompt alone, and of the prompt with its longest answer, of those that have no room."""
    window, known = _window_of(model), encoded.lengths if encoded.answers else [0] * len(encoded)
    lengths = enumerate(zip(map(len, encoded.prompts), known, strict=True))
    return {number: both for number, both in lengths if max(both[0] + how.max_new_tokens, both[1]) > window}


def _window_of(model: Any) -> float:
    """Tokens; of some models there is no largest number."""
    window = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    return math.inf if window is None else int(window)
