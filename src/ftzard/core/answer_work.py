"""What a training of TRL's will compute: its passes, padding included, before anything of a model is loaded."""

from typing import TYPE_CHECKING, Any

import numpy as np

from ftzard.core.answer_prompts import AnswerEncoder, answer_format
from ftzard.core.batching import Indices
from ftzard.core.encoded_answers import EncodedAnswers, check_some_fit, encode_answers
from ftzard.core.training_work import SAMPLE, Work
from ftzard.core.trl_trainer import batch_size

if TYPE_CHECKING:
    import polars as pl

    from ftzard.config import FtzardConfig
    from ftzard.core.records import Splits

# A pair of answers is two rows of a pass.
_ROWS_OF_A_PAIR = 2


def answer_work_of(splits: "Splits", config: "FtzardConfig", tokenizer: Any) -> Work:
    """The work of a training whose texts are known; of many texts a sample is looked at.

    Raises:
        TooFewExamplesError: No prompt leaves room for an answer.
        ConfigError: As `AnswerEncoder`.
    """
    encoder = AnswerEncoder(answer_format(config), tokenizer)
    everything, max_length = _encoded(splits.train, encoder), config.model.max_length
    # What is left out is told by the training, of all examples.
    check_some_fit(everything, max_length)
    train, validation = everything.cut(max_length), _encoded(splits.validation, encoder).cut(max_length)
    rows, epochs = _rows(train, config), config.training.num_train_epochs
    per_example = len(rows) / len(train)
    size = _rows_of_a_pass(int(rows.max()), config)
    passes = _passes(rows, size, config.training.seed)
    sides = _sides(config)
    num_padded = float(sum(len(part) * part.max() for part in passes)) * sides / len(train)
    answers = sum(np.array([len(answer) for answer in side], dtype=np.int64) for side in _answers(train))
    # Before DPO begins, the validation split is scored once more.
    num_validations = epochs + (config.data.task == "preference")
    num_validated = _mean_tokens(validation) * splits.validation.height
    num_parts = num_validated / config.training.max_tokens_per_batch
    return Work(
        largest=_pass(size * sides, int(rows.max())),
        longest=int(rows.max()),
        mean_tokens=num_padded,
        batches_per_example=len(passes) / len(rows) * per_example,
        num_train_tokens=round(num_padded * splits.train.height) * epochs,
        num_validation_tokens=round(num_validated) * num_validations,
        num_train_batches=len(passes) / len(rows) * per_example * splits.train.height * epochs,
        num_validation_batches=num_parts * num_validations,
        # Of packed rows it is not known how many answers meet in one.
        num_scored=size * int(rows.max()) if config.training.packing else int(np.sort(answers)[-size:].sum()),
        scored_fraction=float(np.mean(answers)) / num_padded,
    )


def unknown_answer_work(config: "FtzardConfig") -> Work:
    """The work of a training whose texts are not known: every row is as long as can be."""
    longest, sides = config.model.max_length, _sides(config)
    size = _rows_of_a_pass(longest, config)
    largest = _pass(size * sides, longest)
    return Work(largest, longest, longest * sides, 1 / size, num_scored=len(largest) * longest, scored_fraction=1.0)


def _sides(config: "FtzardConfig") -> int:
    return _ROWS_OF_A_PAIR if config.data.task == "preference" else 1


def _rows_of_a_pass(longest: int, config: "FtzardConfig") -> int:
    training = config.training
    return batch_size(training.train_batch_size, longest * _sides(config), training.max_tokens_per_batch)


def _encoded(frame: "pl.DataFrame", encoder: AnswerEncoder) -> EncodedAnswers:
    """In the order of the hashes, so that the first ones are a sample."""
    return encode_answers(frame.sort("text_hash").head(SAMPLE), encoder)


def _rows(examples: EncodedAnswers, config: "FtzardConfig") -> Indices:
    """Tokens of each row; packed, they are all but full."""
    lengths = np.array(examples.lengths, dtype=np.int64)
    if not config.training.packing:
        return lengths
    num_full, rest = divmod(int(lengths.sum()), config.model.max_length)
    return np.array([*[config.model.max_length] * num_full, *([rest] if rest else [])], dtype=np.int64)


def _passes(lengths: Indices, size: int, seed: int) -> list[Indices]:
    """One epoch in an order like that of the trainer; rows of a pass are padded to its longest."""
    order = np.random.default_rng(seed).permutation(len(lengths))
    return [lengths[order[start : start + size]] for start in range(0, len(order), size)]


def _answers(examples: EncodedAnswers) -> list[list[list[int]]]:
    """The answers, and the rejected ones where there are some."""
    return [examples.answers, *([examples.rejected] if examples.rejected is not None else [])]


def _mean_tokens(examples: EncodedAnswers) -> float:
    """Tokens that are computed where an example is scored, for each of its answers; 0 where there is none."""
    sides = _answers(examples)
    num_tokens = len(sides) * sum(map(len, examples.prompts)) + sum(len(answer) for side in sides for answer in side)
    return num_tokens / max(1, len(examples))


def _pass(num_rows: int, length: int) -> list[Any]:
    return [np.zeros(length, dtype=np.int32)] * num_rows
