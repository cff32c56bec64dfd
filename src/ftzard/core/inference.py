"""Predictions of an adapter for examples."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ftzard.core.adapter import WEIGHTS_NAME, check_compatible, verify_reference
from ftzard.core.adapter_documents import AdapterLabels, read_labels, read_lora_config, read_manifest
from ftzard.core.base_failures import check_tokens
from ftzard.core.base_model import BaseModel, borrowed_base_model
from ftzard.core.base_source import find_base_model
from ftzard.core.batching import Indices
from ftzard.core.classifier import Classifier, lora_classifier
from ftzard.core.devices import resolve_device
from ftzard.core.label_head import LabelHead
from ftzard.core.objectives import check_objective, objective_of
from ftzard.core.progress import Progress, ProgressReporter
from ftzard.core.prompts import EncodedPrompts, PromptTemplate, Tokens, encode_prompts
from ftzard.core.seeding import torch_seeded
from ftzard.core.token_budget import TokenBudget

if TYPE_CHECKING:
    import polars as pl
    import torch

    from ftzard.config import FtzardConfig
    from ftzard.core.records import AdapterDirectory

_logger = logging.getLogger(__name__)


def predict(
    adapter: "AdapterDirectory",
    examples: "pl.DataFrame",
    config: "FtzardConfig",
    *,
    on_progress: Callable[[Progress], None] | None = None,
) -> "pl.DataFrame":
    """Classify examples with an adapter.

    The prompt and the labels are the adapter's own; the configuration says which base model is at hand, the device and
    the token budget.

    Args:
        adapter: Verified here before anything of it is used.
        examples: `EXAMPLE_SCHEMA`, in any order.
        config: Its base model must be the adapter's, its labels (if any are configured) too.
        on_progress: Called after each batch, in examples.

    Returns:
        `predictions_frame`, in the order of `examples`.

    Raises:
        AdapterCorruptError: The directory is not what its manifest or the reference says.
        AdapterMismatchError: The adapter was made for another base model or other labels.
        FtzardError: As `load_base_model`.
    """
    with loaded_adapter(adapter, examples["text"].to_list(), config) as loaded:
        max_tokens = config.training.max_tokens_per_batch
        logits = compute_logits(loaded.classifier, loaded.prompts, max_tokens, on_progress=on_progress)
    answer = objective_of(config).frame
    return answer(examples["text_hash"].to_list(), examples["label"].to_list(), logits, loaded.labels)


def compute_logits(
    classifier: Classifier,
    prompts: EncodedPrompts,
    max_tokens: int,
    *,
    on_progress: Callable[[Progress], None] | None = None,
) -> npt.NDArray[np.float32]:
    """Logits of encoded prompts in their order, shape (n, k); computed longest first, without gradients.

    Args:
        classifier: In eval mode.
        prompts: The n prompts.
        max_tokens: Tokens in one forward pass, padding included.
        on_progress: Called after each batch, in examples.
    """
    return compute_rows(classifier.logits, classifier.num_labels, prompts, max_tokens, on_progress=on_progress)


def compute_rows(
    compute: "Callable[[Sequence[Tokens]], torch.Tensor]",
    width: int,
    prompts: EncodedPrompts,
    max_tokens: int,
    *,
    on_progress: Callable[[Progress], None] | None = None,
) -> npt.NDArray[np.float32]:
    """What a model says of encoded prompts, in their order; computed longest first, without gradients.

    Prompts that occur several times are computed once. Where memory runs out, the rest is computed with half of the
    tokens at once.

    Args:
        compute: Maps n sequences of token ids to shape (n, m), float32.
        width: m.
        prompts: The n prompts.
        max_tokens: Tokens in one forward pass, padding included.
        on_progress: Called after each batch, in examples.

    Returns:
        Shape (n, m).

    Raises:
        OutOfMemoryError: There is no memory for one prompt alone.
    """
    import torch

    distinct, place = _distinct(prompts.input_ids)
    lengths = np.array([len(ids) for ids in distinct], dtype=np.int64)
    num_prompts = np.bincount(place, minlength=len(distinct))
    rows = np.empty((len(distinct), width), dtype=np.float32)

    def fill(part: Indices) -> None:
        rows[part] = compute([distinct[index] for index in part]).cpu().numpy()

    done = num_tokens = 0
    with ProgressReporter("examples", len(place), _logger) as reporter, torch.inference_mode():
        for batch in TokenBudget(max_tokens, "batch").in_batches(fill, lengths):
            done, num_tokens = done + int(num_prompts[batch].sum()), num_tokens + int(lengths[batch].sum())
            progress = reporter.update(done, num_tokens)
            if on_progress is not None:
                on_progress(progress)
    return rows[place]


def _distinct(sequences: Sequence[Tokens]) -> tuple[list[Tokens], npt.NDArray[np.int64]]:
    """The sequences that differ, in the order of their first occurrence, and where in them each one is."""
    first: dict[bytes, int] = {}
    place = np.array([first.setdefault(ids.tobytes(), len(first)) for ids in sequences], dtype=np.int64)
    return [sequences[index] for index in np.unique(place, return_index=True)[1]], place


@dataclass(frozen=True, eq=False)
class LoadedAdapter:
    """An adapter on its base model, and texts put to it.

    Attributes:
        classifier: In eval mode.
        prompts: Of the texts, in their order.
        labels: What the adapter says of its labels.
    """

    classifier: Classifier
    prompts: EncodedPrompts
    labels: AdapterLabels


@contextmanager
def loaded_adapter(
    adapter: "AdapterDirectory", texts: Sequence[str], config: "FtzardConfig"
) -> Iterator[LoadedAdapter]:
    """Verify an adapter and put it on its base model; afterwards the base is as it was.

    Raises:
        FtzardError: As `predict`.
    """
    labels = _check_adapter(adapter, config)
    device = resolve_device(config.training.device)
    with borrowed_base_model(config.model, device) as base:
        template = PromptTemplate.from_parts(labels.prompt_template, labels.label_words, labels.max_length)
        prompts = encode_prompts(texts, template, base.tokenizer)
        check_tokens(base, prompts.input_ids)
        _logger.info("%d examples, %d of them cut to max_length", len(texts), prompts.num_truncated)
        with trained_classifier(adapter, labels, base) as classifier:
            yield LoadedAdapter(classifier, prompts, labels)


@contextmanager
def trained_classifier(adapter: "AdapterDirectory", labels: AdapterLabels, base: BaseModel) -> Iterator[Classifier]:
    """A verified adapter on a base model, in eval mode; afterwards the base is as it was.

    Raises:
        AdapterMismatchError: The adapter's tensors do not fit the base model.
    """
    import torch
    from safetensors.torch import load_file

    lora = read_lora_config(adapter.path)
    weights = load_file(adapter.path / WEIGHTS_NAME)
    # The first weights are overwritten at once; the seed only keeps the caller's random state out of it.
    head = LabelHead(
        torch.zeros(len(labels.labels), base.model.config.get_text_config().hidden_size), labels.head, None
    )
    with torch_seeded(0, base.device), lora_classifier(base, head, lora) as classifier:
        classifier.load_adapter_weights(weights)
        classifier.peft_model.eval()
        yield classifier


def _check_adapter(adapter: "AdapterDirectory", config: "FtzardConfig") -> AdapterLabels:
    verify_reference(adapter)
    labels = read_labels(adapter.path)
    check_objective(labels, config)
    check_compatible(
        read_manifest(adapter.path), find_base_model(config.model).identity, labels.labels, config.data.labels
    )
    return labels
