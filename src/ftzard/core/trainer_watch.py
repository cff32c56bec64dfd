"""What is written down while one of TRL's trainers works, and who is told: progress, scores, checkpoints, errors."""

import logging
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import polars as pl

from ftzard.core.byte_sizes import in_words
from ftzard.core.progress import Progress, ProgressReporter
from ftzard.core.token_budget import bytes_asked_for, is_out_of_memory
from ftzard.core.training_record import CURVE_SCHEMA
from ftzard.errors import OutOfMemoryError, TrainingDivergedError

if TYPE_CHECKING:
    import torch

    from ftzard.core.checkpoints import Checkpoints
    from ftzard.core.peft_adapter import AdaptedModel
    from ftzard.core.trainer_state import TrainerOptimizer

_logger = logging.getLogger("ftzard.core.training")

_FIX_DIVERGED = "lower training.learning_rate, or compute in float32 (model.dtype=float32); nothing was written"
_FIX_MEMORY = (
    "lower training.max_tokens_per_batch or model.max_length, compute in bfloat16 (model.dtype=bfloat16), or free "
    "memory; nothing was written"
)


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
    # As TRL counts, which begins at 0 when it goes on.
    _counted: int = 0

    def add_step(self, *, step: int, epoch: int, logs: Mapping[str, float], seconds: float) -> None:
        """Add an optimizer step, with what TRL logged of it."""
        total = int(logs.get("num_tokens", self._counted))
        tokens, self._counted = total - self._counted, total
        known = {name: logs[name] for name in ("loss", "learning_rate")}
        self._curve.append({"step": step, "epoch": epoch, **known, "num_tokens": tokens, "seconds": seconds})
        self.num_tokens, self.seconds = self.num_tokens + tokens, seconds

    def add_validation(self, *, epoch: int, step: int, scores: Mapping[str, float]) -> None:
        """Add the scores after an epoch."""
        self._validation.append({"epoch": epoch, "step": step, **scores})

    @property
    def num_steps(self) -> int:
        """Optimizer steps so far."""
        return len(self._curve)

    def is_validated(self, step: int) -> bool:
        """Whether there was a validation after an optimizer step."""
        return any(row["step"] == step for row in self._validation)

    def to_dict(self) -> dict[str, Any]:
        """The record as JSON types."""
        return {
            "seconds": self.seconds,
            "validation_seconds": self.validation_seconds,
            "num_tokens": self.num_tokens,
            "curve": self._curve,
            "validation": self._validation,
        }

    def tensors(self) -> "dict[str, torch.Tensor]":
        """Nothing of it."""
        return {}

    def restore(self, values: Mapping[str, Any], tensors: "Mapping[str, torch.Tensor]") -> None:
        """Become what `to_dict` gave."""
        del tensors
        self.seconds, self.validation_seconds = float(values["seconds"]), float(values["validation_seconds"])
        self.num_tokens = int(values["num_tokens"])
        self._curve, self._validation = list(values["curve"]), list(values["validation"])

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


