"""TRL's trainers at work: what they are told, what they report, and what they leave behind (nothing)."""

import logging
import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import polars as pl

from ftzard.core.progress import Progress, ProgressReporter
from ftzard.core.training_loop import CURVE_SCHEMA
from ftzard.errors import TrainingDivergedError

if TYPE_CHECKING:
    from ftzard.config import FtzardConfig
    from ftzard.core.answer_training import EncodedAnswers
    from ftzard.core.peft_adapter import AdaptedModel

_logger = logging.getLogger("ftzard.core.training")

_IGNORED = -100
_FIX_DIVERGED = "lower training.learning_rate, or compute in float32 (model.dtype=float32); nothing was written"


@dataclass
class TrainerRecord:
    """What is written down during a training.

    Attributes:
        seconds: Wall-clock time in all.
        validation_seconds: The part of it that validation took.
        num_tokens: Real tokens trained on so far.
    """

    seconds: float = 0.0
    validation_seconds: float = 0.0
    num_tokens: int = 0
    _curve: list[dict[str, float]] = field(default_factory=list)
    _validation: list[dict[str, float]] = field(default_factory=list)

    def add_step(self, *, step: int, epoch: int, logs: dict[str, float], seconds: float) -> None:
        """Add an optimizer step, with what TRL logged of it."""
        total = int(logs.get("num_tokens", self.num_tokens))
        tokens, self.num_tokens = total - self.num_tokens, total
        known = {name: logs[name] for name in ("loss", "learning_rate")}
        self._curve.append({"step": step, "epoch": epoch, **known, "num_tokens": tokens, "seconds": seconds})

    def add_validation(self, *, epoch: int, step: int, scores: dict[str, float]) -> None:
        """Add the scores after an epoch."""
        self._validation.append({"epoch": epoch, "step": step, **scores})

    def curve(self) -> pl.DataFrame:
        """A row for each optimizer step."""
        return pl.DataFrame(self._curve, schema=CURVE_SCHEMA)

    def validation(self) -> pl.DataFrame:
        """A row for each epoch, if there was anything to validate on: `loss` and, for preference, the accuracy."""
        return pl.DataFrame(self._validation, schema_overrides={"epoch": pl.Int64, "step": pl.Int64})

    @property
    def tokens_per_s(self) -> float:
        """Real tokens a second of training, validation not counted."""
        training_seconds = self.seconds - self.validation_seconds
        return self.num_tokens / training_seconds if training_seconds > 0 else 0.0


def run_trainer(
    model: "AdaptedModel",
    tokenizer: Any,
    train: "EncodedAnswers",
    config: "FtzardConfig",
    *,
    on_progress: Callable[[Progress], None] | None,
    validate: Callable[[], dict[str, float]] | None,
) -> TrainerRecord:
    """Train an adapter in place: by SFTTrainer on completions, by DPOTrainer where there are rejected answers.

    Args:
        model: With a fresh adapter, or one to go on from.
        tokenizer: The base model's.
        train: At least one example, each with a prompt below `model.max_length`.
        config: Its sections `model` and `training`.
        on_progress: Called after each optimizer step.
        validate: Scores the model; called after each epoch.

    Raises:
        TrainingDivergedError: The loss or a gradient is not finite.
    """
    from transformers import PrinterCallback

    make = _supervised if train.rejected is None else _preference
    record = TrainerRecord()
    with TemporaryDirectory(prefix="ftzard-trl-") as scratch, _quiet():
        trainer = make(model, tokenizer, train, config, scratch)
        # It prints each step; the progress is reported below.
        trainer.remove_callback(PrinterCallback)
        with ProgressReporter("step", _num_steps(trainer), _logger) as reporter:
            trainer.add_callback(_watcher(record, reporter, on_progress, validate, model))
            trainer.train()
            record.seconds = reporter.seconds
    model.peft_model.eval()
    if not all(bool(parameter.isfinite().all()) for parameter in model.trainable_parameters()):
        raise TrainingDivergedError("after the last optimizer step weights are not finite", fix=_FIX_DIVERGED)
    return record


def batch_size(train_batch_size: int, longest: int, max_tokens: int) -> int:
    """Rows of one forward pass: the largest divisor of an optimizer step's that stays within the token budget."""
    fitting = (size for size in range(train_batch_size, 0, -1) if train_batch_size % size == 0)
    return next((size for size in fitting if size * longest <= max_tokens), 1)


