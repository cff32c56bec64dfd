"""Training of a LoRA adapter that writes answers.

On prompts and completions it is TRL's SFTTrainer that trains, on pairs of answers its DPOTrainer.

The tokens are ours, so that what is trained on is what is asked later; the loop, the packing and the losses are TRL's.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ftzard.core.adapter import write_adapter
from ftzard.core.adapter_documents import manifest_fields
from ftzard.core.answer_format import AnswerFormat
from ftzard.core.answer_prompts import AnswerEncoder, answer_format
from ftzard.core.answering import log_probabilities
from ftzard.core.base_failures import check_tokens
from ftzard.core.base_model import BaseModel, borrowed_base_model
from ftzard.core.checkpoints import Checkpoints, kept_checkpoints
from ftzard.core.devices import resolve_device
from ftzard.core.encoded_answers import EncodedAnswers, check_watched, check_window, encode_answers, that_fit
from ftzard.core.language_model import lora_language_model
from ftzard.core.lora_methods import check_ranks
from ftzard.core.seeding import all_seeded
from ftzard.core.trainer_memory import configured_budget
from ftzard.core.trainer_watch import TrainerRecord
from ftzard.core.training import TrainingResult
from ftzard.core.training_identity import training_identity
from ftzard.core.training_loop import ValidationWatch
from ftzard.core.trl_trainer import run_trainer
from ftzard.core.warm_start import read_answering_start

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ftzard.config import FtzardConfig
    from ftzard.core.peft_adapter import AdaptedModel
    from ftzard.core.progress import Progress
    from ftzard.core.records import AdapterDirectory, Splits
    from ftzard.core.token_budget import TokenBudget

_logger = logging.getLogger(__name__)

_NOT_A_HEAD = "language model"


def train_answers(
    splits: "Splits",
    config: "FtzardConfig",
    output_dir: "Path",
    *,
    on_progress: "Callable[[Progress], None] | None" = None,
    provenance: Mapping[str, str] | None = None,
    initial: "AdapterDirectory | None" = None,
    checkpoint_dir: "Path | None" = None,
) -> TrainingResult:
    """Train an adapter on `splits.train` and write its directory.

    The loss is that of the answers alone, never of the prompts. An answer that goes beyond `model.max_length` loses its
    end; an example whose prompt alone fills it is left out.

    Args:
        splits: Each `EXAMPLE_SCHEMA`. `validation` may be empty; of `test` only the lengths count.
        config: Its sections `model` and `training`, and the task.
        output_dir: A folder that is empty or does not exist.
        on_progress: Called after each optimizer step.
        provenance: What is to stand in the manifest about the data, such as its commit.
        initial: The adapter whose weights to go on from; None: a fresh one. For preference it is also what the adapter
            must not depart from too far; else the base model is.
        checkpoint_dir: As for `train_adapter`.

    Raises:
        TooFewExamplesError: There is nothing to train on, or no prompt leaves room for an answer.
        ConfigError: A test prompt leaves no room for an answer in the model's context window.
        TrainingDivergedError: The loss or a gradient is not finite; nothing is written.
        OutOfMemoryError: There is no memory for the base model, or for one example alone.
        AdapterMismatchError: `initial` does not fit what is configured.
        FtzardError: As `load_base_model`, `AnswerEncoder`, `check_lora` and `write_adapter`.
    """
    import torch

    device = resolve_device(config.training.device)
    with (
        borrowed_base_model(config.model, device) as base,
        fitted_answers(
            base, splits, config, on_progress=on_progress, initial=initial, checkpoint_dir=checkpoint_dir
        ) as fit,
    ):
        dtype, budget = _dtype(base), fit.record.budget
        compute = {"device": device, "dtype": dtype, **budget.as_manifest()}
        # As for a classifier: what was chosen here stays chosen.
        recorded = replace(config, model=replace(config.model, quantization=base.precision.quantization))
        described = manifest_fields(
            base.identity, recorded, provenance or {}, {**compute, "num_threads": str(torch.get_num_threads())}
        )
        adapter = write_adapter(
            output_dir,
            weights=fit.model.adapter_weights(),
            peft_config=fit.model.peft_fields(config.model.base_model, config.model.revision),
            tokenizer=base.tokenizer,
            labels=fit.answers,
            describe=described | {"versions": described["versions"] | trainer_versions()},
        )
        return TrainingResult(
            adapter=adapter,
            curve=fit.record.curve(),
            validation=fit.record.validation(),
            head=_NOT_A_HEAD,
            head_reason=None,
            num_trainable_parameters=fit.num_trainable_parameters,
            num_parameters=fit.num_parameters,
            num_truncated=fit.num_truncated,
            kept=f"last weights (step {fit.record.num_steps})",
            precision=base.precision.reason,
            num_left_out=fit.num_left_out,
            seconds=fit.record.seconds,
            tokens_per_s=fit.record.tokens_per_s,
            device=device,
            dtype=dtype,
            budget=budget,
            resumed_from=fit.checkpoints.resumed_from,
            num_checkpoints=fit.checkpoints.num_saved,
            checkpoint_seconds=fit.checkpoints.saving_s,
        )


@dataclass(frozen=True, eq=False)
class FittedAnswers:
    """A language model that was trained to answer and is still on its base model.

    Attributes:
        model: In eval mode.
        answers: How it is asked and answers.
        record: What was written down during the training.
        checkpoints: What was kept of it, and gone on from.
        num_trainable_parameters: LoRA matrices.
        num_parameters: These and the base.
        num_truncated: Training examples whose answer lost its end.
        num_left_out: Those whose prompt left no room for one.
    """

    model: "AdaptedModel"
    answers: AnswerFormat
    record: TrainerRecord
    checkpoints: Checkpoints
    num_trainable_parameters: int
    num_parameters: int
    num_truncated: int
    num_left_out: int


@contextmanager
def fitted_answers(
    base: BaseModel,
    splits: "Splits",
    config: "FtzardConfig",
    *,
    on_progress: "Callable[[Progress], None] | None" = None,
    watch: ValidationWatch | None = None,
    initial: "AdapterDirectory | None" = None,
    checkpoint_dir: "Path | None" = None,
) -> "Iterator[FittedAnswers]":
    """Train an adapter on `splits.train`, from a fresh one or on from `initial`.

    Afterwards the base is as it was, and nothing is written.

    Raises:
        FtzardError: As `train_answers`.
    """
    answers, device = answer_format(config), base.device
    encoder = AnswerEncoder(answers, base.tokenizer)
    # Before and not after a training, which a test row that cannot be asked would make worthless.
    test = encode_answers(splits.test, encoder)
    check_window(splits.test, test, answers, base.model)
    everything = encode_answers(splits.train, encoder)
    watched = encode_answers(splits.validation, encoder)
    check_tokens(base, [*everything.sequences, *watched.sequences, *test.sequences])
    train = that_fit(everything, answers.max_length)
    num_truncated = sum(length > answers.max_length for length in train.lengths)
    _logger.info("%d training examples, %d of them with answers cut to max_length", len(train), num_truncated)
    start = read_answering_start(initial, base.identity, config.training.lora, answers) if initial else None
    with all_seeded(config.training.seed, device), lora_language_model(base, config.training.lora) as model:
        if start is not None:
            start.put_into(model)
        else:
            check_ranks(model.peft_model, config.training.lora)
        # Before DPO puts its own copy of the adapter beside it.
        numbers = (sum(part.numel() for part in model.trainable_parameters()), model.num_parameters())
        # As they would be trained on.
        validation = watched.cut(answers.max_length)
        if watch is not None:
            check_watched(validation, answers.max_length)
        budget = configured_budget(config.training.max_tokens_per_batch)
        identity = _identity(base, answers, config, train, validation, initial)
        with (
            kept_checkpoints(checkpoint_dir, identity, config.training.checkpoint_interval_s) as checkpoints,
            _validation_of(model, validation, config, budget) as validate,
        ):
            record = run_trainer(
                model,
                base.tokenizer,
                train,
                config,
                on_progress=on_progress,
                validate=validate,
                watch=watch,
                checkpoints=checkpoints,
                budget=budget,
            )
        yield FittedAnswers(model, answers, record, checkpoints, *numbers, num_truncated, len(everything) - len(train))


def trainer_versions() -> dict[str, str]:
    """Of what decides these weights too: TRL, and accelerate, which shuffles the examples."""
    import importlib.metadata

    return {name: importlib.metadata.version(name) for name in ("accelerate", "trl")}


def _identity(
    base: BaseModel,
    answers: AnswerFormat,
    config: "FtzardConfig",
    train: EncodedAnswers,
    validation: EncodedAnswers,
    initial: "AdapterDirectory | None",
) -> dict[str, str]:
    data: dict[str, object] = {
        "answers": asdict(answers),
        "training examples": train.checksum,
        "validation examples": validation.checksum,
        "trainer versions": trainer_versions(),
    }
    return training_identity(base, _dtype(base), config, data, initial)


def _dtype(base: BaseModel) -> str:
    return str(base.model.get_input_embeddings().weight.dtype).removeprefix("torch.")


@contextmanager
def _validation_of(
    model: "AdaptedModel", examples: EncodedAnswers, config: "FtzardConfig", budget: "TokenBudget"
) -> "Iterator[Callable[[], dict[str, float]] | None]":
    """What scores the model on the validation split; None where there is nothing to score it on."""
    if not len(examples):
        yield None
        return

    def scored(answers: Sequence[Sequence[int]]) -> "np.ndarray[Any, Any]":
        found = log_probabilities(model.peft_model, examples.prompts, answers, max_tokens=budget.max_tokens)
        return np.array([values.sum() for values in found])

    if examples.rejected is None:
        num_tokens = sum(map(len, examples.answers))
        yield lambda: {"loss": float(-scored(examples.answers).sum() / num_tokens)}
        return
    rejected = examples.rejected
    before = scored(examples.answers) - scored(rejected)

    def preference() -> dict[str, float]:
        margins = scored(examples.answers) - scored(rejected)
        # DPO's own loss, equation 7 of Rafailov et al. 2023: -log sigmoid(beta * gain).
        loss = np.logaddexp(0.0, -config.training.beta * (margins - before)).mean()
        return {"loss": float(loss), "preference_accuracy": float((np.sign(margins) / 2 + 0.5).mean())}

    yield preference
