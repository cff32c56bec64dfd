"""The loop of a training: epochs, optimizer steps, micro-batches, and what is written down of them."""

import hashlib
import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from ftzard.core.batching import Indices, micro_batches, num_optimizer_steps, optimizer_steps
from ftzard.core.checkpoints import Checkpoints
from ftzard.core.data_parallel import ALONE, Ranks
from ftzard.core.divergence import check_weights, diverged
from ftzard.core.early_stopping import EarlyStopping
from ftzard.core.inference import compute_logits
from ftzard.core.objectives import Objective, Targets
from ftzard.core.optimization import AdapterOptimizer, learning_rate_factor
from ftzard.core.progress import Progress, ProgressReporter
from ftzard.core.prompts import EncodedPrompts, PromptTemplate, encode_prompts
from ftzard.core.token_budget import TokenBudget
from ftzard.core.training_record import TrainingRecord
from ftzard.errors import UnknownLabelError

if TYPE_CHECKING:
    import torch

    from ftzard.config import TrainingConfig
    from ftzard.core.classifier import Classifier

# People look for the progress of a training under this name, wherever the loop is.
_logger = logging.getLogger("ftzard.core.training")


@dataclass(frozen=True, eq=False)
class EncodedExamples:
    """Examples of one split as the model takes them.

    Attributes:
        prompts: The n prompts.
        targets: Index of each example's label, shape (n,); where it can have several, which of them it has, (n, k).
        labels: The label set, in the order of the outputs.
        text_hashes: What the examples are called in a message.
        objective: What is learned.
    """

    prompts: EncodedPrompts
    targets: Targets
    labels: Sequence[str]
    text_hashes: Sequence[str]
    objective: Objective

    def __len__(self) -> int:
        """Number of examples."""
        return len(self.targets)

    @property
    def checksum(self) -> str:
        """SHA-256 of the token ids and the targets, in their order."""
        digest = hashlib.sha256(self.targets.tobytes())
        for ids in self.prompts.input_ids:
            digest.update(len(ids).to_bytes(8, "little") + ids.tobytes())
        return digest.hexdigest()


@dataclass(frozen=True)
class ValidationWatch:
    """Somebody who wants to know of a training while it runs, and may stop it by raising.

    Attributes:
        num_points: How often to validate: after equal shares of the optimizer steps, the last time after the last one.
        on_point: Takes the point's number (from 1), the number of optimizer steps so far, and the scores of the task,
            such as `loss` and `macro_f1`.
    """

    num_points: int
    on_point: Callable[[int, int, Mapping[str, float]], None]

    def points(self, num_steps: int) -> dict[int, int]:
        """Optimizer step (from 1) -> number of its point; of points that fall on the same step, the last."""
        return {max(1, round(point * num_steps / self.num_points)): point for point in range(1, self.num_points + 1)}


def encode_examples(
    frame: pl.DataFrame, labels: Sequence[str], template: PromptTemplate, tokenizer: Any, objective: Objective
) -> EncodedExamples:
    """Encode a frame of `EXAMPLE_SCHEMA`, which may be empty.

    Raises:
        UnknownLabelError: A row's label is not one of `labels`.
    """
    unknown = frame.filter(objective.unknown(frame["label"], labels))
    if not unknown.is_empty():
        first = unknown.row(0, named=True)
        raise UnknownLabelError(
            f"{unknown.height} example(s) carry a label that is not in {list(labels)}, the first is {first['label']!r} "
            f"in {first['batch']}, row {first['row']}",
            fix="correct the row, map the label with data.label_mapping, or add it to data.labels",
        )
    prompts = encode_prompts(frame["text"].to_list(), template, tokenizer)
    targets = objective.targets(frame["label"], labels)
    return EncodedExamples(prompts, targets, labels, frame["text_hash"].to_list(), objective)


