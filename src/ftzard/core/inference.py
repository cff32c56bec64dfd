"""Predictions of an adapter for examples."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ftzard.core.adapter import (
    WEIGHTS_NAME,
    AdapterLabels,
    check_compatible,
    read_labels,
    read_lora_config,
    read_manifest,
    verify_adapter,
)
from ftzard.core.base_model import BaseModel, borrowed_base_model
from ftzard.core.base_source import find_base_model
from ftzard.core.batching import micro_batches, pad_right
from ftzard.core.classifier import Classifier, lora_classifier
from ftzard.core.devices import resolve_device
from ftzard.core.label_head import LabelHead
from ftzard.core.predictions import predictions_frame
from ftzard.core.progress import Progress, ProgressReporter
from ftzard.core.prompts import EncodedPrompts, PromptTemplate, encode_prompts
from ftzard.core.seeding import torch_seeded
from ftzard.errors import AdapterCorruptError

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
    return predictions_frame(examples["text_hash"].to_list(), examples["label"].to_list(), logits, loaded.labels)


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
    return compute_rows(
        classifier.logits, classifier.num_labels, classifier.device, prompts, max_tokens, on_progress=on_progress
    )


def compute_rows(
    compute: "Callable[[torch.Tensor, torch.Tensor], torch.Tensor]",
    width: int,
    device: str,
    prompts: EncodedPrompts,
    max_tokens: int,
    *,
    on_progress: Callable[[Progress], None] | None = None,
) -> npt.NDArray[np.float32]:
    """What a model says of encoded prompts, in their order; computed longest first, without gradients.

    Args:
        compute: Maps right-padded token ids of shape (n, length) and the places of the last tokens, shape (n,), to
            shape (n, m), float32.
        width: m.
        device: Where it computes.
        prompts: The n prompts.
        max_tokens: Tokens in one forward pass, padding included.
        on_progress: Called after each batch, in examples.

    Returns:
        Shape (n, m).
    """
    import torch

    lengths = prompts.lengths
    parts: list[npt.NDArray[np.float32]] = []
    batches = micro_batches(np.arange(len(lengths)), lengths, max_tokens)
    done = num_tokens = 0
    with ProgressReporter("examples", len(lengths), _logger) as reporter, torch.inference_mode():
        for batch in batches:
            padded = pad_right([prompts.input_ids[index] for index in batch])
            ids, last = (torch.from_numpy(part).to(device) for part in (padded.input_ids, padded.last_token))
            parts.append(compute(ids, last).cpu().numpy())
            done, num_tokens = done + len(batch), num_tokens + int(lengths[batch].sum())
            progress = reporter.update(done, num_tokens)
            if on_progress is not None:
                on_progress(progress)
    rows = np.empty((len(lengths), width), dtype=np.float32)
    for batch, part in zip(batches, parts, strict=True):
        rows[batch] = part
    return rows


@dataclass(frozen=True, eq=False)
class LoadedAdapter:
    """An adapter on its base model, and texts put to it.

    Attributes:
        classifier: In eval mode.
        prompts: Of the texts, in their order.
        labels: In the order of the classifier's outputs.
    """

    classifier: Classifier
    prompts: EncodedPrompts
    labels: tuple[str, ...]


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
        _logger.info("%d examples, %d of them cut to max_length", len(texts), prompts.num_truncated)
        with trained_classifier(adapter, labels, base) as classifier:
            yield LoadedAdapter(classifier, prompts, tuple(labels.labels))


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
    verified = verify_adapter(adapter.path)
    if verified.checksum != adapter.checksum:
        raise AdapterCorruptError(
            f"the adapter {adapter.path} has the checksum {verified.checksum}, and {adapter.checksum} was expected",
            fix="restore the version that is meant (for example with `dvc checkout`)",
        )
    labels = read_labels(adapter.path)
    check_compatible(
        read_manifest(adapter.path), find_base_model(config.model).identity, labels.labels, config.data.labels
    )
    return labels
