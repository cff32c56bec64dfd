"""The fine-tuned adapter."""

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import polars as pl

from ftzard.assets.gpu import GPU_POOL, GPU_TAGS
from ftzard.assets.step import Step, StepResult
from ftzard.assets.tracked import tracked_asset
from ftzard.core.checkpoints import checkpoints_dir
from ftzard.core.cleaning import labels_of
from ftzard.core.forgetting import forgettings_version
from ftzard.core.hyperparameters import TunedHyperparameters, with_values
from ftzard.core.records import AdapterDirectory, Splits
from ftzard.core.training_job import TrainingJob

if TYPE_CHECKING:
    from ftzard.config import FtzardConfig
    from ftzard.core.estimate import Estimate
    from ftzard.core.progress import Progress
    from ftzard.core.training import TrainingResult


_logger = logging.getLogger(__name__)


def _num_new_labels(splits: Splits, step: Step) -> int:
    """Training examples that were added or given another label since the champion; 0 without one."""
    from ftzard.core.retraining import num_new_examples

    champion = step.registry.champion() if step.registry else None
    if step.registry is None or champion is None:
        return 0
    return num_new_examples(splits.train, step.registry.evidence(champion).seen)


def _training_or_retraining(inputs: Mapping[str, Any], step: Step) -> str:
    """A training after labels were added to those of the champion is a RETRAINING."""
    return "RETRAINING" if _num_new_labels(inputs["splits"], step) else "TRAINING"


def _loss_of(task: str) -> dict[str, str]:
    """What a loss curve of the task shows, where it is not cross-entropy."""
    return {"loss": "DPO loss in nats (0.693 at the start)"} if task == "preference" else {}


def _report_what_was_before(result: "TrainingResult", step: Step) -> None:
    """The part of the learning curve that a killed run had reported to an MLflow run of its own."""
    for row in result.curve.filter(pl.col("step") <= result.resumed_from).iter_rows(named=True):
        step.report({"loss": row["loss"]}, row["step"])


def followed_champion(step: Step) -> str:
    """The champion is an input where training goes on from it, or repeats what is new to it; so is what it must not."""
    from ftzard.core.adapter_documents import SPLITS_KEY
    from ftzard.core.retraining import followed_version

    version = followed_version(step.config.training.retraining, step.provenance.get(SPLITS_KEY, ""), step.registry)
    return version and version + forgettings_version(step.forgettings)


def _estimated(splits: Splits, config: "FtzardConfig", labels: Sequence[str], step: Step) -> "Estimate":
    """What the training will take; refused where it cannot fit, before the base model is loaded."""
    from ftzard.core.byte_sizes import in_words
    from ftzard.core.estimate import estimate, learned_efficiency

    metrics, params = step.registry.tracking.last_run(("TRAINING", "RETRAINING")) if step.registry else ({}, {})
    found = estimate(config, splits, labels, learned_efficiency(metrics, params, config))
    minutes = f"{found.seconds / 60:.1f} minutes" if found.seconds is not None else "an unknown time"
    _logger.info("about %s and %s, %s are free", in_words(found.peak_bytes), minutes, in_words(found.free_bytes))
    found.check(config)
    return found


def _against(expected: "Estimate | None", peak_bytes: int, result: "TrainingResult") -> dict[str, float]:
    """What was estimated, and how far that was off; nothing where there was no estimate."""
    if expected is None:
        return {}
    # A part of a training says nothing of how long a whole one takes.
    seconds = 0.0 if result.resumed_from else result.seconds
    return {"estimated_memory_bytes": expected.peak_bytes, **expected.errors(peak_bytes, seconds)}


@tracked_asset(
    "TRAINING",
    group="training",
    kinds={"pytorch", "huggingface", "dvc"},
    io="adapter",
    sections=("data", "model", "training"),
    outside_version=followed_champion,
    pool=GPU_POOL,
    op_tags=GPU_TAGS,
    after=("retrain_decision",),
    mlflow_step_of=_training_or_retraining,
)
def lora_adapter(
    splits: Splits, tuned_hyperparameters: TunedHyperparameters, step: Step
) -> StepResult[AdapterDirectory]:
    """A PEFT adapter, trained on the train split: for sequence classification, or to write answers.

    A directory: `adapter_model.safetensors`, `adapter_config.json`, the tokenizer's files, a classifier's `labels.json`
    or the `generation.json` of what writes answers, and `manifest.json` with the base model, the data commit, the
    configuration and the checksum of each file.
    """
    from ftzard.core.challenge import check_may_challenge
    from ftzard.core.figures import loss_curve
    from ftzard.core.retraining import training_start

    def report(progress: "Progress") -> None:
        if progress.loss is not None:
            step.report({"loss": progress.loss, "tokens_per_s": progress.tokens_per_s}, progress.done)

    config = with_values(step.config, tuned_hyperparameters.values)
    labels = labels_of(splits.train, config.data)
    if step.registry:
        check_may_challenge(config, labels, step.registry)
    # Asked before the work: a server that dies meanwhile does not cost the training.
    num_new_labels = _num_new_labels(splits, step)
    is_classifier = config.data.has_labels
    start = training_start(
        splits.train,
        config.training,
        step.registry,
        step.forgotten_labels(splits),
        task=config.data.task,
    )
    followed = start.predecessor.provenance if start.predecessor else {}
    planned = Splits(start.plan.examples, splits.validation, splits.test)
    expected = None if config.launcher.runs_elsewhere else _estimated(planned, config, labels, step)
    job = TrainingJob(planned, config, labels, {**step.provenance, **followed}, start.initial)
    trained = step.train(
        job, step.new_directory(), checkpoint_dir=checkpoints_dir(step.project_dir), on_progress=report
    )
    result = trained.result
    _report_what_was_before(result, step)
    return StepResult(
        value=result.adapter,
        metadata={
            "trained": start.plan.sentence,
            "validation": result.validation,
            "kept": result.kept,
            "precision": result.precision,
            "head_reason": result.head_reason or "as configured",
            "token_budget": result.budget.sentence,
            **({"resumed_from_step": result.resumed_from} if result.resumed_from else {}),
        },
        metrics={
            "seconds": result.seconds,
            "num_train_examples": start.plan.examples.height,
            "tokens_per_s_overall": result.tokens_per_s,
            "num_truncated": result.num_truncated,
            "num_trainable_parameters": result.num_trainable_parameters,
            "num_parameters": result.num_parameters,
            "peak_memory_bytes": trained.peak_bytes,
            **_against(expected, trained.peak_bytes, result),
            **({} if is_classifier else {"num_left_out": result.num_left_out}),
        },
        params={"head": result.head, "device": result.device, "dtype": result.dtype}
        | ({"labels": labels} if is_classifier else {"task": config.data.task})
        | ({"tuned": tuned_hyperparameters.values} if tuned_hyperparameters.values else {}),
        figures={"loss curve": loss_curve(result.curve, result.validation, **_loss_of(config.data.task))},
        tags={"ftzard.num_new_labels": str(num_new_labels)},
    )
