"""What a training will compute: its tokens, and in how many micro-batches, before anything of a model is loaded."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ftzard.core.batching import micro_batches
from ftzard.core.data_parallel import Ranks
from ftzard.core.prompts import EncodedPrompts, PromptTemplate, Tokens, encode_prompts
from ftzard.core.training_loop import all_steps

if TYPE_CHECKING:
    import polars as pl

    from ftzard.config import FtzardConfig
    from ftzard.core.records import Splits

# Texts that are tokenized: of more, their lengths are taken for those of all.
SAMPLE = 4096


@dataclass(frozen=True)
class Work:
    """What is to be computed.

    Attributes:
        largest: The micro-batch that keeps most.
        longest: Tokens of the longest text.
        mean_tokens: Of a text that is trained on.
        batches_per_example: How many micro-batches each of the processes computes, for one example in an epoch.
        num_train_tokens: Of all epochs; None where the texts are not known.
        num_validation_tokens: Likewise, without gradients.
        num_train_batches: Likewise, the micro-batches of each process.
        num_validation_batches: Likewise.
        num_scored: Of the largest micro-batch, the tokens of answers; a classifier has none.
        scored_fraction: Likewise, the share of answers in all tokens that are trained on, padding included.
    """

    largest: Sequence[Tokens]
    longest: int
    mean_tokens: float
    batches_per_example: float
    num_train_tokens: int | None = None
    num_validation_tokens: int | None = None
    num_train_batches: float = 0.0
    num_validation_batches: float = 0.0
    num_scored: int = 0
    scored_fraction: float = 0.0


def work_of(splits: "Splits", config: "FtzardConfig", template: PromptTemplate, tokenizer: Any) -> Work:
    """The work of a training whose texts are known; of many texts a sample is looked at."""
    train = _encoded(splits.train, template, tokenizer)
    validation = _encoded(splits.validation, template, tokenizer)
    epochs, lengths = config.training.num_train_epochs, train.lengths
    max_tokens, size = config.training.max_tokens_per_batch, config.launcher.num_processes
    # One epoch shows what batches there are; the shuffling of later ones makes others of the same kind.
    one = replace(config.training, num_train_epochs=1)
    batches = [
        part
        for _, batch in all_steps(lengths, one)
        for rank in range(size)
        for part in micro_batches(Ranks(rank, size).share(batch, lengths), lengths, max_tokens)
    ]
    largest = max(batches, key=lambda part: int(lengths[part].sum()))
    per_example = len(batches) / size / len(lengths)
    num_passes, num_parts = epochs * config.training.num_validations_per_epoch, 0.0
    if len(validation.lengths):
        parts = micro_batches(np.arange(len(validation.lengths)), validation.lengths, max_tokens)
        num_parts = len(parts) / size / len(validation.lengths) * splits.validation.height
    return Work(
        largest=[train.input_ids[index] for index in largest],
        longest=int(lengths.max()),
        mean_tokens=float(lengths.mean()),
        batches_per_example=per_example,
        num_train_tokens=round(lengths.mean() * splits.train.height) * epochs,
        num_validation_tokens=_num_tokens(validation, splits.validation.height) * num_passes,
        num_train_batches=per_example * splits.train.height * epochs,
        num_validation_batches=num_parts * num_passes,
    )


def unknown_work(config: "FtzardConfig") -> Work:
    """The work of a training whose texts are not known: every text is as long as can be."""
    longest = config.model.max_length
    share = -(-config.training.train_batch_size // config.launcher.num_processes)
    rows = min(share, max(1, config.training.max_tokens_per_batch // longest))
    # Each begins with another token: what they had in common would be computed once.
    sequences = [np.full(longest, row, dtype=np.int32) for row in range(rows)]
    return Work(sequences, longest, longest, 1 / rows / config.launcher.num_processes)


def _encoded(frame: "pl.DataFrame", template: PromptTemplate, tokenizer: Any) -> EncodedPrompts:
    """In the order of the hashes, so that the first ones are a sample."""
    return encode_prompts(frame.sort("text_hash")["text"].head(SAMPLE).to_list(), template, tokenizer)


def _num_tokens(prompts: EncodedPrompts, num_texts: int) -> int:
    return round(prompts.lengths.mean() * num_texts) if len(prompts.lengths) else 0