def run_training(  # noqa: PLR0913 - as `ftzard.core.training.train_adapter`
    classifier: "Classifier",
    train: EncodedExamples,
    validation: EncodedExamples,
    config: "TrainingConfig",
    on_progress: Callable[[Progress], None] | None,
    watch: ValidationWatch | None = None,
    checkpoints: Checkpoints | None = None,
    *,
    ranks: Ranks = ALONE,
) -> TrainingRecord:
    """Train a classifier in place; its dropout draws from torch's global generator, which the caller has seeded.

    Validation happens at the end of equal shares of each epoch, and where somebody watches also in between. The latter
    changes nothing in the training; the former may stop it early, and the weights are then the best ones.
    Where there is a checkpoint of this very training it goes on from there, and ends as if it had not been stopped.

    Where memory runs out, the optimizer step is computed again with half of the tokens at once, and so is what follows.
    Where there are several ranks, each computes its share of every step and all of them end with the same weights.

    Raises:
        TrainingDivergedError: The loss or a gradient is not finite.
        OutOfMemoryError: There is no memory for one example alone.
        ConfigError: Explicit class weights are not for exactly these labels.
    """
    budget = TokenBudget(config.max_tokens_per_batch, "optimizer step")
    record = TrainingRecord(budget=budget)
    optimizer = AdapterOptimizer(classifier.trainable_parameters(), config)
    weights = train.objective.weights(train.targets, train.labels, config)
    steps_per_epoch = num_optimizer_steps(len(train), config.train_batch_size)
    num_steps = steps_per_epoch * config.num_train_epochs
    points = watch.points(num_steps) if watch else {}
    checkpoints = checkpoints or Checkpoints(None, {}, 0.0)
    stopping = EarlyStopping.from_config(config)
    num_done = record.kept_step = ranks.align(optimizer, record, checkpoints.restore(optimizer, record))
    seconds_before = record.seconds
    # Not in each step: it walks all modules, which takes a fiftieth of a step of a small model.
    classifier.peft_model.train()
    with ProgressReporter("step", num_steps, _logger) as reporter:
        for step, (epoch, batch) in enumerate(all_steps(train.prompts.lengths, config), start=1):
            if step < num_done:
                continue
            if stopping and record.best and stopping.is_over(record.best):
                break
            with checkpoints.step(optimizer, record):
                # The step of the checkpoint itself may lack its validation.
                if step > num_done:
                    factor = learning_rate_factor(step - 1, num_steps, config.warmup_fraction)
                    ranks.reseed(config.seed, step)
                    share = ranks.share(batch, train.prompts.lengths)
                    loss = budget.redoing(
                        partial(
                            _accumulate_gradients, classifier, train, share, weights, config, optimizer, len(batch)
                        ),
                        share,
                        train.prompts.lengths,
                        step=step,
                        undo=_undoing(classifier),
                    )
                    loss = ranks.total(loss)
                    learning_rate, norm = optimizer.step(factor, ranks.add_up)
                    if not math.isfinite(loss) or not (math.isfinite(norm) or optimizer.may_go_on):
                        raise diverged(
                            f"in optimizer step {step} the loss is {loss} and the norm of the gradients {norm}; the "
                            f"step's examples have the text hashes {[train.text_hashes[index] for index in batch]}"
                        )
                    record.add_step(
                        step=step,
                        epoch=epoch,
                        loss=loss,
                        learning_rate=learning_rate,
                        num_tokens=int(train.prompts.lengths[batch].sum()),
                        seconds=seconds_before + reporter.seconds,
                    )
                    progress = reporter.update(step, record.num_tokens, loss)
                    if on_progress is not None:
                        on_progress(progress)
                record.kept_step = step
                is_regular = _ends_a_share(step - 1, steps_per_epoch, config.num_validations_per_epoch)
                is_due = is_regular or step in points
                if len(validation) and is_due and not record.is_validated(step):
                    started = reporter.seconds
                    scores = _validate(classifier, validation, budget, epoch, ranks)
                    if stopping and is_regular:
                        record.best = stopping.after(
                            record.best, scores, epoch, step, classifier.trainable_parameters()
                        )
                    record.add_validation(epoch=epoch, step=step, **scores)
                    record.validation_seconds += reporter.seconds - started
                    if watch and step in points:
                        watch.on_point(points[step], step, scores)
                record.seconds = seconds_before + reporter.seconds
    check_weights(classifier.trainable_parameters(), record.kept_step)
    ranks.check_same(optimizer)
    checkpoints.finish(optimizer, record)
    _keep(classifier, record, stopping, num_steps)
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
    num_steps: int,
) -> None:
    """Leave the classifier with the weights that are kept, and write down which they are."""
    record.kept = f"last weights (step {record.kept_step})"
    if stopping and record.best:
        record.kept = stopping.sentence(record.best, record.kept_step, num_steps)
        record.kept_step = record.best.step
        record.best.put_into(classifier.trainable_parameters())
    _logger.info("kept: %s", record.kept)


