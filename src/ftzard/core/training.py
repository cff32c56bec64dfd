"""Training of a LoRA adapter on labelled texts.

One loop of our own instead of a general trainer: batches by length under a token budget, no attention mask, no padding
that is more than it has to be, eager attention. `benchmarks/training_throughput.py` measures it beside the general one.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ftzard.core.adapter import write_adapter
from ftzard.core.adapter_documents import AdapterLabels, manifest_fields, read_labels
from ftzard.core.base_failures import check_tokens
from ftzard.core.base_model import BaseModel, borrowed_base_model
from ftzard.core.checkpoints import Checkpoints, kept_checkpoints
from ftzard.core.classifier import Classifier, lora_classifier
from ftzard.core.data_parallel import ALONE, Ranks
from ftzard.core.devices import resolve_device
from ftzard.core.frozen_prefix import with_kept_prefix
from ftzard.core.inference import compute_logits
from ftzard.core.label_head import LabelHead, make_label_head
from ftzard.core.lora_methods import check_ranks, stored_lora
from ftzard.core.objectives import check_objective, objective_of
from ftzard.core.prompts import PromptTemplate, label_words
from ftzard.core.seeding import torch_seeded
from ftzard.core.token_budget import TokenBudget
from ftzard.core.training_checks import check_training_labels, check_validation
from ftzard.core.training_identity import training_identity
from ftzard.core.training_loop import EncodedExamples, ValidationWatch, encode_examples, run_training
from ftzard.core.training_record import TrainingRecord
from ftzard.core.warm_start import read_warm_start

if TYPE_CHECKING:
    from pathlib import Path

    import polars as pl

    from ftzard.config import FtzardConfig
    from ftzard.core.progress import Progress
    from ftzard.core.records import AdapterDirectory, Splits

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingResult:
    """What came out of a training.

    Attributes:
        adapter: The product.
        curve: `CURVE_SCHEMA`, a row for each optimizer step (from 1): weighted loss before the update, real tokens of
            the step, seconds since the start.
        validation: `VALIDATION_SCHEMA`, a row for each validation: unweighted cross entropy, macro-F1, and whether the
            adapter has the weights of that time; no rows where there are no validation examples.
        kept: Which weights the adapter has and why, in words.
        head: What the head started from.
        head_reason: Why it was random although label words were asked for; None otherwise.
        num_trainable_parameters: LoRA matrices and head.
        num_parameters: These and the base.
        num_truncated: Training texts that lost their end; answers, where the adapter writes them.
        device: Where it was computed.
        dtype: In which floating-point type.
        precision: Type and quantization of the base model and why, in words.
        seconds: Wall-clock time of the loop, validation included.
        tokens_per_s: Real training tokens over the time of the loop without validation.
        budget: How many tokens were computed at once, and whether memory ran out.
        resumed_from: The optimizer step of the checkpoint that it went on from; 0 where it began anew. What is told of
            times and tokens covers the whole training either way.
        num_checkpoints: How many were made.
        checkpoint_seconds: Of `seconds`, what they took.
        num_left_out: Training examples whose prompt left no room for an answer; always 0 for a classifier.
    """

    adapter: "AdapterDirectory"
    curve: "pl.DataFrame"
    validation: "pl.DataFrame"
    kept: str
    head: str
    head_reason: str | None
    num_trainable_parameters: int
    num_parameters: int
    num_truncated: int
    device: str
    dtype: str
    precision: str
    seconds: float
    tokens_per_s: float
    budget: TokenBudget
    resumed_from: int
    num_checkpoints: int
    checkpoint_seconds: float
    num_left_out: int = 0


def train_adapter(  # noqa: PLR0913 - what is trained on what, from where, and who is told
    splits: "Splits",
    config: "FtzardConfig",
    labels: Sequence[str],
    output_dir: "Path",
    *,
    on_progress: "Callable[[Progress], None] | None" = None,
    provenance: Mapping[str, str] | None = None,
    initial: "AdapterDirectory | None" = None,
    checkpoint_dir: "Path | None" = None,
    ranks: Ranks = ALONE,
) -> TrainingResult:
    """Train an adapter on `splits.train` and write its directory.

    On one CPU, the same examples, configuration, versions and number of threads make the same bytes, however often the
    training was interrupted and gone on with.

    Args:
        splits: Each `EXAMPLE_SCHEMA`. `validation` may be empty; `test` is not looked at.
        config: Its sections `model` and `training`.
        labels: The label set, in the order of the outputs.
        output_dir: A folder that is empty or does not exist.
        on_progress: Called after each optimizer step.
        provenance: What is to stand in the manifest about the data, such as its commit.
        initial: The adapter whose weights to go on from; None: a fresh one.
        checkpoint_dir: Where trainings keep their checkpoints, each in a folder of its own; None keeps none. What is
            left there at the end is for `ftzard.core.checkpoints.remove_finished`.
        ranks: The processes that train together, of which this one is rank 0; the others call `help_training`.

    Raises:
        SingleClassError: There is only one label to tell apart, or only one occurs in `train`.
        TooFewExamplesError: `train` is empty, or `validation` is and training is to stop early by it.
        UnknownLabelError: An example carries a label that is not in `labels`.
        TrainingDivergedError: The loss or a gradient is not finite; nothing is written.
        AdapterMismatchError: `initial` has another base model, other labels or another LoRA configuration.
        OutOfMemoryError: There is no memory for the base model, or for one example alone.
        FtzardError: As `load_base_model`, `encode_prompts`, `check_lora`, `check_ranks` and
            `write_adapter`.
    """
    import torch

    device = resolve_device(config.training.device)
    with (
        borrowed_base_model(config.model, device) as base,
        fitted_classifier(
            base,
            splits,
            config,
            labels,
            on_progress=on_progress,
            initial=initial,
            checkpoint_dir=checkpoint_dir,
            ranks=ranks,
        ) as fit,
    ):
        # Kept for the trials of a study; what follows a training has other texts.
        base.prefixes.clear()
        compute = {"device": device, "dtype": fit.classifier.compute_dtype}
        budget = fit.record.budget
        # What was chosen here stays chosen wherever the adapter is used or trained again.
        recorded = replace(config, model=replace(config.model, quantization=base.precision.quantization))
        thresholds = _thresholds(fit, config)
        adapter = write_adapter(
            output_dir,
            weights=fit.classifier.adapter_weights(),
            peft_config=fit.classifier.peft_fields(config.model.base_model, config.model.revision),
            tokenizer=base.tokenizer,
            labels=fit.validation.objective.described(
                AdapterLabels(
                    tuple(labels), fit.words, config.model.prompt_template, config.model.max_length, fit.head.kind
                ),
                thresholds,
            ),
            describe=manifest_fields(
                base.identity,
                recorded,
                provenance or {},
                {
                    **compute,
                    "num_threads": str(torch.get_num_threads()),
                    **ranks.as_manifest(),
                    **budget.as_manifest(),
                },
            ),
        )
        return TrainingResult(
            adapter=adapter,
            curve=fit.record.curve(),
            validation=fit.record.validation(),
            kept=fit.record.kept,
            head=fit.head.kind,
            head_reason=fit.head.reason,
            num_trainable_parameters=sum(part.numel() for part in fit.classifier.trainable_parameters()),
            num_parameters=fit.classifier.num_parameters(),
            num_truncated=fit.num_truncated,
            precision=base.precision.reason,
            seconds=fit.record.seconds,
            tokens_per_s=fit.record.tokens_per_s,
            budget=budget,
            resumed_from=fit.checkpoints.resumed_from,
            num_checkpoints=fit.checkpoints.num_saved,
            checkpoint_seconds=fit.checkpoints.saving_s,
            device=device,
            dtype=fit.classifier.compute_dtype,
        )


def help_training(
    splits: "Splits",
    config: "FtzardConfig",
    labels: Sequence[str],
    ranks: Ranks,
    *,
    initial: "AdapterDirectory | None" = None,
) -> None:
    """Train with rank 0, which calls `train_adapter` with the same arguments; nothing is written here.

    Raises:
        FtzardError: As `train_adapter`.
    """
    with (
        borrowed_base_model(config.model, resolve_device(config.training.device)) as base,
        fitted_classifier(base, splits, config, labels, initial=initial, ranks=ranks),
    ):
        pass


@dataclass(frozen=True, eq=False)
class FittedClassifier:
    """A classifier that was trained and is still on its base model.

    Attributes:
        classifier: In eval mode.
        record: What was written down during the training.
        head: What the head started from.
        words: The labels' words, in their order.
        num_truncated: Training texts that lost their end.
        checkpoints: What was kept of it, and gone on from.
        validation: The examples that it was validated on.
    """

    classifier: Classifier
    record: TrainingRecord
    head: LabelHead
    words: tuple[str, ...]
    num_truncated: int
    checkpoints: Checkpoints
    validation: EncodedExamples


@contextmanager
def fitted_classifier(  # noqa: PLR0913 - as `train_adapter`
    base: BaseModel,
    splits: "Splits",
    config: "FtzardConfig",
    labels: Sequence[str],
    *,
    on_progress: "Callable[[Progress], None] | None" = None,
    watch: ValidationWatch | None = None,
    initial: "AdapterDirectory | None" = None,
    checkpoint_dir: "Path | None" = None,
    ranks: Ranks = ALONE,
) -> Iterator[FittedClassifier]:
    """Train an adapter on `splits.train`, from a fresh one or on from `initial`.

    Afterwards the base is as it was, and nothing is written.

    Raises:
        FtzardError: As `train_adapter`.
    """
    check_training_labels(splits.train, labels, config.data.task)
    check_validation(splits.validation, config)
    # An adapter to go on from has no start of its own any more: what it is stored as is trained.
    lora = stored_lora(config.training.lora) if initial else config.training.lora
    if initial:
        check_objective(read_labels(initial.path), config)
    start = read_warm_start(initial, base.identity, lora, labels) if initial else None
    words = label_words(labels, config.model)
    template = PromptTemplate.from_parts(config.model.prompt_template, words, config.model.max_length)
    # Loading may draw random numbers and does not happen each time: the seed is set after it.
    with torch_seeded(config.training.seed, base.device):
        train, validation = (
            encode_examples(part, labels, template, base.tokenizer, objective_of(config))
            for part in (splits.train, splits.validation)
        )
        texts = [*train.prompts.input_ids, *validation.prompts.input_ids]
        check_tokens(base, texts)
        _logger.info("%d training examples, %d of them cut to max_length", len(train), train.prompts.num_truncated)
        head = make_label_head(base, labels, words, config.model.head)
        with lora_classifier(base, head, lora) as classifier:
            if start is not None:
                start.put_into(classifier)
                head = replace(head, kind=start.head or head.kind, reason=None)
            else:
                check_ranks(classifier.peft_model, lora)
            faster = with_kept_prefix(base, classifier, texts, config.training)
            data = {
                "labels": labels,
                "training examples": train.checksum,
                "validation examples": validation.checksum,
                "frozen layers that are kept": faster.prefix.num_layers if faster.prefix else 0,
            }
            identity = training_identity(base, classifier.compute_dtype, config, data, initial)
            identity |= ranks.as_manifest()
            interval_s = config.training.checkpoint_interval_s
            with kept_checkpoints(checkpoint_dir, identity, interval_s) as checkpoints:
                record = run_training(
                    faster, train, validation, config.training, on_progress, watch, checkpoints, ranks=ranks
                )
            truncated = train.prompts.num_truncated
            yield FittedClassifier(classifier, record, head, words, truncated, checkpoints, validation)


def _thresholds(fit: FittedClassifier, config: "FtzardConfig") -> tuple[float, ...]:
    """What tuning makes of them on the validation split; none where it is not asked for."""
    if config.training.label_thresholds == "half":
        return ()
    logits = compute_logits(fit.classifier, fit.validation.prompts, fit.record.budget.max_tokens)
    found = fit.validation.objective.thresholds(logits, fit.validation.targets)
    _logger.info("thresholds by F1 on validation: %s", dict(zip(fit.validation.labels, found, strict=True)))
    return found
