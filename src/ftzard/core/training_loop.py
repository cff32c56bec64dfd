"""The loop of a training: epochs, optimizer steps, micro-batches, and what is written down of them."""

import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from ftzard.core.batching import Indices, micro_batches, num_optimizer_steps, optimizer_steps, pad_right
from ftzard.core.early_stopping import BestSoFar, EarlyStopping
from ftzard.core.inference import compute_logits
from ftzard.core.losses import example_weights, weighted_loss
from ftzard.core.metrics import confusion_matrices, macro_f1
from ftzard.core.optimization import AdapterOptimizer, learning_rate_factor
from ftzard.core.predictions import softmax
from ftzard.core.progress import Progress, ProgressReporter
from ftzard.core.prompts import EncodedPrompts, PromptTemplate, encode_prompts
from ftzard.errors import TrainingDivergedError, UnknownLabelError

if TYPE_CHECKING:
    import torch

    from ftzard.config import TrainingConfig
    from ftzard.core.classifier import Classifier

# People look for the progress of a training under this name, wherever the loop is.
_logger = logging.getLogger("ftzard.core.training")

CURVE_SCHEMA = pl.Schema(
    {
        "step": pl.Int64,
        "epoch": pl.Int64,
        "loss": pl.Float64,
        "learning_rate": pl.Float64,
        "num_tokens": pl.Int64,
        "seconds": pl.Float64,
    }
)
VALIDATION_SCHEMA = pl.Schema(
    {"epoch": pl.Int64, "step": pl.Int64, "loss": pl.Float64, "macro_f1": pl.Float64, "is_kept": pl.Boolean}
)

# Below this a probability's logarithm is cut off: one confident mistake shall not make the mean infinite.
_SMALLEST_PROBABILITY = 1e-12
_FIX_DIVERGED = "lower training.learning_rate, or compute in float32 (model.dtype=float32); nothing was written"


@dataclass(frozen=True, eq=False)
class EncodedExamples:
    """Examples of one split as the model takes them.

    Attributes:
        prompts: The n prompts.
        targets: Index of each example's label, shape (n,).
        labels: The label set, in the order of these indices.
        text_hashes: What the examples are called in a message.
    """

    prompts: EncodedPrompts
    targets: Indices
    labels: Sequence[str]
    text_hashes: Sequence[str]

    def __len__(self) -> int:
        """Number of examples."""
        return len(self.targets)


@dataclass
class TrainingRecord:
    """What is written down during a training.

    Attributes:
        seconds: Wall-clock time in all.
        validation_seconds: The part of it that validation took.
        num_tokens: Real tokens trained on so far.
        kept_step: The optimizer step after which the weights were what they are at the end.
        kept: Which weights these are and why, in words.
    """

    seconds: float = 0.0
    validation_seconds: float = 0.0
    num_tokens: int = 0
    kept_step: int = 0
    kept: str = ""
    _curve: list[dict[str, Any]] = field(default_factory=list)
    _validation: list[dict[str, Any]] = field(default_factory=list)

    def add_step(self, *, num_tokens: int, **row: float) -> None:
        """Add a row of `CURVE_SCHEMA`."""
        self._curve.append({**row, "num_tokens": num_tokens})
        self.num_tokens += num_tokens

    def add_validation(self, **row: float) -> None:
        """Add a row of `VALIDATION_SCHEMA`."""
        self._validation.append(row)

    def curve(self) -> pl.DataFrame:
        """A row for each optimizer step."""
        return pl.DataFrame(self._curve, schema=CURVE_SCHEMA)

    def validation(self) -> pl.DataFrame:
        """A row for each validation, if there was anything to validate on."""
        rows = [{**row, "is_kept": row["step"] == self.kept_step} for row in self._validation]
        return pl.DataFrame(rows, schema=VALIDATION_SCHEMA)

    def kept_score(self, metric: str) -> float:
        """The validation score, `loss` or `macro_f1`, of the weights that were kept."""
        return float(next(row[metric] for row in self._validation if row["step"] == self.kept_step))

    @property
    def tokens_per_s(self) -> float:
        """Real tokens a second of training, validation not counted."""
        training_seconds = self.seconds - self.validation_seconds
        return self.num_tokens / training_seconds if training_seconds > 0 else 0.0


