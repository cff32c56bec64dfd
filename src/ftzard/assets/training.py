"""The fine-tuned adapter."""

from typing import TYPE_CHECKING

from ftzard.assets.step import Step, StepResult
from ftzard.assets.tracked import tracked_asset
from ftzard.core.cleaning import labels_of
from ftzard.core.records import AdapterDirectory, Splits

if TYPE_CHECKING:
    from ftzard.core.progress import Progress


@tracked_asset(
    "TRAINING",
    group="training",
    kinds={"pytorch", "huggingface", "dvc"},
    io="adapter",
    sections=("data", "model", "training"),
)
def lora_adapter(splits: Splits, step: Step) -> StepResult[AdapterDirectory]:
    """A PEFT adapter for sequence classification, trained on the train split.

    A directory: `adapter_model.safetensors`, `adapter_config.json`, the tokenizer's and the labels' files, and
    `manifest.json` with the base model, the data commit, the configuration and the checksum of each file.
    """
    from ftzard.core.figures import loss_curve
    from ftzard.core.training import train_adapter

    def report(progress: "Progress") -> None:
        if progress.loss is not None:
            step.report({"loss": progress.loss, "tokens_per_s": progress.tokens_per_s}, progress.done)

    labels = labels_of(splits.train, step.config.data)
    result = train_adapter(
        splits, step.config, labels, step.new_directory(), on_progress=report, provenance=step.provenance
    )
    return StepResult(
        value=result.adapter,
        metadata={"validation": result.validation, "head_reason": result.head_reason or "as configured"},
        metrics={
            "seconds": result.seconds,
            "tokens_per_s_overall": result.tokens_per_s,
            "num_truncated": result.num_truncated,
            "num_trainable_parameters": result.num_trainable_parameters,
            "num_parameters": result.num_parameters,
        },
        params={"head": result.head, "device": result.device, "dtype": result.dtype, "labels": labels},
        figures={"loss curve": loss_curve(result.curve, result.validation)},
    )