def _supervised(
    model: "AdaptedModel", tokenizer: Any, train: "EncodedAnswers", config: "FtzardConfig", scratch: str
) -> Any:
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer, pack_dataset

    max_length, packing = config.model.max_length, config.training.packing
    rows = [
        {
            "input_ids": [*prompt, *answer][:max_length],
            "labels": [*[_IGNORED] * len(prompt), *answer][:max_length],
        }
        for prompt, answer in zip(train.prompts, train.answers, strict=True)
    ]
    dataset = Dataset.from_list(rows)
    if packing:
        # Best-fit decreasing. In transformers 5 eager and SDPA attention keep the examples of a row apart by their
        # position ids, as flash attention does; a test compares the gradients with those of rows of their own.
        dataset = pack_dataset(dataset, max_length, "bfd", {})
    longest = max(len(row) for row in dataset["input_ids"])
    settings = _settings(config, len(dataset), longest, model.device)
    arguments = SFTConfig(
        output_dir=scratch,
        packing=packing,
        max_length=max_length,
        # The rows are tokens already.
        dataset_kwargs={"skip_prepare_dataset": True},
        **settings,
    )
    return SFTTrainer(model=model.peft_model, args=arguments, train_dataset=dataset, processing_class=tokenizer)


def _preference(
    model: "AdaptedModel", tokenizer: Any, train: "EncodedAnswers", config: "FtzardConfig", scratch: str
) -> Any:
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    class TokenizedDPOTrainer(DPOTrainer):  # type: ignore[misc]  # TRL has no types
        """Takes rows that are tokens already, which DPOTrainer, unlike SFTTrainer, has no argument for."""

        def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
            return dataset

    columns = {"prompt_ids": train.prompts, "chosen_ids": train.answers, "rejected_ids": train.rejected}
    # A pair is two rows of a forward pass.
    longest = 2 * min(max(train.lengths), config.model.max_length)
    arguments = DPOConfig(
        output_dir=scratch,
        beta=config.training.beta,
        max_length=config.model.max_length,
        **_settings(config, len(train), longest, model.device),
    )
    return TokenizedDPOTrainer(
        model=model.peft_model, args=arguments, train_dataset=Dataset.from_dict(columns), processing_class=tokenizer
    )


def _settings(config: "FtzardConfig", num_rows: int, longest: int, device: str) -> dict[str, Any]:
    """What both trainers are told; names are those of `transformers.TrainingArguments`."""
    training = config.training
    rows = batch_size(training.train_batch_size, longest, training.max_tokens_per_batch)
    num_steps = math.ceil(num_rows / training.train_batch_size) * training.num_train_epochs
    return {
        "num_train_epochs": training.num_train_epochs,
        "learning_rate": training.learning_rate,
        "weight_decay": training.weight_decay,
        "warmup_steps": round(training.warmup_fraction * num_steps),
        "lr_scheduler_type": "cosine",
        "max_grad_norm": training.max_grad_norm,
        "per_device_train_batch_size": rows,
        "gradient_accumulation_steps": training.train_batch_size // rows,
        "seed": training.seed,
        "data_seed": training.seed,
        "use_cpu": device == "cpu",
        # The base model is in its type already, the adapter in float32; autocast would make a third of both.
        "bf16": False,
        "gradient_checkpointing": False,
        "dataloader_pin_memory": device == "cuda",
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "report_to": "none",
        "save_strategy": "no",
        "disable_tqdm": True,
    }


def _num_steps(trainer: Any) -> int:
    arguments = trainer.args
    rows_per_step = arguments.per_device_train_batch_size * arguments.gradient_accumulation_steps
    return int(math.ceil(len(trainer.train_dataset) / rows_per_step) * arguments.num_train_epochs)


def _watcher(
    record: TrainerRecord,
    reporter: ProgressReporter,
    on_progress: Callable[[Progress], None] | None,
    validate: Callable[[], dict[str, float]] | None,
    model: "AdaptedModel",
) -> Any:
    """What TRL calls while it trains."""
    from transformers import TrainerCallback

    class Watcher(TrainerCallback):  # type: ignore[misc]  # transformers is not followed by mypy here
        """Writes down, reports, validates, and stops a training that diverges."""

        def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float], **_: Any) -> None:  # noqa: ARG002
            if "loss" not in logs:
                return
            norm = logs.get("grad_norm", 0.0)
            if not math.isfinite(logs["loss"]) or not math.isfinite(norm):
                raise TrainingDivergedError(
                    f"in optimizer step {state.global_step} the loss is {logs['loss']} and the norm of the "
                    f"gradients {norm}",
                    fix=_FIX_DIVERGED,
                )
            epoch = max(1, math.ceil(round(state.epoch, 6)))
            record.add_step(step=state.global_step, epoch=epoch, logs=logs, seconds=reporter.seconds)
            progress = reporter.update(state.global_step, record.num_tokens, logs["loss"])
            if on_progress is not None:
                on_progress(progress)

        def on_epoch_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
            if validate is None:
                return
            started = reporter.seconds
            model.peft_model.eval()
            scores = validate()
            model.peft_model.train()
            epoch = round(state.epoch)
            _logger.info("epoch %d: validation %s", epoch, scores)
            record.add_validation(epoch=epoch, step=state.global_step, scores=scores)
            record.validation_seconds += reporter.seconds - started

    return Watcher()


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the progress bars of `datasets`, and without warnings of what only TRL itself could change."""
    import datasets

    was_shown = datasets.is_progress_bar_enabled()
    datasets.disable_progress_bars()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
        if was_shown:
            datasets.enable_progress_bars()
