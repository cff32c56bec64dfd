"""Training of a LoRA adapter that writes answers.

On prompts and completions it is TRL's SFTTrainer that trains, on pairs of answers its DPOTrainer.

The tokens are ours, so that what is trained on is what is asked later; the loop, the packing and the losses are TRL's.
"""

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from ftzard.core.adapter import manifest_fields, write_adapter
from ftzard.core.answer_format import AnswerFormat
from ftzard.core.answer_prompts import AnswerEncoder, answer_format, encode_prompts_of
from ftzard.core.answering import log_probabilities
from ftzard.core.base_model import BaseModel, borrowed_base_model
from ftzard.core.checkpoints import kept_checkpoints
from ftzard.core.devices import resolve_device
from ftzard.core.language_model import lora_language_model
from ftzard.core.lora_methods import check_ranks
from ftzard.core.row_columns import read_pair
from ftzard.core.seeding import all_seeded
from ftzard.core.trainer_memory import configured_budget
from ftzard.core.training import TrainingResult
from ftzard.core.training_identity import training_identity
from ftzard.core.trl_trainer import run_trainer
from ftzard.core.warm_start import read_answering_start
from ftzard.errors import TooFewExamplesError

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
        prompts, answers = [self.prompts[index] for index in keep], [self.answers[index] for index in keep]
        return EncodedAnswers(prompts, answers, self.rejected and [self.rejected[index] for index in keep])


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
        splits: Each `EXAMPLE_SCHEMA`. `validation` may be empty; `test` is not looked at.
        config: Its sections `model` and `training`, and the task.
        output_dir: A folder that is empty or does not exist.
        on_progress: Called after each optimizer step.
        provenance: What is to stand in the manifest about the data, such as its commit.
        initial: The adapter whose weights to go on from; None: a fresh one. For preference it is also what the adapter
            must not depart from too far; else the base model is.
        checkpoint_dir: As for `train_adapter`.

    Raises:
        TooFewExamplesError: There is nothing to train on, or no prompt leaves room for an answer.
        TrainingDivergedError: The loss or a gradient is not finite; nothing is written.
        OutOfMemoryError: There is no memory for the base model, or for one example alone.
        AdapterMismatchError: `initial` does not fit what is configured.
        FtzardError: As `load_base_model`, `AnswerEncoder`, `check_lora` and `write_adapter`.
    """
    import torch

    answers, device = answer_format(config), resolve_device(config.training.device)
    with borrowed_base_model(config.model, device) as base:
        encoder = AnswerEncoder(answers, base.tokenizer)
        everything = encode_answers(splits.train, encoder)
        train = _that_fit(everything, answers.max_length)
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
            validation = encode_answers(splits.validation, encoder).cut(answers.max_length)
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
                    checkpoints=checkpoints,
                    budget=budget,
                )
            weights = model.adapter_weights()
            peft_config = model.peft_fields(config.model.base_model, config.model.revision)
        dtype = _dtype(base)
        compute = {"device": device, "dtype": dtype, **budget.as_manifest()}
        # As for a classifier: what was chosen here stays chosen.
        recorded = replace(config, model=replace(config.model, quantization=base.precision.quantization))
        described = manifest_fields(
            base.identity, recorded, provenance or {}, {**compute, "num_threads": str(torch.get_num_threads())}
        )
        adapter = write_adapter(
            output_dir,
            weights=weights,
            peft_config=peft_config,
            tokenizer=base.tokenizer,
            labels=answers,
            describe=described | {"versions": described["versions"] | trainer_versions()},
        )
    return TrainingResult(
        adapter=adapter,
        curve=record.curve(),
        validation=record.validation(),
        head=_NOT_A_HEAD,
        head_reason=None,
        num_trainable_parameters=numbers[0],
        num_parameters=numbers[1],
        num_truncated=num_truncated,
        kept=f"last weights (step {record.num_steps})",
        precision=base.precision.reason,
        num_left_out=len(everything) - len(train),
        seconds=record.seconds,
        tokens_per_s=record.tokens_per_s,
        device=device,
        dtype=dtype,
        budget=budget,
        resumed_from=checkpoints.resumed_from,
        num_checkpoints=checkpoints.num_saved,
        checkpoint_seconds=checkpoints.saving_s,
    )


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


def _that_fit(examples: EncodedAnswers, max_length: int) -> EncodedAnswers:
    if not len(examples):
        raise TooFewExamplesError(
            "there are no training examples", fix="add prompts with answers, or raise data.train_fraction"
        )
    keep = [index for index, prompt in enumerate(examples.prompts) if len(prompt) < max_length]
    if not keep:
        raise TooFewExamplesError(
            f"model.max_length is {max_length}, and the shortest of {len(examples)} prompts has "
            f"{min(map(len, examples.prompts))} tokens, which leaves no room for an answer",
            fix="raise model.max_length, or shorten the prompts or model.generation.prompt_template",
        )
    if len(keep) < len(examples):
        _logger.warning(
            "left out %d of %d training examples whose prompt alone fills model.max_length=%d",
            len(examples) - len(keep),
            len(examples),
            max_length,
        )
    return examples.picked(keep)


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