@dataclass(frozen=True)
class ValidationWatch:
    """Somebody who wants to know of a training while it runs, and may stop it by raising.

    Attributes:
        num_points: How often to validate: after equal shares of the optimizer steps, the last time after the last one.
        on_point: Takes the point's number (from 1), the number of optimizer steps so far, and the scores: `loss` and
            `macro_f1`.
    """

    num_points: int
    on_point: Callable[[int, int, Mapping[str, float]], None]

    def points(self, num_steps: int) -> dict[int, int]:
        """Optimizer step (from 1) -> number of its point; of points that fall on the same step, the last."""
        return {max(1, round(point * num_steps / self.num_points)): point for point in range(1, self.num_points + 1)}


def encode_examples(
    frame: pl.DataFrame, labels: Sequence[str], template: PromptTemplate, tokenizer: Any
) -> EncodedExamples:
    """Encode a frame of `EXAMPLE_SCHEMA`, which may be empty.

    Raises:
        UnknownLabelError: A row's label is not one of `labels`.
    """
    index = {label: position for position, label in enumerate(labels)}
    unknown = frame.filter(~pl.col("label").is_in(list(labels)) | pl.col("label").is_null())
    if not unknown.is_empty():
        first = unknown.row(0, named=True)
        raise UnknownLabelError(
            f"{unknown.height} example(s) carry a label that is not in {list(labels)}, the first is {first['label']!r} "
            f"in {first['batch']}, row {first['row']}",
            fix="correct the row, map the label with data.label_mapping, or add it to data.labels",
        )
    targets = np.array([index[label] for label in frame["label"]], dtype=np.int64)
    return EncodedExamples(
        encode_prompts(frame["text"].to_list(), template, tokenizer), targets, labels, frame["text_hash"].to_list()
    )


def run_training(
    classifier: "Classifier",
    train: EncodedExamples,
    validation: EncodedExamples,
    config: "TrainingConfig",
    on_progress: Callable[[Progress], None] | None,
    watch: ValidationWatch | None = None,
) -> TrainingRecord:
    """Train a classifier in place; its dropout draws from torch's global generator, which the caller has seeded.

    Validation happens at the end of equal shares of each epoch, and where somebody watches also in between. The latter
    changes nothing in the training; the former may stop it early, and the weights are then the best ones.

    Raises:
        TrainingDivergedError: The loss or a gradient is not finite.
        ConfigError: Explicit class weights are not for exactly these labels.
    """
    record = TrainingRecord()
    optimizer = AdapterOptimizer(classifier.trainable_parameters(), config)
    weights = example_weights(train.targets, train.labels, config)
    steps_per_epoch = num_optimizer_steps(len(train), config.train_batch_size)
    num_steps = steps_per_epoch * config.num_train_epochs
    points = watch.points(num_steps) if watch else {}
    stopping, best = EarlyStopping.from_config(config), None
    with ProgressReporter("step", num_steps, _logger) as reporter:
        for step, (epoch, batch) in enumerate(_all_steps(train, config)):
            classifier.peft_model.train()
            loss = _accumulate_gradients(classifier, train, batch, weights, config, optimizer)
            factor = learning_rate_factor(step, num_steps, config.warmup_fraction)
            learning_rate, norm = optimizer.step(factor)
            if not math.isfinite(loss) or not (math.isfinite(norm) or optimizer.may_go_on):
                raise _diverged(step + 1, loss, norm, train, batch)
            record.add_step(
                step=step + 1,
                epoch=epoch,
                loss=loss,
                learning_rate=learning_rate,
                num_tokens=int(train.prompts.lengths[batch].sum()),
                seconds=reporter.seconds,
            )
            progress = reporter.update(step + 1, record.num_tokens, loss)
            if on_progress is not None:
                on_progress(progress)
            record.kept_step = step + 1
            is_regular = _ends_a_share(step, steps_per_epoch, config.num_validations_per_epoch)
            if len(validation) and (is_regular or step + 1 in points):
                started = reporter.seconds
                scores = _validate(classifier, validation, config, epoch)
                record.add_validation(epoch=epoch, step=step + 1, **scores)
                record.validation_seconds += reporter.seconds - started
                if watch and step + 1 in points:
                    watch.on_point(points[step + 1], step + 1, scores)
                if stopping and is_regular:
                    best = stopping.after(best, scores, epoch, step + 1, classifier.trainable_parameters())
                    if stopping.is_over(best):
                        break
        record.seconds = reporter.seconds
    _check_weights(classifier, record.kept_step)
    _keep(classifier, record, stopping, best, num_steps)
    classifier.peft_model.eval()
    return record