@dataclass
class TrainerWatch:
    """Follows a trainer step by step.

    Attributes:
        model: What is trained.
        record: What is written down.
        optimizer: What a checkpoint holds.
        checkpoints: Where it goes.
        reporter: Counts the optimizer steps.
        num_steps: Optimizer steps in all.
        num_epochs: Epochs in all.
        validate: Scores the model; None where there is nothing to score it on.
        on_progress: Called after each optimizer step.
    """

    model: "AdaptedModel"
    record: TrainerRecord
    optimizer: "TrainerOptimizer"
    checkpoints: "Checkpoints"
    reporter: ProgressReporter
    num_steps: int
    num_epochs: int
    validate: Callable[[], dict[str, float]] | None
    on_progress: Callable[[Progress], None] | None
    _step: ExitStack = field(default_factory=ExitStack)
    _seconds_before: float = 0.0

    def __post_init__(self) -> None:
        """What was written down before an interruption counts on."""
        self._seconds_before = self.record.seconds

    @contextmanager
    def watching(self) -> Iterator[None]:
        """The optimizer steps of the block, each with the checkpoint that follows it or an interruption.

        Raises:
            OutOfMemoryError: No memory was to be had in one of them.
        """
        with self._step:
            self._begin_step()
            done = self.optimizer.num_steps
            # Interrupted between the last step of an epoch and the end of its validation.
            if done and self._ends_epoch(done) and not self.record.is_validated(done):
                self.end_epoch(done)
            with memory_failures_told(lambda: f"optimizer step {self.optimizer.num_steps + 1}"):
                yield

    def end_step(self, step: int, epoch: int, logs: Mapping[str, float]) -> None:
        """Write down an optimizer step.

        Raises:
            TrainingDivergedError: The loss or a gradient is not finite.
        """
        norm = logs.get("grad_norm", 0.0)
        if not math.isfinite(logs["loss"]) or not math.isfinite(norm):
            raise TrainingDivergedError(
                f"in optimizer step {step} the loss is {logs['loss']} and the norm of the gradients {norm}",
                fix=_FIX_DIVERGED,
            )
        self.record.add_step(step=step, epoch=epoch, logs=logs, seconds=self._seconds)
        self.optimizer.num_steps, self.optimizer.is_whole = step, True
        progress = self.reporter.update(step, self.record.num_tokens, logs["loss"])
        if self.on_progress is not None:
            self.on_progress(progress)
        if not self._ends_epoch(step):
            self._begin_step()

    def end_epoch(self, step: int) -> None:
        """Validate.

        Raises:
            TrainingDivergedError: A score is not finite.
            OutOfMemoryError: There is no memory for it.
        """
        epoch = round(step * self.num_epochs / self.num_steps)
        if self.validate is not None:
            started = self.reporter.seconds
            self.model.peft_model.eval()
            with memory_failures_told(lambda: f"the validation after epoch {epoch}"):
                scores = self.validate()
            self.model.peft_model.train()
            if not all(map(math.isfinite, scores.values())):
                raise TrainingDivergedError(
                    f"after optimizer step {step}, at the end of epoch {epoch}, the validation gives {scores}",
                    fix=_FIX_DIVERGED,
                )
            told = ", ".join(f"{name.replace('_', ' ')} {score:.3f}" for name, score in scores.items())
            _logger.info("epoch %d: validation %s", epoch, told)
            self.record.add_validation(epoch=epoch, step=step, scores=scores)
            self.record.validation_seconds += self.reporter.seconds - started
        self.record.seconds = self._seconds
        if step < self.num_steps:
            self._begin_step()

    def finish(self) -> None:
        """Check the weights, because the last update is followed by no loss that would show what it did.

        Raises:
            TrainingDivergedError: They are not finite.
        """
        if not all(bool(parameter.isfinite().all()) for parameter in self.model.trainable_parameters()):
            raise TrainingDivergedError(
                f"after optimizer step {self.num_steps}, the last one, weights of the adapter are not finite",
                fix=_FIX_DIVERGED,
            )
        self.checkpoints.finish(self.optimizer, self.record)

    def callback(self) -> Any:
        """What transformers calls while it trains."""
        from transformers import TrainerCallback

        watch = self

        class Watcher(TrainerCallback):  # type: ignore[misc]  # transformers is not followed by mypy here
            """Hands on what belongs to steps and epochs."""

            def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
                watch.optimizer.is_whole = False

            def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float], **_: Any) -> None:  # noqa: ARG002
                # The last log sums up the whole training and has no loss of a step.
                if "loss" in logs:
                    watch.end_step(state.global_step, max(1, math.ceil(round(state.epoch, 6))), logs)

            def on_epoch_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
                watch.end_epoch(state.global_step)

        return Watcher()

    @property
    def _seconds(self) -> float:
        return self._seconds_before + self.reporter.seconds

    def _ends_epoch(self, step: int) -> bool:
        return step * self.num_epochs % self.num_steps == 0

    def _begin_step(self) -> None:
        """End the step before, with its checkpoint if one is due."""
        self._step.close()
        self._step.enter_context(self.checkpoints.step(self.optimizer, self.record))


@contextmanager
def memory_failures_told(where: Callable[[], str]) -> Iterator[None]:
    """Turn a failed allocation into an error that says where.

    Args:
        where: Asked when it happens.

    Raises:
        OutOfMemoryError: No memory was to be had in the block.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        num_bytes = bytes_asked_for(error)
        asked = "" if num_bytes is None else f": {num_bytes:,} bytes ({in_words(num_bytes)}) were asked for"
        raise OutOfMemoryError(f"memory ran out in {where()}{asked}", fix=_FIX_MEMORY) from error
