"""How many tokens the base model makes of the training examples, and how many of them are cut for it."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ftzard.core.base_model import describe_base_model
from ftzard.core.length_summary import LengthSummary, length_summaries
from ftzard.core.metrics import IntArray
from ftzard.core.prompts import PromptTemplate, encode_prompts, label_words
from ftzard.core.row_columns import read_pair

if TYPE_CHECKING:
    from collections.abc import Sequence

    import polars as pl

    from ftzard.config import FtzardConfig

# Of more, so many are drawn by hash.
_MAX_TEXTS: Final = 4096
_NO_LIMIT: Final = 2**31 - 1


@dataclass(frozen=True)
class TokenLengths:
    """Tokens of an example, with the prompt around it and its answer where it is learned to be written.

    Attributes:
        base_model: Whose tokens.
        max_length: `model.max_length`.
        num_truncated: Examples that are longer.
        lengths: What was counted.
    """

    base_model: str
    max_length: int
    num_truncated: int
    lengths: LengthSummary

    @property
    def truncated_share(self) -> float:
        """The share of the examples that loses its end, in [0, 1]."""
        return self.num_truncated / self.lengths.num_texts


def token_lengths(train: "pl.DataFrame", labels: "Sequence[str]", config: "FtzardConfig") -> TokenLengths | None:
    """Tokenize some of the training examples; of the base model only its tokenizer is read.

    Args:
        train: `EXAMPLE_SCHEMA`.
        labels: The label set; empty where the answers are free text.
        config: Names the base model and the prompt.

    Returns:
        None where there is no example.

    Raises:
        FtzardError: The base model is not there or cannot be read, or the prompt cannot be put to it.
    """
    if train.is_empty():
        return None
    _, _, tokenizer = describe_base_model(config.model)
    drawn = train.sort("text_hash").head(_MAX_TEXTS)
    counted = _prompts(drawn, labels, config, tokenizer) if labels else _answers(drawn, config, tokenizer)
    (summary,) = length_summaries({"tokens": counted})
    limit = config.model.max_length
    return TokenLengths(config.model.base_model, limit, int((counted > limit).sum()), summary)


def _prompts(drawn: "pl.DataFrame", labels: "Sequence[str]", config: "FtzardConfig", tokenizer: Any) -> IntArray:
    model = config.model
    template = PromptTemplate.from_parts(model.prompt_template, label_words(labels, model), model.max_length)
    # Whether the prompt leaves any room is the training's to say; here everything is counted.
    return encode_prompts(drawn["text"].to_list(), replace(template, max_length=_NO_LIMIT), tokenizer).lengths


def _answers(drawn: "pl.DataFrame", config: "FtzardConfig", tokenizer: Any) -> IntArray:
    """Prompt and answer together; of a pair the longer answer."""
    from ftzard.core.answer_prompts import AnswerEncoder, answer_format, encode_prompts_of

    encoder = AnswerEncoder(answer_format(config), tokenizer)
    lengths = []
    for text, label, prompt in zip(drawn["text"], drawn["label"], encode_prompts_of(drawn, encoder), strict=True):
        answers = read_pair(label) if config.data.task == "preference" else (label,)
        lengths.append(len(prompt) + max(len(encoder.answer(text, answer)) for answer in answers))
    return np.array(lengths, dtype=np.int64)