def all_steps(lengths: Indices, config: "TrainingConfig") -> Iterator[tuple[int, Indices]]:
    """Epoch (from 1) and examples of each optimizer step."""
    rng = np.random.default_rng(config.seed)
    for epoch in range(1, config.num_train_epochs + 1):
        for batch in optimizer_steps(lengths, config.train_batch_size, rng):
            yield epoch, batch


def _accumulate_gradients(  # noqa: PLR0913, PLR0917 - bound one by one where it is called
    classifier: "Classifier",
    train: EncodedExamples,
    batch: Indices,
    example_weights: "np.ndarray[Any, Any]",
    config: "TrainingConfig",
    optimizer: AdapterOptimizer,
    step_size: int,
    max_tokens: int,
) -> float:
    """Add what some examples give to the gradients of an optimizer step's mean weighted loss, and to that loss.

    Each micro-batch contributes its sum over the size of the whole step, so that the cut makes no difference.
    """
    import torch

    loss = 0.0
    for part in micro_batches(batch, train.prompts.lengths, max_tokens):
        targets, weights = (
            torch.from_numpy(values).to(classifier.device) for values in (train.targets[part], example_weights[part])
        )
        logits = classifier.logits([train.prompts.input_ids[index] for index in part])
        part_loss = train.objective.loss(logits, targets, weights, config) / step_size
        _backward(optimizer.scaled(part_loss))
        loss += float(part_loss.detach())
    return loss


def _undoing(classifier: "Classifier") -> Callable[[], None]:
    """What takes back an optimizer step that did not come to its end: gradients, and what dropout drew."""
    import torch

    before = torch.get_rng_state(), torch.cuda.get_rng_state_all() if classifier.device == "cuda" else []

    def undo() -> None:
        for parameter in classifier.trainable_parameters():
            parameter.grad = None
        torch.set_rng_state(before[0])
        if before[1]:
            torch.cuda.set_rng_state_all(before[1])

    return undo


def _backward(loss: "torch.Tensor") -> None:
    loss.backward()  # type: ignore[no-untyped-call]  # torch annotates everything of `backward` but its return


def _validate(
    classifier: "Classifier", validation: EncodedExamples, budget: TokenBudget, epoch: int, ranks: Ranks
) -> dict[str, float]:
    """The objective's scores on the validation examples; then training goes on."""
    classifier.peft_model.eval()

    def compute(rows: Indices) -> "np.ndarray[Any, Any]":
        return compute_logits(classifier, validation.prompts.at(rows), budget.max_tokens)

    logits = ranks.rows(compute, validation.prompts.lengths, classifier.num_labels)
    classifier.peft_model.train()
    if not np.isfinite(logits).all():
        row = int(np.flatnonzero(~np.isfinite(logits).all(axis=1))[0])
        raise diverged(
            f"in epoch {epoch} the logits of the validation example {validation.text_hashes[row]} are not finite"
        )
    scores = validation.objective.scores(logits, validation.targets)
    _logger.info("epoch %d: validation loss %.3f, macro-F1 %.3f", epoch, scores["loss"], scores["macro_f1"])
    return scores