def _ends_a_share(step: int, steps_per_epoch: int, num_shares: int) -> bool:
    """Whether one of an epoch's equal shares ends with the optimizer step `step` (from 0)."""
    done = step % steps_per_epoch
    return (done + 1) * num_shares // steps_per_epoch > done * num_shares // steps_per_epoch


def _keep(
    classifier: "Classifier",
    record: TrainingRecord,
    stopping: EarlyStopping | None,
    best: BestSoFar | None,
    num_steps: int,
) -> None:
    """Leave the classifier with the weights that are kept, and write down which they are."""
    record.kept = f"last weights (step {record.kept_step})"
    if stopping and best:
        record.kept = stopping.sentence(best, record.kept_step, num_steps)
        record.kept_step = best.step
        best.put_into(classifier.trainable_parameters())
    _logger.info("kept: %s", record.kept)


def _all_steps(train: EncodedExamples, config: "TrainingConfig") -> Iterator[tuple[int, Indices]]:
    """Epoch (from 1) and examples of each optimizer step."""
    rng = np.random.default_rng(config.seed)
    for epoch in range(1, config.num_train_epochs + 1):
        for batch in optimizer_steps(train.prompts.lengths, config.train_batch_size, rng):
            yield epoch, batch


def _accumulate_gradients(
    classifier: "Classifier",
    train: EncodedExamples,
    batch: Indices,
    example_weights: "np.ndarray[Any, Any]",
    config: "TrainingConfig",
    optimizer: AdapterOptimizer,
) -> float:
    """Add the gradients of one optimizer step's mean weighted loss; returns that loss.

    Each micro-batch contributes its sum over the size of the whole step, so that the cut makes no difference.
    """
    import torch

    loss = 0.0
    for part in micro_batches(batch, train.prompts.lengths, config.max_tokens_per_batch):
        padded = pad_right([train.prompts.input_ids[index] for index in part])
        ids, last, targets, weights = (
            torch.from_numpy(values).to(classifier.device)
            for values in (padded.input_ids, padded.last_token, train.targets[part], example_weights[part])
        )
        logits = classifier.logits(ids, last)
        part_loss = weighted_loss(logits, targets, weights, config) / len(batch)
        _backward(optimizer.scaled(part_loss))
        loss += float(part_loss.detach())
    return loss


def _backward(loss: "torch.Tensor") -> None:
    loss.backward()  # type: ignore[no-untyped-call]  # torch annotates everything of `backward` but its return


def _validate(
    classifier: "Classifier", validation: EncodedExamples, config: "TrainingConfig", epoch: int
) -> dict[str, float]:
    """Unweighted mean cross entropy and macro-F1 on the validation examples."""
    classifier.peft_model.eval()
    logits = compute_logits(classifier, validation.prompts, config.max_tokens_per_batch)
    if not np.isfinite(logits).all():
        row = int(np.flatnonzero(~np.isfinite(logits).all(axis=1))[0])
        raise TrainingDivergedError(
            f"in epoch {epoch} the logits of the validation example {validation.text_hashes[row]} are not finite",
            fix=_FIX_DIVERGED,
        )
    probabilities = softmax(logits.astype(np.float64))[np.arange(len(validation)), validation.targets]
    confusion = confusion_matrices(validation.targets, logits.argmax(axis=1), classifier.num_labels)
    loss = float(-np.log(np.maximum(probabilities, _SMALLEST_PROBABILITY)).mean())
    score = float(macro_f1(confusion))
    _logger.info("epoch %d: validation loss %.3f, macro-F1 %.3f", epoch, loss, score)
    return {"loss": loss, "macro_f1": score}


def _check_weights(classifier: "Classifier", num_steps: int) -> None:
    """The last update is followed by no loss that would show what it did."""
    if not all(bool(parameter.isfinite().all()) for parameter in classifier.trainable_parameters()):
        raise TrainingDivergedError(
            f"after optimizer step {num_steps}, the last one, weights of the adapter are not finite", fix=_FIX_DIVERGED
        )


def _diverged(step: int, loss: float, norm: float, train: EncodedExamples, batch: Indices) -> TrainingDivergedError:
    hashes = [train.text_hashes[index] for index in batch]
    return TrainingDivergedError(
        f"in optimizer step {step} the loss is {loss} and the norm of the gradients {norm}; "
        f"the step's examples have the text hashes {hashes}",
        fix=_FIX_DIVERGED,
    )
