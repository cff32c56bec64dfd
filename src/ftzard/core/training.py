"""Training of a LoRA adapter on labelled texts.

One loop of our own instead of a general trainer: batches by length under a token budget, no attention mask, no padding
that is more than it has to be, eager attention. `benchmarks/training_throughput.py` measures it beside the general one.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ftzard.core.adapter import AdapterLabels, manifest_fields, write_adapter
from ftzard.core.base_model import borrowed_base_model
from ftzard.core.classifier import lora_classifier
from ftzard.core.devices import resolve_device
from ftzard.core.label_head import make_label_head
from ftzard.core.prompts import PromptTemplate, label_words
from ftzard.core.seeding import torch_seeded
from ftzard.core.training_loop import encode_examples, run_training
from ftzard.errors import SingleClassError, TooFewExamplesError

if TYPE_CHECKING:
    from pathlib import Path

    import polars as pl

    from ftzard.config import FtzardConfig
    from ftzard.core.progress import Progress
    from ftzard.core.records import AdapterDirectory, Splits

_logger = logging.getLogger(__name__)

_MIN_LABELS = 2


@dataclass(frozen=True)
class TrainingResult:
    """What came out of a training.

    Attributes:
        adapter: The product.
        curve: `CURVE_SCHEMA`, a row for each optimizer step (from 1): weighted loss before the update, real tokens of
            the step, seconds since the start.
        validation: `VALIDATION_SCHEMA`, a row for each epoch (from 1): unweighted cross entropy and macro-F1; no rows
            where there are no validation examples.
        head: What the head started from.
        head_reason: Why it was random although label words were asked for; None otherwise.
        num_trainable_parameters: LoRA matrices and head.
        num_parameters: These and the base.
        num_truncated: Training texts that lost their end.
        device: Where it was computed.
        dtype: In which floating-point type.
        seconds: Wall-clock time of the loop, validation included.
        tokens_per_s: Real training tokens over the time of the loop without validation.
    """

    adapter: "AdapterDirectory"
    curve: "pl.DataFrame"
    validation: "pl.DataFrame"
    head: str
    head_reason: str | None
    num_trainable_parameters: int
    num_parameters: int
    num_truncated: int
    device: str
    dtype: str
    seconds: float
    tokens_per_s: float


def train_adapter(
    splits: "Splits",
    config: "FtzardConfig",
    labels: Sequence[str],
    output_dir: "Path",
    *,
    on_progress: "Callable[[Progress], None] | None" = None,
    provenance: Mapping[str, str] | None = None,
) -> TrainingResult:
    """Train an adapter on `splits.train` and write its directory.

    On one CPU, the same examples, configuration, versions and number of threads make the same bytes.

    Args:
        splits: Each `EXAMPLE_SCHEMA`. `validation` may be empty; `test` is not looked at.
        config: Its sections `model` and `training`.
        labels: The label set, in the order of the outputs.
        output_dir: A folder that is empty or does not exist.
        on_progress: Called after each optimizer step.
        provenance: What is to stand in the manifest about the data, such as its commit.

    Raises:
        SingleClassError: There is only one label to tell apart, or only one occurs in `train`.
        TooFewExamplesError: `train` is empty.
        UnknownLabelError: An example carries a label that is not in `labels`.
        TrainingDivergedError: The loss or a gradient is not finite; nothing is written.
        FtzardError: As `load_base_model`, `encode_prompts`, `check_target_modules` and `write_adapter`.
    """
    _check_training_labels(splits.train, labels)
    device = resolve_device(config.training.device)
    words = label_words(labels, config.model)
    template = PromptTemplate.from_parts(config.model.prompt_template, words, config.model.max_length)
    # Loading may draw random numbers and does not happen each time: the seed is set after it.
    with borrowed_base_model(config.model, device) as base, torch_seeded(config.training.seed, device):
        train = encode_examples(splits.train, labels, template, base.tokenizer)
        validation = encode_examples(splits.validation, labels, template, base.tokenizer)
        _logger.info("%d training examples, %d of them cut to max_length", len(train), train.prompts.num_truncated)
        head = make_label_head(base, labels, words, config.model.head)
        with lora_classifier(base, head, config.training.lora) as classifier:
            record = run_training(classifier, train, validation, config.training, on_progress)
            compute = {"device": device, "dtype": classifier.compute_dtype}
            adapter = write_adapter(
                output_dir,
                weights=classifier.adapter_weights(),
                peft_config=classifier.peft_fields(config.model.base_model, config.model.revision),
                tokenizer=base.tokenizer,
                labels=AdapterLabels(
                    tuple(labels), words, config.model.prompt_template, config.model.max_length, head.kind
                ),
                describe=manifest_fields(base.identity, config, provenance or {}, compute),
            )
            return TrainingResult(
                adapter=adapter,
                curve=record.curve(),
                validation=record.validation(),
                head=head.kind,
                head_reason=head.reason,
                num_trainable_parameters=sum(part.numel() for part in classifier.trainable_parameters()),
                num_parameters=classifier.num_parameters(),
                num_truncated=train.prompts.num_truncated,
                seconds=record.seconds,
                tokens_per_s=record.tokens_per_s,
                **compute,
            )


def _check_training_labels(train: "pl.DataFrame", labels: Sequence[str]) -> None:
    if train.is_empty():
        raise TooFewExamplesError(
            "there are no training examples", fix="add labelled data, or raise data.train_fraction"
        )
    occurring = train["label"].unique().drop_nulls().sort().to_list()
    if len(labels) < _MIN_LABELS or len(occurring) < _MIN_LABELS:
        raise SingleClassError(
            f"the training examples carry the label(s) {occurring} of {list(labels)}; with fewer than two there is "
            "nothing to learn",
            fix="add examples of another label",
        )
