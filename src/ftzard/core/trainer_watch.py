"""What is written down while one of TRL's trainers works, and who is told: progress, scores, checkpoints, errors."""

import logging
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ftzard.core.divergence import check_weights, diverged
from ftzard.core.progress import Progress, ProgressReporter
from ftzard.core.token_budget import FIX_WITHOUT_ESTIMATE, memory_failures_explained
from ftzard.core.training_loop import ValidationWatch
from ftzard.core.training_record import StepRecord

if TYPE_CHECKING:
    from ftzard.core.checkpoints import Checkpoints
    from ftzard.core.peft_adapter import AdaptedModel
    from ftzard.core.trainer_state import TrainerOptimizer

_logger = logging.getLogger("ftzard.core.training")


@dataclass
class TrainerRecord(StepRecord):
    """What is written down during a training of TRL's, which counts tokens anew when it goes on."""

    _counted: int = 0

    def add_logs(self, *, step: int, epoch: int, logs: Mapping[str, float], seconds: float) -> None:
        """Add an optimizer step, with what TRL logged of it."""
        total = int(logs.get("num_tokens", self._counted))
        tokens, self._counted = total - self._counted, total
        known = {name: logs[name] for name in ("loss", "learning_rate")}
        self.add_step(num_tokens=tokens, step=step, epoch=epoch, seconds=seconds, **known)
        self.seconds = seconds


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
        watch: Who wants to know of scores in the middle of epochs too, and may stop the training by raising.
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
    watch: ValidationWatch | None = None
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
            with memory_failures_told(lambda: f"optimizer step {self.optimizer.num_steps + 1} was computed"):
                yield

    def end_step(self, step: int, epoch: int, logs: Mapping[str, float]) -> None:
        """Write down an optimizer step.

        Raises:
            TrainingDivergedError: The loss or a gradient is not finite.
        """
        norm = logs.get("grad_norm", 0.0)
        if not math.isfinite(logs["loss"]) or not math.isfinite(norm):
            raise diverged(f"in optimizer step {step} the loss is {logs['loss']} and the norm of the gradients {norm}")
        self.record.add_logs(step=step, epoch=epoch, logs=logs, seconds=self._seconds)
        self.optimizer.num_steps, self.optimizer.is_whole = step, True
        progress = self.reporter.update(step, self.record.num_tokens, logs["loss"])
        if self.on_progress is not None:
            self.on_progress(progress)
        if not self._ends_epoch(step):
            if step in self._points:
                self._validate(step, epoch)
            self._begin_step()

    def end_epoch(self, step: int) -> None:
        """Validate.

        Raises:
            TrainingDivergedError: A score is not finite.
            OutOfMemoryError: There is no memory for it.
        """
        self._validate(step, round(step * self.num_epochs / self.num_steps))
        self.record.seconds = self._seconds
        if step < self.num_steps:
            self._begin_step()

    def _validate(self, step: int, epoch: int) -> None:
        if self.validate is None:
            return
        started = self.reporter.seconds
        self.model.peft_model.eval()
        with memory_failures_told(f"the model was validated in epoch {epoch}, after optimizer step {step}"):
            scores = self.validate()
        self.model.peft_model.train()
        if not all(map(math.isfinite, scores.values())):
            raise diverged(f"in epoch {epoch}, after optimizer step {step}, the validation gives {scores}")
        told = ", ".join(f"{name.replace('_', ' ')} {score:.3f}" for name, score in scores.items())
        _logger.info("epoch %d: validation %s", epoch, told)
        self.record.add_validation(epoch=epoch, step=step, **scores)
        self.record.validation_seconds += self.reporter.seconds - started
        if self.watch and step in self._points:
            self.watch.on_point(self._points[step], step, scores)

    def finish(self) -> None:
        """Check the weights, and write the last checkpoint.

        Raises:
            TrainingDivergedError: They are not finite.
        """
        check_weights(self.model.trainable_parameters(), self.num_steps)
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

    @cached_property
    def _points(self) -> Mapping[int, int]:
        return self.watch.points(self.num_steps) if self.watch else {}

    @property
    def _seconds(self) -> float:
        return self._seconds_before + self.reporter.seconds

    def _ends_epoch(self, step: int) -> bool:
        return step * self.num_epochs % self.num_steps == 0

    def _begin_step(self) -> None:
        """End the step before, with its checkpoint if one is due."""
        self._step.close()
        self._step.enter_context(self.checkpoints.step(self.optimizer, self.record))


def memory_failures_told(what: str | Callable[[], str]) -> AbstractContextManager[None]:
    """As `memory_failures_explained`, for what is computed beside the passes, or cannot be divided."""
    return memory_failures_explained(what, FIX_WITHOUT_ESTIMATE)
