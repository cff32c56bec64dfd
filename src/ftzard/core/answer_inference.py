"""What an adapter that writes answers makes of examples, beside the same model without it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from ftzard.core.adapter import WEIGHTS_NAME, check_compatible, verify_reference
from ftzard.core.adapter_documents import read_lora_config, read_manifest
from ftzard.core.answer_format import AnswerFormat, read_answer_format
from ftzard.core.answer_predictions import GIVEN, UNTRAINED, answer_schema, as_lists, check_answers, incoming_schema
from ftzard.core.answer_prompts import AnswerEncoder, encode_prompts_of
from ftzard.core.answering import greedy_answers, log_probabilities
from ftzard.core.base_failures import check_tokens
from ftzard.core.base_model import borrowed_base_model
from ftzard.core.base_source import find_base_model
from ftzard.core.devices import resolve_device
from ftzard.core.encoded_answers import EncodedAnswers, check_window, encode_answers, within_window
from ftzard.core.language_model import lora_language_model
from ftzard.core.progress import Progress
from ftzard.core.seeding import all_seeded
from ftzard.core.trainer_watch import memory_failures_told
from ftzard.errors import AdapterMismatchError

if TYPE_CHECKING:
    from ftzard.config import FtzardConfig
    from ftzard.core.records import AdapterDirectory


@dataclass(frozen=True, eq=False)
class _Questions:
    """What is asked.

    Attributes:
        examples: With answers that are given; without (no `answers`), the prompts alone.
        stop_tokens: What ends an answer.
        how: The adapter's format.
        max_tokens: Tokens computed at once.
        on_progress: Called after each batch.
    """

    examples: EncodedAnswers
    stop_tokens: set[int]
    how: AnswerFormat
    max_tokens: int
    on_progress: Callable[[Progress], None] | None

    def asked_of(self, model: Any, tokenizer: Any) -> dict[str, pl.Series]:
        """The columns that a model fills."""
        prompts = self.examples.prompts
        written = greedy_answers(
            model,
            tokenizer,
            prompts,
            self.stop_tokens,
            max_new_tokens=self.how.max_new_tokens,
            max_tokens=self.max_tokens,
            on_progress=self.on_progress,
        )
        # Scored by one forward pass, as the given answers are, and not from the steps in which they were written.
        own = log_probabilities(model, prompts, [one.token_ids for one in written], max_tokens=self.max_tokens)
        columns = {
            "prediction": pl.Series([one.text for one in written], dtype=pl.String),
            "token_log_probabilities": as_lists(own),
        }
        if not self.examples.answers:
            return columns
        answers = (self.examples.answers, self.examples.rejected)
        for name, given in zip(GIVEN[self.how.task], answers, strict=False):
            scored = log_probabilities(model, prompts, given or [], max_tokens=self.max_tokens)
            columns[name] = as_lists(scored)
        return columns


def predict_answers(
    adapter: "AdapterDirectory",
    examples: pl.DataFrame,
    config: "FtzardConfig",
    *,
    untrained: bool = True,
    leave_out: bool = False,
    on_progress: Callable[[Progress], None] | None = None,
) -> pl.DataFrame:
    """Have an adapter answer prompts, and say how likely it finds the answers that are known.

    Args:
        adapter: Verified here before anything of it is used.
        examples: `EXAMPLE_SCHEMA`, in any order; labels all null where answers are not known.
        config: Its base model and its task must be the adapter's.
        untrained: Whether the model without the adapter is asked too, in the same way.
        leave_out: Whether prompts that leave no room for an answer in the model's context window are left out, rather
            than refused. Where all are such, they are refused.
        on_progress: Called after each batch, in prompts.

    Returns:
        `answer_schema`, in the order of `examples`; `incoming_schema` where answers are not known.

    Raises:
        AdapterCorruptError: The directory is not what its manifest or the reference says.
        AdapterMismatchError: The adapter was made for another base model or another task.
        ConfigError: A prompt leaves no room for an answer in the model's context window.
        OutOfMemoryError: No memory was to be had.
        FtzardError: As `load_base_model` and `AnswerEncoder`.
    """
    from safetensors.torch import load_file

    how, device = _checked(adapter, config), resolve_device(config.training.device)
    is_known = examples["label"].null_count() < examples.height
    with borrowed_base_model(config.model, device) as base:
        encoder = AnswerEncoder(how, base.tokenizer)
        encoded = (
            encode_answers(examples, encoder)
            if is_known
            else EncodedAnswers(encode_prompts_of(examples, encoder), [], None)
        )
        if leave_out:
            keep = within_window(encoded, how, base.model)
            examples, encoded = examples[keep], encoded.picked(keep)
        check_window(examples, encoded, how, base.model)
        check_tokens(base, encoded.sequences)
        questions = _Questions(
            encoded,
            encoder.stop_tokens(examples["text"].to_list()),
            how,
            config.training.max_tokens_per_batch,
            on_progress,
        )
        with memory_failures_told("the model without the adapter answered"):
            beside = questions.asked_of(base.model, base.tokenizer) if untrained and is_known else {}
        # The first weights are overwritten at once; the seed only keeps the caller's random state out of it.
        with (
            all_seeded(0, device),
            lora_language_model(base, read_lora_config(adapter.path)) as model,
        ):
            model.load_adapter_weights(load_file(adapter.path / WEIGHTS_NAME))
            model.peft_model.eval()
            with memory_failures_told("the adapter answered"):
                columns = questions.asked_of(model.peft_model, base.tokenizer)
    frame = examples.select("text_hash", "label").with_columns(
        **columns, **{f"{UNTRAINED}{name}": values for name, values in beside.items()}
    )
    if not is_known:
        return frame.select(incoming_schema().names())
    frame = frame.select(answer_schema(how.task, untrained=untrained).names())
    check_answers(frame)
    return frame


def _checked(adapter: "AdapterDirectory", config: "FtzardConfig") -> AnswerFormat:
    verify_reference(adapter)
    how = read_answer_format(adapter.path)
    is_messages = config.data.messages_column is not None
    if (how.task, how.messages) != (config.data.task, is_messages):
        raise AdapterMismatchError(
            f"the adapter was trained for data.task={how.task} {'with' if how.messages else 'without'} messages, and "
            f"data.task={config.data.task} {'with' if is_messages else 'without'} data.messages_column is configured",
            fix="configure what the adapter was trained for, or train an adapter for this task",
        )
    check_compatible(read_manifest(adapter.path), find_base_model(config.model).identity, (), ())
    return how
