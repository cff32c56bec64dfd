"""TRL's trainers at work: what they are told, what they report, and what they leave behind (nothing)."""

import logging
import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from ftzard.core.checkpoints import Checkpoints
from ftzard.core.progress import Progress, ProgressReporter
from ftzard.core.scratch_folder import scratch_folder
from ftzard.core.token_budget import TokenBudget
from ftzard.core.trainer_memory import PassesInPieces, configured_budget
from ftzard.core.trainer_state import TrainerOptimizer
from ftzard.core.trainer_watch import TrainerRecord, TrainerWatch
from ftzard.core.training_loop import ValidationWatch

if TYPE_CHECKING:
    from ftzard.config import FtzardConfig
    from ftzard.core.encoded_answers import EncodedAnswers
    from ftzard.core.peft_adapter import AdaptedModel

_logger = logging.getLogger("ftzard.core.training")

_IGNORED = -100


def run_trainer(  # noqa: PLR0913 - as `ftzard.core.training_loop.run_training`
    model: "AdaptedModel",
    tokenizer: Any,
    train: "EncodedAnswers",
    config: "FtzardConfig",
    *,
    on_progress: Callable[[Progress], None] | None,
    validate: Callable[[], dict[str, float]] | None,
    watch: ValidationWatch | None = None,
    checkpoints: Checkpoints | None = None,
    budget: TokenBudget | None = None,
) -> TrainerRecord:
    """Train an adapter in place: by SFTTrainer on completions, by DPOTrainer where there are rejected answers.

    Where there is a checkpoint of this very training it goes on from there, and ends as if it had not been stopped.
    Where memory runs out, the pass is computed again in pieces of half of the tokens, and so is what follows.

    Args:
        model: With a fresh adapter, or one to go on from.
        tokenizer: The base model's.
        train: At least one example, each with a prompt below `model.max_length`.
        config: Its sections `model` and `training`.
        on_progress: Called after each optimizer step.
        validate: Scores the model; called after each epoch.
        watch: Who wants to know of scores in between too.
        checkpoints: Where it keeps what it needs to go on; None keeps nothing.
        budget: Tokens at once, as configured; halved where memory runs out.

    Raises:
        TrainingDivergedError: The loss or a gradient is not finite.
        OutOfMemoryError: There is no memory for one row alone, or for what is no pass; the message names the step.
    """
    from transformers import PrinterCallback

    make = _supervised if train.rejected is None else _preference
    budget = budget or configured_budget(config.training.max_tokens_per_batch)
    checkpoints, record = checkpoints or Checkpoints(None, {}, 0.0), TrainerRecord(budget=budget)
    with scratch_folder("ftzard-trl-") as scratch, _quiet(), _answers_alone_scored():
        trained = model.trainable_parameters()
        trainer, longest = make(model, tokenizer, train, config, str(scratch))
        # It prints each step; the progress is reported below.
        trainer.remove_callback(PrinterCallback)
        optimizer, num_steps = TrainerOptimizer(trainer, trained), _num_steps(trainer)
        rows_within = partial(batch_size, config.training.train_batch_size, longest)
        PassesInPieces(trainer, trained, budget, longest, rows_within).install()
        num_done = checkpoints.restore(optimizer, record)
        with ProgressReporter("step", num_steps, _logger) as reporter:
            epochs = config.training.num_train_epochs
            follower = TrainerWatch(
                model, record, optimizer, checkpoints, reporter, num_steps, epochs, validate, on_progress, watch
            )
            trainer.add_callback(follower.callback())
            resumed = optimizer.resume_in(scratch)
            with follower.watching():
                if num_done < num_steps:
                    trainer.train(resume_from_checkpoint=resumed)
        follower.finish()
    model.peft_model.eval()
    return record


def batch_size(train_batch_size: int, longest: int, max_tokens: int) -> int:
    """Rows of one forward pass: the largest divisor of an optimizer step's that stays within the token budget."""
    fitting = (size for size in range(train_batch_size, 0, -1) if train_batch_size % size == 0)
    return next((size for size in fitting if size * longest <= max_tokens), 1)


def _supervised(
    model: "AdaptedModel", tokenizer: Any, train: "EncodedAnswers", config: "FtzardConfig", scratch: str
) -> tuple[Any, int]:
    """The trainer, and the tokens of its longest row."""
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
    trainer = SFTTrainer(model=model.peft_model, args=arguments, train_dataset=dataset, processing_class=tokenizer)
    return trainer, longest


def _preference(
    model: "AdaptedModel", tokenizer: Any, train: "EncodedAnswers", config: "FtzardConfig", scratch: str
) -> tuple[Any, int]:
    """The trainer, and the tokens of its longest pair."""
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
    trainer = TokenizedDPOTrainer(
        model=model.peft_model, args=arguments, train_dataset=Dataset.from_dict(columns), processing_class=tokenizer
    )
    return trainer, longest


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


@contextmanager
def _answers_alone_scored() -> Iterator[None]:
    """Let only the places of answers go through the output layer, on the CPU as on CUDA.

    TRL decides that by the device, through one function: elsewhere it computes for every token what could follow it,
    and then takes no notice of what follows those of prompts. Where that function is gone, TRL goes its own way.
    """
    import trl.trainer.utils

    name = "_use_triton"
    own = getattr(trl.trainer.utils, name, None)
    if own is None:
        yield
        return
    setattr(trl.trainer.utils, name, lambda _: True)
    try:
        yield
    finally:
        setattr(trl.trainer.utils, name, own)


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
